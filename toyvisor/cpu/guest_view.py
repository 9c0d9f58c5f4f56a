"""Looking at the guest from outside: where it is, and what lies at its addresses."""

from __future__ import annotations

from toyvisor.cpu.paging import PagingRegisters, translate
from toyvisor.cpu.processor_state import CS, HF_CS32, HF_CS64, SS, ProcessorState
from toyvisor.cpu.registers import CONTROL, MSR_EFER, Registers
from toyvisor.memory import PAGE_SIZE, GuestMemory

_LINE = 64


def _lines(gpa: int, size: int) -> range:
    return range(gpa // _LINE, (gpa + size - 1) // _LINE + 1)


class GuestView:
    """One processor's view of memory. `bits` is the width of the code it started with."""

    def __init__(
        self, bits: int, registers: Registers, state: ProcessorState, memory: GuestMemory
    ) -> None:
        self._bits = bits
        self._registers = registers
        self._state = state
        self._memory = memory
        #: Where code has been translated from, in units of _LINE bytes, guest-physical.
        self._code_lines: set[int] = set()

    def rip(self) -> int:
        """The present instruction's linear address."""
        if self._bits == 64:
            return self._registers.rip()
        return self.code_base() + self._registers.rip()

    def code_base(self) -> int:
        """Where CS begins."""
        self._state.load()
        return int(self._state.front.segs[CS].base)

    def stack(self) -> int:
        """The linear address of the top of the stack."""
        front = self._state.front
        self._state.load()
        rsp = self._registers.read("rsp")
        return rsp if front.hflags & HF_CS64 else int(front.segs[SS].base) + rsp

    def code_bits(self) -> int:
        """The width of the code that runs now: 16, 32 or 64."""
        self._state.load()
        hflags = self._state.front.hflags
        if hflags & HF_CS64:
            return 64
        return 32 if hflags & HF_CS32 else 16

    def paging(self) -> PagingRegisters:
        """The registers that say how addresses are translated now."""
        special = self._registers.read_special
        return PagingRegisters(
            special(CONTROL["cr0"]),
            special(CONTROL["cr3"]),
            special(CONTROL["cr4"]),
            self._registers.read_msr(MSR_EFER),
        )

    def translate(self, linear: int) -> int | None:
        """The guest-physical address behind a linear one; None if it is not mapped."""
        return translate(self._memory, linear, self.paging())

    def note_code(self, address: int, size: int) -> None:
        """The processor has translated code there: writes to it by others matter now."""
        while size > 0:
            physical, length = self.translate(address), min(size, PAGE_SIZE - (address & 0xFFF))
            if physical is not None:
                self._memory.code_pages.add(physical >> 12)
                self._code_lines.update(_lines(physical, length))
            address, size = address + length, size - length

    def holds_code(self, gpa: int, size: int) -> bool:
        """Whether the processor has translated code about there."""
        return gpa >> 12 in self._memory.code_pages and not self._code_lines.isdisjoint(
            _lines(gpa, size)
        )

    def read(self, address: int, size: int) -> bytes:
        """Guest RAM at a linear address, as the guest maps it; up to the first gap."""
        found = b""
        while len(found) < size:
            at = address + len(found)
            physical = self.translate(at)
            length = min(size - len(found), PAGE_SIZE - (at & 0xFFF))
            if physical is None or not self._memory.contains(physical, length):
                break
            found += bytes(self._memory.view(physical, length))
        return found
