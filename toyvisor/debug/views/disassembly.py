"""The instructions in guest memory, as it is now, with the source lines they come from.

Where the program has a listing, its lines say where instructions begin and what is data; the bytes
are always those in memory, so that a program which changes itself is shown as it has become.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import NamedTuple

from toyvisor.debug.views.labels import Labels, labels_of
from toyvisor.debug.views.registers import processor
from toyvisor.guest.disassembler import (
    MAX_INSTRUCTION_BYTES,
    Instruction,
    decode_one,
    disassemble,
)
from toyvisor.guest.listing import ListingLine
from toyvisor.guest.program import Program
from toyvisor.modes import CpuMode
from toyvisor.qemu.machine import Machine

_MODES = {mode.bits: mode for mode in CpuMode}
_LABELS = re.compile(r"\s*(?:[\w.$?@]+\s*:\s*)*")
#: Statements that make data, in GNU's and in NASM's words.
_NASM_DATA = re.compile(r"(times|d[bwdqt]|res[bwdq])\b", re.IGNORECASE)
#: A row of data shows so many bytes at most.
_DATA_SHOWN = 64
_COMMENT = re.compile(r"\s*(?:;|#|//).*$")


class InstructionLine(NamedTuple):
    """One instruction, or one statement's data. `line` 0: no source line made it."""

    address: int
    data: bytes
    text: str
    labels: tuple[str, ...]
    file: str
    line: int
    source: str
    is_current: bool
    is_modified: bool
    first_of_line: bool


def instruction_at(machine: Machine, address: int | None = None) -> Instruction | None:
    """The instruction at a linear address (None: the present one), if there is one."""
    view = processor(machine).cpu.view
    where = view.rip() if address is None else address
    code = view.read(where, MAX_INSTRUCTION_BYTES)
    return decode_one(code, where, _MODES[view.code_bits()]) if code else None


def disassembly(
    machine: Machine,
    program: Program,
    address: int | None = None,
    before: int = 8,
    after: int = 24,
) -> tuple[InstructionLine, ...]:
    """`before` instructions, the one at a linear address (None: the present one), and `after`."""
    return _Disassembly(machine, program).around(address, before, after)


class _Disassembly:
    """One look at a machine."""

    def __init__(self, machine: Machine, program: Program) -> None:
        self._view = processor(machine).cpu.view
        self._mode = _MODES[self._view.code_bits()]
        self._assembly = program.assembly
        self._labels: Labels = labels_of(program)
        self._lines = [line for line in program.assembly.listing.lines if line.data]
        self._rip = self._view.rip()

    def around(self, address: int | None, before: int, after: int) -> tuple[InstructionLine, ...]:
        where = self._rip if address is None else address
        behind = self._from(where, after + 1)
        return (*self._until(where, before), *behind)

    # Behind an address -------------------------------------------------------------------

    def _from(self, start: int, count: int) -> list[InstructionLine]:
        rows: list[InstructionLine] = []
        position = start
        while len(rows) < count:
            row = self._row(position, is_asked_for=position == start)
            if row is None:
                break
            rows.append(row)
            position += max(len(row.data), self._length_of_data(position, row))
        return rows

    def _length_of_data(self, position: int, row: InstructionLine) -> int:
        """Of a statement with more bytes than a row has."""
        line = self._line_at(position)
        is_whole = line is not None and len(row.data) == _DATA_SHOWN < len(line.data)
        return len(line.data) if line is not None and is_whole else 0

    def _row(self, position: int, *, is_asked_for: bool) -> InstructionLine | None:
        line = self._line_at(position)
        is_data = line is not None and line.address == position and _is_data(line.text)
        if line is not None and is_data and not is_asked_for and not self._runs_in(line):
            return self._data(line)
        code = self._view.read(position, MAX_INSTRUCTION_BYTES)
        if not code or (line is None and position != self._rip and not any(code)):
            return None  # the end of memory, or of what is in it
        found = decode_one(code, position, self._mode)
        if found is None:
            found = Instruction(position, code[:1], ".byte", f"{code[0]:#04x}")
        return self._line(found.address, found.data, found.text, line)

    def _runs_in(self, line: ListingLine) -> bool:
        """Whether the processor is about to execute this data."""
        return line.address <= self._rip < line.address + len(line.data)

    def _data(self, line: ListingLine) -> InstructionLine:
        now = self._view.read(line.address, min(len(line.data), _DATA_SHOWN))
        return self._line(line.address, now, _statement(line.text), line)

    def _line(
        self, address: int, data: bytes, text: str, line: ListingLine | None
    ) -> InstructionLine:
        return InstructionLine(
            address,
            data,
            text,
            self._labels.at(address),
            line.location.file if line is not None else "",
            line.location.line if line is not None else 0,
            line.text if line is not None else "",
            address == self._rip,
            self._is_modified(address, data),
            line is not None and line.address == address,
        )

    def _is_modified(self, address: int, data: bytes) -> bool:
        offset = address - self._assembly.origin
        image = self._assembly.image
        if not 0 <= offset <= len(image) - len(data):
            return False
        return image[offset : offset + len(data)] != data

    def _line_at(self, address: int) -> ListingLine | None:
        position = bisect_right(self._lines, address, key=lambda line: line.address) - 1
        if position < 0:
            return None
        line = self._lines[position]
        return line if address < line.address + len(line.data) else None

    # Before an address -------------------------------------------------------------------

    def _until(self, address: int, count: int) -> list[InstructionLine]:
        """The last `count` instructions that end before an address."""
        position = bisect_right(self._lines, address, key=lambda line: line.address) - 1
        while position >= 0:
            line = self._lines[position]
            if line.address < address and self._reaches(line, address):
                rows = self._between(line.address, address)
                more = count - len(rows)
                if more <= 0:
                    return rows[-count:] if count else []
                return [*self._until(line.address, more), *rows]
            if line.address < address:
                break
            position -= 1
        return self._guessed(address, count)

    def _reaches(self, line: ListingLine, address: int) -> bool:
        """Whether nothing lies between a line's bytes and an address."""
        return address <= line.address + len(line.data)

    def _between(self, start: int, end: int) -> list[InstructionLine]:
        rows: list[InstructionLine] = []
        position = start
        while position < end:
            row = self._row(position, is_asked_for=False)
            if row is None:
                break
            length = max(len(row.data), self._length_of_data(position, row))
            if position + length > end:  # the processor has jumped into its middle
                byte = row.data[:1]
                row = self._line(position, byte, f".byte {byte[0]:#04x}", self._line_at(position))
                length = 1
            rows.append(row)
            position += length
        return rows

    def _guessed(self, address: int, count: int) -> list[InstructionLine]:
        """Without a listing: what ends at the address, however one begins to read."""
        for length in range(min(4 * count, address), 0, -1):
            code = self._view.read(address - length, length)
            if len(code) < length or not any(code[-MAX_INSTRUCTION_BYTES:]):
                continue
            found = disassemble(code, address - length, self._mode)
            if all(one.mnemonic != ".byte" and any(one.data) for one in found):
                return [self._line(one.address, one.data, one.text, None) for one in found[-count:]]
        return []


def _statement(text: str) -> str:
    """A line without its labels and its comment."""
    rest = text[_LABELS.match(text).end() :]  # type: ignore[union-attr]  # matches always
    if '"' in rest or "'" in rest:
        return rest.strip()
    return _COMMENT.sub("", rest).strip()


def _is_data(text: str) -> bool:
    statement = _statement(text)
    return statement.startswith(".") or _NASM_DATA.match(statement) is not None
