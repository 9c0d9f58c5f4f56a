"""INS and REP INS, where Unicorn and KVM go about it differently.

Unicorn executes element by element, and before each stores a zero to the destination, to
fault early (translate.c, gen_ins()). KVM reads many elements ahead in one exit
(arch/x86/kvm/emulate.c, pio_in_emulated()).
"""

from __future__ import annotations

from toyvisor.cpu.clock import Clock
from toyvisor.cpu.guest_view import GuestView
from toyvisor.cpu.registers import Registers
from toyvisor.memory import PAGE_SIZE

_INS_OPCODES = (0x6C, 0x6D)
_REPEAT = frozenset((0xF2, 0xF3))
_ADDRESS_SIZE = 0x67
_PREFIXES = frozenset((0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65, 0x66, 0x67, 0xF0, 0xF2, 0xF3))
_DF = 1 << 10
_READ_AHEAD_BYTES = 1024  # sizeof(struct read_cache.data)


class StringInput:
    """Recognises INS at the present instruction."""

    def __init__(self, registers: Registers, view: GuestView, clock: Clock) -> None:
        self._registers = registers
        self._view = view
        self._clock = clock
        self._destination: int | None = None  # RDI when INS last read its port

    def note_port_read(self) -> None:
        """The guest executes IN or INS."""
        if self._clock.blocks_with_ins:
            is_ins = self._prefixes() is not None
            self._destination = self._registers.read("rdi") if is_ins else None

    def is_probe(self, value: int) -> bool:
        """Whether a store to a device is only INS trying the address.

        The real store follows the port's, with RDI as it was then.
        """
        if value:
            self._destination = None
            return False
        if self._prefixes() is None:
            return False
        is_probe = self._registers.read("rdi") != self._destination
        if not is_probe:
            self._destination = None  # the next INS may be to the same place
        return is_probe

    def read_ahead(self, size: int) -> int:
        """How many elements of `size` bytes KVM reads in one exit.

        As many as the page has *bytes* left: so it says in pio_in_emulated().
        """
        prefixes = self._prefixes()
        if prefixes is None or not prefixes & _REPEAT:
            return 1
        count = self._registers.read("rcx") & self._address_mask(prefixes)
        in_page = self._registers.read("rdi") & 0xFFF
        downwards = self._registers.read("rflags") & _DF
        room = in_page if downwards else PAGE_SIZE - in_page
        return max(1, min(room, _READ_AHEAD_BYTES // size, count))

    def _address_mask(self, prefixes: set[int]) -> int:
        bits = self._view.code_bits()
        if _ADDRESS_SIZE in prefixes:
            bits = {16: 32, 32: 16, 64: 32}[bits]
        return (1 << bits) - 1

    def _prefixes(self) -> set[int] | None:
        """The prefixes of the present instruction if it is INS, else None."""
        state = self._clock.state
        if (state.block, state.block_size) not in self._clock.blocks_with_ins:
            return None
        rex = range(0x40, 0x50) if self._view.code_bits() == 64 else ()
        prefixes: set[int] = set()
        for byte in self._view.read(self._view.rip(), 15):
            if byte in _INS_OPCODES:
                return prefixes
            if byte not in _PREFIXES and byte not in rex:
                return None
            prefixes.add(byte)
        return None
