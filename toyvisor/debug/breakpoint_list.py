"""The breakpoints of one session: by number, and whether they are met."""

from __future__ import annotations

from toyvisor.debug.breakpoints import Breakpoint, BreakpointKind
from toyvisor.debug.looking import Looking
from toyvisor.errors import InputError, UsageError
from toyvisor.memory import GuestMemoryError


class BreakpointList:
    """Breakpoints and watchpoints, in the order they were made (a `Watcher`)."""

    def __init__(self, looking: Looking) -> None:
        self._looking = looking
        self.all: list[Breakpoint] = []
        self._last_number = 0

    def break_at(
        self,
        place: str,
        *,
        condition: str | None = None,
        temporary: bool = False,
        ignore: int = 0,
    ) -> Breakpoint:
        """Stop before the instruction at a place, if the condition is true then."""
        return self._add(
            Breakpoint(
                0, BreakpointKind.ADDRESS, place, self._looking.places.resolve(place),
                condition=self._looking.condition(condition), temporary=temporary, ignore=ignore,
            )
        )  # fmt: skip

    def watch(self, what: str, *, condition: str | None = None) -> Breakpoint:
        """Stop behind an instruction that changes something.

        Memory: an address or label in guest-physical memory, with a length: "0x2000:16",
        "buffer:4" (without one: a byte). Anything else is an expression: "rax", "tx.used.idx".
        """
        only_if = self._looking.condition(condition)
        memory = self._watched_memory(what)
        if memory is not None:
            address, size = memory
            self._looking.read_memory(address, size)
            kind = BreakpointKind.MEMORY
            return self._add(Breakpoint(0, kind, what, address, size, condition=only_if))
        watched = self._looking.parse(what)
        watched.check(self._looking.names())
        kind = BreakpointKind.VALUE
        return self._add(Breakpoint(0, kind, what, watched=watched, condition=only_if))

    def _watched_memory(self, what: str) -> tuple[int, int] | None:
        """(address, length) of what is neither a register nor made of any."""
        place, colon, length = what.rpartition(":")
        if colon and length.strip().isdecimal() and not place.rstrip().endswith("]"):
            return self._looking.places.resolve(place), int(length)
        if not self._looking.parse(what).is_constant(self._looking.names()):
            return None
        return self._looking.evaluate(what), 1

    def delete(self, number: int) -> Breakpoint:
        """Remove a breakpoint. Raises UsageError if there is none of that number."""
        for breakpoint in self.all:
            if breakpoint.number == number:
                self.all.remove(breakpoint)
                return breakpoint
        known = ", ".join(str(b.number) for b in self.all) or "none"
        raise UsageError(f"there is no breakpoint {number}", hint=f"there is {known}")

    def _add(self, breakpoint: Breakpoint) -> Breakpoint:
        self._last_number += 1
        breakpoint.number = self._last_number
        self.all.append(breakpoint)
        return breakpoint

    def value_of(self, breakpoint: Breakpoint) -> object:
        """What a watchpoint watches, as it is now."""
        try:
            if breakpoint.kind is BreakpointKind.MEMORY:
                return self._looking.read_memory(breakpoint.address, breakpoint.length)
            assert breakpoint.watched is not None
            return breakpoint.watched.evaluate(self._looking.names())
        except (InputError, GuestMemoryError):
            return None

    def holds(self, breakpoint: Breakpoint) -> bool:
        """Whether its condition is true now; one that has no value yet is not."""
        if breakpoint.condition is None:
            return True
        return breakpoint.condition.holds(self._looking.names())

    def met_here(self) -> Breakpoint | None:
        """An enabled breakpoint on the present instruction whose condition is true."""
        rip = self._looking.linear_rip()
        for breakpoint in self.all:
            is_here = breakpoint.kind is BreakpointKind.ADDRESS and breakpoint.address == rip
            if is_here and breakpoint.enabled and self.holds(breakpoint):
                return breakpoint
        return None

    @property
    def addresses(self) -> frozenset[int]:
        """Where the guest may have to be stopped."""
        return frozenset(
            breakpoint.address
            for breakpoint in self.all
            if breakpoint.enabled and breakpoint.kind is BreakpointKind.ADDRESS
        )
