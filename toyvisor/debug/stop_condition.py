"""Where a machine that runs under the debugger is to stop."""

from __future__ import annotations

from dataclasses import dataclass

from toyvisor.cpu.clock import FOREVER
from toyvisor.debug.moment import Moment


@dataclass(slots=True)
class StopCondition:
    """The first of these that comes. Nothing given: it runs to its end.

    instructions  between two instructions, when so many have been executed
    moment        between two instructions, at that moment or the first behind it
    records       right behind that many records of the trace
    kinds         right behind any record of one of these kinds
    addresses     before an instruction at one of these linear addresses, but not at `except_at`
    barrier       between two instructions, at that moment or the first behind it
    """

    instructions: int = FOREVER
    moment: Moment | None = None
    records: int = FOREVER
    kinds: frozenset[str] = frozenset()
    addresses: frozenset[int] = frozenset()
    except_at: Moment | None = None
    barrier: Moment | None = None

    @property
    def is_exact(self) -> bool:
        """Whether it may be met behind any instruction, not at records only."""
        return self.moment is not None or bool(self.addresses) or self.instructions < FOREVER

    @property
    def wake_at(self) -> int:
        """No stop comes before so many instructions, but for records and addresses."""
        stop = self.instructions
        if self.moment is not None:
            stop = min(stop, self.moment.instructions)
        if self.barrier is not None:
            stop = min(stop, self.barrier.instructions)
        return stop

    def is_met(self, now: Moment, rip: int | None) -> bool:
        """Whether the guest, which stands between two instructions, is to stop."""
        if now.instructions >= self.instructions:
            return True
        if self.moment is not None and now >= self.moment:
            return True
        if self.barrier is not None and now >= self.barrier:
            return True
        return rip is not None and rip in self.addresses and now != self.except_at
