"""A host with a scheduler and a main loop, and no machine around them."""

from __future__ import annotations

from contextlib import contextmanager

from toyvisor.host.eventfd import EventFd
from toyvisor.host.scheduler import Scheduler
from toyvisor.host.tap import Tap
from toyvisor.qemu.main_loop import MainLoop
from toyvisor.trace.events import Trace
from toyvisor.trace.ledger import Ledger


class Host:
    def __init__(self) -> None:
        self.ledger = Ledger(Trace(enabled=True))
        self.scheduler = Scheduler(self.ledger)
        self.loop = MainLoop(self.ledger, self.scheduler)
        self.tap = Tap("tap0")
        self.event = EventFd("kick")

    def settle(self) -> None:
        """The vCPU gives way until the others are asleep."""
        assert self.scheduler.run_others() is False

    @contextmanager
    def costs(self, *, switches: int = 0, copied: tuple[int, int] = (0, 0), **syscalls: int):
        """Switches, copies host->qemu as (count, bytes) and system calls of the block.

        An eventfd's calls are written write_eventfd and read_eventfd.
        """
        hop = self.ledger.host_to_qemu
        before = (self.ledger.context_switches, hop.count, hop.bytes, self.ledger.copies)
        calls = dict(self.ledger.syscalls)
        yield
        assert self.ledger.context_switches - before[0] == switches
        assert (hop.count - before[1], hop.bytes - before[2]) == copied
        assert self.ledger.copies - before[3] == copied[0], "a copy on another hop"
        made = {name: n - calls.get(name, 0) for name, n in self.ledger.syscalls.items()}
        named = {name.replace("_eventfd", "(eventfd)"): n for name, n in syscalls.items()}
        assert {name: n for name, n in made.items() if n} == named
