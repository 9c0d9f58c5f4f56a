"""Segment descriptors and gates, taken apart (Intel SDM vol. 3, 3.4.5, 7.11, 7.14.1)."""

from __future__ import annotations

from typing import NamedTuple

TASK_GATE = 0x5
#: type -> (bytes of an element of the frame, whether IF is cleared)
GATES = {0x6: (2, True), 0x7: (2, False), 0xE: (4, True), 0xF: (4, False)}
_GATES_16 = (0x6, 0x7)
#: Types of a TSS, available and busy: 16 bits, 32 bits (64 in IA-32e mode).
TSS_16 = (0x1, 0x3)
_WRITABLE_OR_READABLE, _CONFORMING, _CODE = 1 << 1, 1 << 2, 1 << 3
_BIG, _EXPAND_DOWN = 1 << 22, 1 << 10  # in the upper half
#: What QEMU keeps of a descriptor's upper half as a segment's flags.
_FLAGS = 0x00F0_FF00
ACCESSED = 1 << 40


class Gate(NamedTuple):
    """An entry of the IDT."""

    offset: int
    selector: int
    ist: int
    type: int
    dpl: int
    present: bool

    @classmethod
    def decode(cls, raw: bytes) -> Gate:
        """From 8 bytes, or the 16 of IA-32e mode."""
        value = int.from_bytes(raw, "little")
        kind = value >> 40 & 0x1F
        offset = value & 0xFFFF
        if kind not in _GATES_16:
            offset |= value >> 32 & 0xFFFF_0000
        if len(raw) == 16:
            offset |= value >> 64 << 32 & 0xFFFF_FFFF_0000_0000
        return cls(
            offset, value >> 16 & 0xFFFF, value >> 32 & 7, kind, value >> 45 & 3,
            bool(value >> 47 & 1),
        )  # fmt: skip


class Descriptor(NamedTuple):
    """A code or data segment's descriptor."""

    value: int

    @property
    def base(self) -> int:
        """Where the segment begins."""
        return self.value >> 16 & 0xFF_FFFF | self.value >> 32 & 0xFF00_0000

    @property
    def limit(self) -> int:
        """The segment's last byte."""
        limit = self.value & 0xFFFF | self.value >> 32 & 0xF_0000
        return limit << 12 | 0xFFF if self.value >> 55 & 1 else limit

    @property
    def flags(self) -> int:
        """The attributes, in place in the upper half."""
        return self.value >> 32 & _FLAGS

    @property
    def type(self) -> int:
        """The four bits of the type."""
        return self.value >> 40 & 0xF

    @property
    def dpl(self) -> int:
        """Descriptor privilege level."""
        return self.value >> 45 & 3

    @property
    def present(self) -> bool:
        """Whether the segment is there."""
        return bool(self.value >> 47 & 1)

    @property
    def is_segment(self) -> bool:
        """Code or data, no system descriptor."""
        return bool(self.value >> 44 & 1)

    @property
    def is_code(self) -> bool:
        """A code segment."""
        return self.is_segment and bool(self.type & _CODE)

    @property
    def is_conforming(self) -> bool:
        """A code segment that runs at its caller's level."""
        return self.is_code and bool(self.type & _CONFORMING)

    @property
    def is_writable_data(self) -> bool:
        """Fit for a stack."""
        writable = bool(self.type & _WRITABLE_OR_READABLE)
        return self.is_segment and not self.is_code and writable

    @property
    def is_64_bit(self) -> bool:
        """L set and D clear: code of 64-bit mode."""
        return self.value >> 53 & 3 == 1

    @property
    def is_32_bit(self) -> bool:
        """D/B set."""
        return bool(self.value >> 54 & 1)


def stack_bounds(limit: int, flags: int) -> range:
    """The offsets inside a stack segment (SDM vol. 3, 5.3); `flags` as `Descriptor.flags`."""
    if not flags & _EXPAND_DOWN:
        return range(limit + 1)
    return range(limit + 1, 1 << 32 if flags & _BIG else 1 << 16)
