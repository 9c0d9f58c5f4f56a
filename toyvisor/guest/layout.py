"""Where everything goes: repeated passes until no address moves, then one that makes bytes."""

from __future__ import annotations

from dataclasses import dataclass, field

from toyvisor.errors import SourceError
from toyvisor.guest.diagnostics import Diagnostics
from toyvisor.guest.encoder import Encoder
from toyvisor.guest.evaluation import Place, expressions_of
from toyvisor.guest.expressions import EvaluationError, Expression, Value, fits
from toyvisor.guest.instruction_encoder import Concrete, encode
from toyvisor.guest.parser import ParsedProgram
from toyvisor.guest.resolve import resolve
from toyvisor.guest.source import SourceLine
from toyvisor.guest.statements import (
    Align,
    Assignment,
    Data,
    Fill,
    Instruction,
    Label,
    Org,
    Origin,
    Statement,
    Times,
)

MAX_IMAGE = 16 << 20
MIN_PASSES = 40
MAX_STEPS = 400_000
"""Passes times statements: a program of mutually dependent constants still comes to an end."""
MAX_REPEATED_INSTRUCTIONS = 65_536
NOP = 0x90


@dataclass(slots=True)
class Chunk:
    """What one statement became."""

    address: int
    data: bytes
    line: SourceLine
    is_label: bool


@dataclass(slots=True)
class LaidOut:
    """The finished program. `symbols`: labels' addresses and constants' last values."""

    origin: int
    chunks: list[Chunk] = field(default_factory=list)
    symbols: dict[str, int] = field(default_factory=dict)


