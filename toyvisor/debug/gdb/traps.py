"""gdb's breakpoints and watchpoints (packets Z and z), kept in the session.

Guest memory is never patched, so that a software and a hardware breakpoint are one thing. A
watchpoint stops where bytes change, whoever changes them: the guest or a device. Accesses that
read can't be watched.
"""

from __future__ import annotations

from typing import NamedTuple

from toyvisor.debug.breakpoints import Breakpoint
from toyvisor.debug.session import Session
from toyvisor.memory import PAGE_SIZE, GuestMemoryError

SOFTWARE, HARDWARE, WRITE = 0, 1, 2
#: The longest span that may be watched, in bytes.
MOST_WATCHED = 1 << 16


class Trap(NamedTuple):
    """What a Z packet asked for, by linear address. `length` in bytes; of a breakpoint unused."""

    type: int
    address: int
    length: int


class Traps:
    """All that gdb has inserted, and the session's breakpoints behind them."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._breakpoints: dict[Trap, list[Breakpoint]] = {}

    def insert(self, trap: Trap) -> bool:
        """Insert one; twice is once. False: traps of this type there are not.

        Raises GuestMemoryError if what is to be watched is not mapped.
        """
        if trap.type not in (SOFTWARE, HARDWARE, WRITE):
            return False
        if trap not in self._breakpoints:
            self._breakpoints[trap] = self._breakpoints_for(trap)
        return True

    def remove(self, trap: Trap) -> bool:
        """Remove one; one that is not there is removed. False: there are none of this type."""
        for breakpoint in self._breakpoints.pop(trap, ()):
            self._session.delete(breakpoint.number)
        return trap.type in (SOFTWARE, HARDWARE, WRITE)

    def clear(self) -> None:
        """Remove all."""
        for trap in list(self._breakpoints):
            self.remove(trap)

    def of(self, breakpoint: Breakpoint | None) -> Trap | None:
        """Which trap a breakpoint of the session stands for."""
        for trap, breakpoints in self._breakpoints.items():
            if breakpoint in breakpoints:
                return trap
        return None

    def here(self) -> Trap | None:
        """The breakpoint at the instruction that is about to be executed."""
        if not self._session.moment.between:
            return None
        rip = self._session.linear_rip()
        for trap in self._breakpoints:
            if trap.type != WRITE and trap.address == rip:
                return trap
        return None

    def watched(self) -> dict[Trap, list[bytes]]:
        """The bytes under each watchpoint now."""
        read = self._session.read_memory
        return {
            trap: [read(breakpoint.address, breakpoint.length) for breakpoint in breakpoints]
            for trap, breakpoints in self._breakpoints.items()
            if trap.type == WRITE
        }

    def changed(self, before: dict[Trap, list[bytes]]) -> Trap | None:
        """A watchpoint whose bytes are others than `before`."""
        now = self.watched()
        return next((trap for trap in now if now[trap] != before.get(trap, now[trap])), None)

    def _breakpoints_for(self, trap: Trap) -> list[Breakpoint]:
        session = self._session
        if trap.type != WRITE:
            return [session.break_at(f"{trap.address:#x}")]
        return [session.watch(f"{gpa:#x}:{length}") for gpa, length in self._pieces(trap)]

    def _pieces(self, trap: Trap) -> list[tuple[int, int]]:
        """Where a span of linear addresses lies in guest-physical memory, page by page."""
        if not 0 < trap.length <= MOST_WATCHED:
            raise GuestMemoryError(trap.address, trap.length)
        found: list[tuple[int, int]] = []
        address, end = trap.address, trap.address + trap.length
        while address < end:
            length = min(end - address, PAGE_SIZE - address % PAGE_SIZE)
            gpa = self._session.vcpu.cpu.view.translate(address)
            if gpa is None:
                raise GuestMemoryError(address, length)
            self._session.read_memory(gpa, length)
            found.append((gpa, length))
            address += length
        return found
