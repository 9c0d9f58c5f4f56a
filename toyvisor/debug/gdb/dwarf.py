"""DWARF line information: which line of the source made the code at an address.

One compilation unit in assembly language, so that gdb takes a label for the place itself and
looks for no prologue behind it.

Source: DWARF Debugging Information Format, version 4, sections 6.2 (line numbers), 7.5 (DIEs),
7.6 (LEB128).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import PurePath
from struct import pack
from typing import NamedTuple

_VERSION = 4
_TAG_COMPILE_UNIT, _NO_CHILDREN = 0x11, 0
_LANG_MIPS_ASSEMBLER = 0x8001  # what GNU as says, for any processor
_AT_NAME, _AT_STMT_LIST, _AT_LOW_PC, _AT_HIGH_PC = 0x03, 0x10, 0x11, 0x12
_AT_LANGUAGE, _AT_COMP_DIR, _AT_PRODUCER = 0x13, 0x1B, 0x25
_FORM_ADDR, _FORM_DATA2, _FORM_STRING, _FORM_SEC_OFFSET = 0x01, 0x05, 0x08, 0x17

_LNS_COPY, _LNS_ADVANCE_PC, _LNS_ADVANCE_LINE, _LNS_SET_FILE = 1, 2, 3, 4
_LNE_END_SEQUENCE, _LNE_SET_ADDRESS = 1, 2
#: Operands of the standard opcodes, of which we use the first four.
_STANDARD_OPCODE_LENGTHS = bytes((0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1))


class Row(NamedTuple):
    """`size` bytes at `address` were made by a line (from 1) of a file."""

    address: int
    size: int
    file: str
    line: int


def line_sections(rows: Iterable[Row], main_file: str, address_size: int) -> dict[str, bytes]:
    """.debug_line, .debug_info and .debug_abbrev; nothing without a line. 4 or 8 bytes a pointer.

    Rows by ascending address, without overlap.
    """
    found = list(rows)
    if not found:
        return {}
    end = found[-1].address + found[-1].size
    files = list(dict.fromkeys((main_file, *(row.file for row in found))))
    return {
        ".debug_line": _line_table(found, files, address_size),
        ".debug_info": _unit(main_file, found[0].address, end, address_size),
        ".debug_abbrev": _ABBREVIATIONS,
    }


# The unit -------------------------------------------------------------------------------

_ATTRIBUTES = (
    (_AT_PRODUCER, _FORM_STRING), (_AT_LANGUAGE, _FORM_DATA2), (_AT_NAME, _FORM_STRING),
    (_AT_COMP_DIR, _FORM_STRING), (_AT_LOW_PC, _FORM_ADDR), (_AT_HIGH_PC, _FORM_ADDR),
    (_AT_STMT_LIST, _FORM_SEC_OFFSET),
)  # fmt: skip
_ABBREVIATIONS = bytes(
    (1, _TAG_COMPILE_UNIT, _NO_CHILDREN, *(n for pair in _ATTRIBUTES for n in pair), 0, 0, 0)
)


def _unit(main_file: str, low: int, high: int, address_size: int) -> bytes:
    path = PurePath(main_file)
    low_and_high = b"".join(address.to_bytes(address_size, "little") for address in (low, high))
    body = b"\x01" + b"".join(
        (
            _string("toyvisor asm"),
            pack("<H", _LANG_MIPS_ASSEMBLER),
            _string(str(path)),
            _string(str(path.parent)),
            low_and_high,
            pack("<I", 0),  # where in .debug_line
        )
    )
    return _with_length(pack("<HIB", _VERSION, 0, address_size) + body)


# The line number program ------------------------------------------------------------------


def _line_table(rows: list[Row], files: list[str], address_size: int) -> bytes:
    names = b"".join(_string(name) + b"\0\0\0" for name in files)
    # Shortest instruction, operations in one, default_is_stmt; special opcodes we have none.
    settings = pack("<BBBbBB", 1, 1, 1, 0, 1, len(_STANDARD_OPCODE_LENGTHS) + 1)
    header = settings + _STANDARD_OPCODE_LENGTHS + b"\0" + names + b"\0"
    program = b"".join(_program(rows, files, address_size))
    return _with_length(pack("<HI", _VERSION, len(header)) + header + program)


def _program(rows: list[Row], files: list[str], address_size: int) -> Iterator[bytes]:
    for sequence in _sequences(rows):
        yield from _sequence(sequence, files, address_size)


def _sequences(rows: list[Row]) -> Iterator[list[Row]]:
    """Rows without a gap between them."""
    sequence = rows[:1]
    for before, row in pairwise(rows):
        if row.address != before.address + before.size:
            yield sequence
            sequence = []
        sequence.append(row)
    yield sequence


def _sequence(rows: list[Row], files: list[str], address_size: int) -> Iterator[bytes]:
    first, last = rows[0], rows[-1]
    yield _extended(_LNE_SET_ADDRESS, first.address.to_bytes(address_size, "little"))
    address, file, line = first.address, 1, 1
    previous: tuple[str, int] | None = None
    for row in rows:
        if (row.file, row.line) == previous:  # what one line made is one row
            continue
        previous = row.file, row.line
        number = files.index(row.file) + 1
        if number != file:
            yield bytes((_LNS_SET_FILE,)) + _uleb128(number)
        if row.address != address:
            yield bytes((_LNS_ADVANCE_PC,)) + _uleb128(row.address - address)
        if row.line != line:
            yield bytes((_LNS_ADVANCE_LINE,)) + _sleb128(row.line - line)
        address, file, line = row.address, number, row.line
        yield bytes((_LNS_COPY,))
    yield bytes((_LNS_ADVANCE_PC,)) + _uleb128(last.address + last.size - address)
    yield _extended(_LNE_END_SEQUENCE, b"")


def _extended(opcode: int, operands: bytes) -> bytes:
    return b"\0" + _uleb128(len(operands) + 1) + bytes((opcode,)) + operands


# Encodings ----------------------------------------------------------------------------------


def _with_length(unit: bytes) -> bytes:
    return pack("<I", len(unit)) + unit


def _string(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape").replace(b"\0", b"?") + b"\0"


def _uleb128(value: int) -> bytes:
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*found, value))


def _sleb128(value: int) -> bytes:
    found = bytearray()
    while not -0x40 <= value < 0x40:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*found, value & 0x7F))