class Layout:
    """One program being laid out from `origin`. `run()` does all."""

    def __init__(
        self, program: ParsedProgram, origin: int, encoder: Encoder, errors: Diagnostics
    ) -> None:
        self._statements = program.statements
        self._symbols = program.symbols
        self._place = Place(program.symbols, origin)
        self._encoder, self._errors = encoder, errors
        self._sizes = [0] * len(program.statements)
        self._encoded: dict[int, tuple[Concrete, int, bytes]] = {}
        self._skipped: set[int] = set()

    def run(self) -> LaidOut:
        """Find all addresses and make all bytes. Raises SourceError, also several at once."""
        self._check_names()
        self._settle()
        result = LaidOut(self._place.origin)
        self._place.address = self._place.origin
        for index, statement in enumerate(self._statements):
            self._place.index = index
            if index in self._skipped:
                continue
            with self._errors.collect():
                data = self._emit(statement)
                if len(data) != self._sizes[index]:
                    raise _unsettled(statement)
                label = isinstance(statement, Label)
                result.chunks.append(Chunk(self._place.address, data, statement.line, label))
            self._place.address += self._sizes[index]
        self._errors.raise_if_any()
        result.symbols = self._all_symbols()
        return result

    # Names

    def _check_names(self) -> None:
        """Statements with unknown names are left out, so that the rest can be checked too.

        After an error in parsing a name may only be unknown because of that.
        """
        tell = not self._errors.errors
        for index, statement in enumerate(self._statements):
            self._place.index = index
            for expression in expressions_of(statement):
                for step in expression.names():
                    try:
                        self._place.check_name(expression, step)
                    except SourceError as error:
                        self._skipped.add(index)
                        if tell:
                            self._errors.add(error)

    # Sizes

    def _settle(self) -> None:
        """Passes until a pass changes nothing."""
        for _ in range(max(MIN_PASSES, MAX_STEPS // (len(self._statements) + 1))):
            changed = self._pass()
            if changed is None:
                return
        assert changed is not None
        first = self._statements[changed]
        if isinstance(first, Assignment):
            raise first.line.error(
                f"'{first.name}' never gets a value that stays",
                first.column,
                "is it defined by itself, in a circle?",
            )
        raise _unsettled(first)

    def _pass(self) -> int | None:
        """One pass over all statements; the first whose size or value changed."""
        self._place.address, changed = self._place.origin, None
        for index, statement in enumerate(self._statements):
            self._place.index = index
            if index in self._skipped:
                continue
            value: Value | None = None
            if isinstance(statement, Label):
                value = Value(self._place.address, 1)
            elif isinstance(statement, Assignment):
                value = self._try_value(statement)
            elif isinstance(statement, Origin):
                self._set_origin(statement)
            if value is not None:
                if self._place.values.get(index) != value and changed is None:
                    changed = index
                self._place.values[index] = value
                continue
            size = self._try_size(statement)
            if size != self._sizes[index] and changed is None:
                changed = index
            self._sizes[index] = size
            self._place.address += size
            if self._place.address - self._place.origin > MAX_IMAGE:
                raise statement.line.error(
                    f"the program gets larger than {MAX_IMAGE >> 20} MiB here", 1
                )
        return changed

    def _try_value(self, statement: Assignment) -> Value:
        try:
            return self._place.evaluate(statement.value)
        except SourceError:  # told in the last pass, with the final addresses
            return Value(0)

    def _try_size(self, statement: Statement) -> int:
        try:
            return self._size(statement)
        except SourceError:
            return self._sizes[self._place.index]

    def _size(self, statement: Statement) -> int:
        match statement:
            case Instruction():
                return len(self._instruction(statement))
            case Data(_, unit, items):
                return sum(_padded(len(i), unit) if isinstance(i, bytes) else unit for i in items)
            case Fill(_, count, unit, _):
                return self._count(count, MAX_IMAGE // unit) * unit
            case Align():
                return self._gap(statement)
            case Org(_, target, _):
                return self._org_gap(target)
            case Times(_, count, body):
                limit = MAX_REPEATED_INSTRUCTIONS if isinstance(body, Instruction) else MAX_IMAGE
                times = self._count(count, limit)
                if isinstance(body, Instruction):
                    return len(self._repeat(body, times))
                return times * self._size(body)
        return 0

    def _count(self, expression: Expression, limit: int) -> int:
        count = self._place.number(expression)
        if count < 0:
            raise expression.error(f"the count is negative: {count}")
        if count > limit:
            raise expression.error(f"the count is too large: {count}, at most {limit}")
        return count

    def _gap(self, statement: Align) -> int:
        boundary = self._place.number(statement.boundary)
        if statement.power:
            if not 0 <= boundary <= 24:
                raise statement.boundary.error(f"cannot align to 2**{boundary}")
            boundary = 1 << boundary
        boundary = boundary or 1
        if not 0 < boundary <= MAX_IMAGE or boundary & (boundary - 1):
            raise statement.boundary.error(f"alignment {boundary} is not a power of two")
        gap = -self._place.address % boundary
        if statement.limit is not None and gap > self._place.number(statement.limit):
            return 0
        return gap

    def _org_gap(self, target: Expression) -> int:
        value = self._place.evaluate(target)
        place = value.number if value.is_address else self._place.origin + value.number
        if place < self._place.address:
            raise target.error(
                f".org cannot go back: already {self._length():#x} bytes long",
                ".org takes an offset from the program's beginning, not an address",
            )
        if place > self._place.address == self._place.origin:
            raise target.error(
                "the program would begin with nothing but filling",
                ".org counts from the program's beginning; the load address is said by `org`"
                " or by origin in the machine block",
            )
        if place - self._place.origin > MAX_IMAGE:
            raise target.error(
                f".org {place - self._place.origin:#x} is beyond the {MAX_IMAGE >> 20} MiB limit",
                ".org takes an offset from the program's beginning, not an address",
            )
        return place - self._place.address

    def _length(self) -> int:
        return self._place.address - self._place.origin

    def _set_origin(self, statement: Origin) -> None:
        address = self._place.number(statement.address)
        if self._place.address != self._place.origin:
            raise statement.address.error(
                "org has to stand before the first byte", "to fill up to an offset use .org"
            )
        if not 0 <= address < 1 << 64:
            raise statement.address.error(f"{address:#x} is no address")
        self._place.origin = self._place.address = address

    # Bytes

    def _emit(self, statement: Statement) -> bytes:
        match statement:
            case Instruction():
                return self._instruction(statement)
            case Data():
                return self._data(statement)
            case Fill(_, _, unit, value):
                one = self._cell(value, min(unit, 8))
                return one * (self._size(statement) // unit)
            case Align():
                filler = statement.fill
                one = bytes([NOP]) if filler is None else self._cell(filler, 1)
                return one * self._gap(statement)
            case Org(_, target, fill):
                return (b"\0" if fill is None else self._cell(fill, 1)) * self._org_gap(target)
            case Times(_, count, body):
                times = self._count(count, MAX_IMAGE)
                if isinstance(body, Instruction):
                    return self._repeat(body, times)
                return self._emit(body) * times
            case Assignment():
                self._check_assignment(statement)
        return b""

    def _check_assignment(self, statement: Assignment) -> None:
        value = self._place.evaluate(statement.value)
        for register in value.registers:
            raise statement.value.error(
                f"{register} is a register, not a number",
                f"%define {statement.name} {register} gives a register another name",
            )

    def _data(self, statement: Data) -> bytes:
        out = bytearray()
        for item in statement.items:
            self._place.element = len(out)
            if isinstance(item, bytes):
                out += item.ljust(_padded(len(item), statement.unit), b"\0")
            else:
                out += self._cell(item, statement.unit)
        self._place.element = 0
        return bytes(out)

    def _cell(self, expression: Expression, unit: int) -> bytes:
        number = self._place.number(expression)
        inverted = self._place.evaluate(expression).inverted
        if not fits(number, 8 * unit, inverted=inverted):
            shown = f"{number:#x}" if abs(number) > 99_999 else str(number)
            raise expression.error(f"{shown} does not fit in {8 * unit} bits")
        return (number & ((1 << 8 * unit) - 1)).to_bytes(unit, "little")

    def _repeat(self, body: Instruction, times: int) -> bytes:
        out, start = bytearray(), self._place.address
        at_least = self._sizes[self._place.index] // max(times, 1)
        try:
            for _ in range(times):
                code = self._instruction(body, at_least)
                out += code
                self._place.address += len(code)
        finally:
            self._place.address = start
        return bytes(out)

    def _instruction(self, statement: Instruction, at_least: int | None = None) -> bytes:
        if at_least is None:
            at_least = self._sizes[self._place.index]
        try:
            operands = tuple(
                resolve(statement, operand, self._place.evaluate) for operand in statement.operands
            )
            wanted = Concrete(
                statement.mnemonic, operands, statement.prefixes, statement.bits, statement.column
            )
            known = self._encoded.get(self._place.index)
            if known is not None and known[:2] == (wanted, self._place.address):
                return known[2]
            code = encode(self._encoder, wanted, self._place.address, at_least)
        except EvaluationError as error:
            column = error.column or statement.column
            raise statement.line.error(error.message, column, error.hint) from None
        self._encoded[self._place.index] = (wanted, self._place.address, code)
        return code

    def _all_symbols(self) -> dict[str, int]:
        found = dict(self._symbols.given)
        for name, definitions in self._symbols.definitions.items():
            value = self._place.values.get(definitions[-1].statement)
            if value is not None:
                found[name] = value.number
        return found


def _padded(length: int, unit: int) -> int:
    return -(-length // unit) * unit


def _unsettled(statement: Statement) -> SourceError:
    return statement.line.error(
        "the addresses never come to rest here", 1,
        "does its size depend on a label after it?",
    )  # fmt: skip
