"""Looking at the guest from outside: where it is, and what lies at its addresses."""

from __future__ import annotations

from toyvisor.cpu.paging import translate
from toyvisor.cpu.registers import CONTROL, MSR_EFER, SEGMENTS, Registers
from toyvisor.memory import PAGE_SIZE, GuestMemory
from toyvisor.modes import CR0_PE, EFER_LMA


class GuestView:
    """One processor's view of memory. `bits` is the width of the code it started with."""

    def __init__(self, bits: int, registers: Registers, memory: GuestMemory) -> None:
        self._bits = bits
        self._registers = registers
        self._memory = memory

    def rip(self) -> int:
        """The present instruction's linear address."""
        if self._bits != 16:
            return self._registers.rip()
        return self.code_base() + self._registers.rip()

    def code_base(self) -> int:
        """Where CS begins. A guest that started in real mode may have left it."""
        selector = self._registers.read_special(SEGMENTS["cs"])
        if self._bits != 16:
            return 0
        if not self._in_protected_mode():
            return selector << 4
        descriptor = self._code_descriptor(selector)
        return descriptor >> 16 & 0xFFFFFF | descriptor >> 32 & 0xFF000000

    def code_bits(self) -> int:
        """The width of the code that runs now: 16, 32 or 64."""
        if self._bits != 16 or not self._in_protected_mode():
            return self._bits
        descriptor = self._code_descriptor(self._registers.read_special(SEGMENTS["cs"]))
        if descriptor >> 53 & 1 and self._registers.read_msr(MSR_EFER) & EFER_LMA:
            return 64
        return 32 if descriptor >> 54 & 1 else 16

    def _in_protected_mode(self) -> bool:
        return bool(self._registers.read_special(CONTROL["cr0"]) & CR0_PE)

    def _code_descriptor(self, selector: int) -> int:
        base, _limit = self._registers.gdt()
        return int.from_bytes(self.read(base + (selector & ~7), 8), "little")

    def translate(self, linear: int) -> int | None:
        """The guest-physical address behind a linear one; None if it is not mapped."""
        special = self._registers.read_special
        return translate(
            self._memory,
            linear,
            special(CONTROL["cr0"]),
            special(CONTROL["cr3"]),
            special(CONTROL["cr4"]),
            self._registers.read_msr(MSR_EFER),
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
