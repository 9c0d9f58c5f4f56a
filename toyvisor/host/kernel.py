"""The host's kernel as one machine's threads find it: who runs, what expires, what comes in."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

from toyvisor.host.timers import Timers
from toyvisor.trace.ledger import Ledger

if TYPE_CHECKING:
    from toyvisor.host.eventfd import EventFd
    from toyvisor.host.poll import Poller
    from toyvisor.host.scheduler import Scheduler


class Kernel:
    """Scheduler, timers and real files of one machine.

    What KVM asks of the kernel around it (kvm/host_kernel.py), and where QEMU's main loop and
    vhost's worker are threads. A machine with one thread has no scheduler, and one without a
    real tap or terminal no poller: they come into being when somebody asks for them.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.timers = Timers()
        #: Called when a thread is woken while the vCPU runs: its time slice is to end.
        self.on_wake: Callable[[], None] | None = None

    @cached_property
    def scheduler(self) -> Scheduler:
        """Who has the processor."""
        from toyvisor.host.scheduler import Scheduler

        scheduler = Scheduler(self._ledger)
        scheduler.on_wake = self._wake
        return scheduler

    @cached_property
    def poller(self) -> Poller:
        """The real files."""
        from toyvisor.host.poll import Poller

        return Poller()

    def eventfd2(self, name: str) -> EventFd:
        """eventfd2(2)."""
        from toyvisor.host.eventfd import EventFd

        return EventFd(name)

    def _wake(self) -> None:
        if self.on_wake is not None:
            self.on_wake()

    @property
    def has_runnable(self) -> bool:
        """Whether another thread than the vCPU's could run now."""
        return "scheduler" in self.__dict__ and self.scheduler.has_runnable

    def run_others(self) -> bool:
        """Let them run; True if some still could."""
        return "scheduler" in self.__dict__ and self.scheduler.run_others()

    def run_others_and_poll(self) -> bool:
        """The same, after a look at the real files; True, too, if those are to be asked again."""
        if self.awaits_input:
            self.poller.wait_for_input(0)
        # Not what it was before: the others may have begun, or ceased, to wait for a file.
        return self.run_others() or self.awaits_input

    @property
    def awaits_input(self) -> bool:
        """Whether somebody waits for a real file."""
        return "poller" in self.__dict__ and self.poller.has_waiters

    def wait_for_input(self, timeout: float | None, interrupted: Callable[[], bool]) -> float:
        """Sleep until a real file can be read, or a signal comes; how long that was.

        In seconds, of real time. What can be read at once takes none.
        """
        if self.poller.wait_for_input(0):
            return 0.0
        start = time.monotonic()
        self.poller.wait_for_input(timeout, interrupted)
        return time.monotonic() - start

    def close(self) -> None:
        """The machine is gone."""
