"""The host's kernel as one machine's threads find it: who runs, what expires, what comes in."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

from toyvisor.host.timers import Timers
from toyvisor.trace.ledger import Ledger

if TYPE_CHECKING:
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
        polled = self._has_real_files
        if polled:
            self.poller.wait_for_input(0)
        return self.run_others() or polled

    def wait_for_input(self, interrupted: Callable[[], bool]) -> bool:
        """Sleep until a real file can be read; False if none ever can, or after a signal."""
        return self._has_real_files and self.poller.wait_for_input(interrupted=interrupted)

    @property
    def _has_real_files(self) -> bool:
        return "poller" in self.__dict__ and self.poller.has_waiters
