"""Instructions recognised by their bytes: repeated string instructions, and IRET."""

from __future__ import annotations

_REPEATS = frozenset((0xF2, 0xF3))
_ADDRESS_SIZE = 0x67
_PREFIXES = frozenset((0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65, 0x66, 0xF0))
#: INS, OUTS, MOVS, CMPS, STOS, LODS, SCAS.
_STRINGS = frozenset((0x6C, 0x6D, 0x6E, 0x6F, *range(0xA4, 0xA8), *range(0xAA, 0xB0)))
_OTHER_ADDRESS_SIZE = {16: 32, 32: 16, 64: 32}


def counter_bits(code: bytes, bits: int) -> int | None:
    """The width of the counter (CX, ECX, RCX) if `code` begins with a repeated instruction.

    `bits`: the width of the code.
    """
    repeats, counter = False, bits
    for byte in code:
        if byte in _REPEATS:
            repeats = True
        elif byte == _ADDRESS_SIZE:
            counter = _OTHER_ADDRESS_SIZE[bits]
        elif byte not in _PREFIXES and not (bits == 64 and byte >> 4 == 4):
            return counter if repeats and byte in _STRINGS else None
    return None


def is_iret(code: bytes) -> bool:
    """Whether `code` begins with IRET, IRETD or IRETQ."""
    return code.lstrip(b"\x66\x48")[:1] == b"\xcf"
