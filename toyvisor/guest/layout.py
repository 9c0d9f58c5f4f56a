"""Where everything goes: repeated passes until no address moves, then one that makes bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from toyvisor.errors import SourceError
from toyvisor.guest.diagnostics import Diagnostics
from toyvisor.guest.encoder import Encoder
from toyvisor.guest.expressions import EvaluationError, Expression, Op, Step, Value
from toyvisor.guest.instruction_encoder import Concrete, encode
from toyvisor.guest.operands import FarSource, ImmediateSource, MemorySource, OperandSource
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
MAX_PASSES = 60
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
        self._origin, self._encoder, self._errors = origin, encoder, errors
        self._sizes = [0] * len(program.statements)
        self._values: dict[int, Value] = {}
        self._encoded: dict[int, tuple[Concrete, int, bytes]] = {}
        self._address = origin
        self._index = 0
        self._element = 0

    def run(self) -> LaidOut:
        """Find all addresses and make all bytes. Raises SourceError, also several at once."""
        self._check_names()
        self._errors.raise_if_any()
        self._settle()
        result = LaidOut(self._origin)
        self._address = self._origin
        for index, statement in enumerate(self._statements):
            self._index = index
            with self._errors.collect():
                data = self._emit(statement)
                if len(data) != self._sizes[index]:
                    raise _unsettled(statement)
                label = isinstance(statement, Label)
                result.chunks.append(Chunk(self._address, data, statement.line, label))
            self._address += self._sizes[index]
        self._errors.raise_if_any()
        result.symbols = self._all_symbols()
        return result

    # Names

    def _check_names(self) -> None:
        for index, statement in enumerate(self._statements):
            for expression in expressions_of(statement):
                for step in expression.names():
                    with self._errors.collect():
                        self._check_name(index, expression, step)

    def _check_name(self, index: int, expression: Expression, step: Step) -> None:
        if step.op is Op.NUMERIC:
            self._numeric(index, expression.line, step)
        elif step.text not in self._symbols.given:
            found = self._symbols.find(step.text, index)
            if found is None:
                raise self._symbols.undefined(step.text, expression.line, step.column)
            if found == index:
                raise expression.line.error(
                    f"'{step.text}' is defined by itself", step.column, "give it a value first"
                )

    def _numeric(self, index: int, line: SourceLine, step: Step) -> int | None:
        """The statement `1b` means; None when it is the binary number it looks like."""
        found = self._symbols.find_numeric(step.text, index)
        if found is not None:
            return found
        digits = step.text[:-1]
        if step.text[-1] == "b" and len(digits) > 1 and not set(digits) - {"0", "1"}:
            return None
        where = "before" if step.text[-1] == "b" else "after"
        hint = f"for the binary number write 0b{digits}" if digits in ("0", "1") else None
        raise line.error(f"there is no label {digits}: {where} this line", step.column, hint)

    def _lookup(self, line: SourceLine) -> Callable[[Step], Value]:
        def look(step: Step) -> Value:
            if step.op is Op.HERE:
                return Value(self._address + (self._element if step.text == "." else 0), 1)
            if step.op is Op.BASE:
                return Value(self._origin, 1)
            if step.op is Op.NUMERIC:
                place = self._numeric(self._index, line, step)
                if place is None:
                    return Value(int(step.text[:-1], 2))
            elif step.text in self._symbols.given:
                return Value(self._symbols.given[step.text])
            else:
                place = self._symbols.find(step.text, self._index)
            # A name not reached yet is taken to be right here, which keeps jumps short.
            return self._values.get(place or 0, Value(self._address, 1))

        return look

    def _evaluate(self, expression: Expression) -> Value:
        return expression.evaluate(self._lookup(expression.line))

    def _number(self, expression: Expression) -> int:
        value = self._evaluate(expression)
        for register in value.registers:
            raise expression.error(f"register {register} cannot stand here")
        return value.number

    # Sizes

    def _settle(self) -> None:
        """Passes until a pass changes nothing."""
        for _ in range(MAX_PASSES):
            changed = self._pass()
            if changed is None:
                return
        assert changed is not None
        first = self._statements[changed]
        if isinstance(first, Assignment):
            raise first.line.error(f"'{first.name}' never gets a value that stays", first.column)
        raise _unsettled(first)

    def _pass(self) -> int | None:
        """One pass over all statements; the first whose size or value changed."""
        self._address, changed = self._origin, None
        for index, statement in enumerate(self._statements):
            self._index = index
            value: Value | None = None
            if isinstance(statement, Label):
                value = Value(self._address, 1)
            elif isinstance(statement, Assignment):
                value = self._try_value(statement)
            elif isinstance(statement, Origin):
                self._set_origin(statement)
            if value is not None:
                if self._values.get(index) != value and changed is None:
                    changed = index
                self._values[index] = value
                continue
            size = self._try_size(statement)
            if size != self._sizes[index] and changed is None:
                changed = index
            self._sizes[index] = size
            self._address += size
            if self._address - self._origin > MAX_IMAGE:
                raise statement.line.error(
                    f"the program gets larger than {MAX_IMAGE >> 20} MiB here", 1
                )
        return changed

    def _try_value(self, statement: Assignment) -> Value:
        try:
            return self._evaluate(statement.value)
        except SourceError:  # told in the last pass, with the final addresses
            return Value(0)

    def _try_size(self, statement: Statement) -> int:
        try:
            return self._size(statement)
        except SourceError:
            return self._sizes[self._index]

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
        count = self._number(expression)
        if count < 0:
            raise expression.error(f"the count is negative: {count}")
        if count > limit:
            raise expression.error(f"the count is too large: {count}, at most {limit}")
        return count

    def _gap(self, statement: Align) -> int:
        boundary = self._number(statement.boundary)
        if statement.power:
            if not 0 <= boundary <= 24:
                raise statement.boundary.error(f"cannot align to 2**{boundary}")
            boundary = 1 << boundary
        boundary = boundary or 1
        if not 0 < boundary <= MAX_IMAGE or boundary & (boundary - 1):
            raise statement.boundary.error(f"alignment {boundary} is not a power of two")
        gap = -self._address % boundary
        if statement.limit is not None and gap > self._number(statement.limit):
            return 0
        return gap

    def _org_gap(self, target: Expression) -> int:
        value = self._evaluate(target)
        place = value.number if value.is_address else self._origin + value.number
        if place < self._address:
            raise target.error(
                f".org cannot go back: already {self._address - self._origin:#x} bytes long",
                ".org takes an offset from the program's beginning, not an address",
            )
        if place - self._origin > MAX_IMAGE:
            raise target.error(
                f".org {place - self._origin:#x} is beyond the {MAX_IMAGE >> 20} MiB limit",
                ".org takes an offset from the program's beginning, not an address",
            )
        return place - self._address

    def _set_origin(self, statement: Origin) -> None:
        address = self._number(statement.address)
        if self._address != self._origin:
            raise statement.address.error(
                "org has to stand before the first byte", "to fill up to an offset use .org"
            )
        if not 0 <= address < 1 << 64:
            raise statement.address.error(f"{address:#x} is no address")
        self._origin = self._address = address

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
        value = self._evaluate(statement.value)
        for register in value.registers:
            raise statement.value.error(
                f"{register} is a register, not a number",
                f"%define {statement.name} {register} gives a register another name",
            )

    def _data(self, statement: Data) -> bytes:
        out = bytearray()
        for item in statement.items:
            self._element = len(out)
            if isinstance(item, bytes):
                out += item.ljust(_padded(len(item), statement.unit), b"\0")
            else:
                out += self._cell(item, statement.unit)
        self._element = 0
        return bytes(out)

    def _cell(self, expression: Expression, unit: int) -> bytes:
        number = self._number(expression)
        if not -(1 << (8 * unit - 1)) <= number < 1 << (8 * unit):
            shown = f"{number:#x}" if abs(number) > 99_999 else str(number)
            raise expression.error(f"{shown} does not fit in {8 * unit} bits")
        return (number & ((1 << 8 * unit) - 1)).to_bytes(unit, "little")

    def _repeat(self, body: Instruction, times: int) -> bytes:
        out, start = bytearray(), self._address
        try:
            for _ in range(times):
                code = self._instruction(body)
                out += code
                self._address += len(code)
        finally:
            self._address = start
        return bytes(out)

    def _instruction(self, statement: Instruction) -> bytes:
        try:
            operands = tuple(
                resolve(statement, operand, self._evaluate) for operand in statement.operands
            )
            wanted = Concrete(
                statement.mnemonic, operands, statement.prefixes, statement.bits, statement.column
            )
            known = self._encoded.get(self._index)
            if known is not None and known[:2] == (wanted, self._address):
                return known[2]
            code = encode(self._encoder, wanted, self._address, self._sizes[self._index])
        except EvaluationError as error:
            column = error.column or statement.column
            raise statement.line.error(error.message, column, error.hint) from None
        self._encoded[self._index] = (wanted, self._address, code)
        return code

    def _all_symbols(self) -> dict[str, int]:
        found = dict(self._symbols.given)
        for name, definitions in self._symbols.definitions.items():
            value = self._values.get(definitions[-1].statement)
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


def expressions_of(statement: Statement) -> list[Expression]:
    """All expressions a statement contains."""
    match statement:
        case Assignment(_, _, value, _, _):
            return [value]
        case Instruction():
            return [e for o in statement.operands for e in _operand_expressions(o)]
        case Data(_, _, items):
            return [item for item in items if isinstance(item, Expression)]
        case Fill(_, count, _, value):
            return [count, value]
        case Align(_, boundary, fill, limit, _):
            return [e for e in (boundary, fill, limit) if e is not None]
        case Org(_, target, fill):
            return [target, *([fill] if fill else [])]
        case Origin(_, address):
            return [address]
        case Times(_, count, body):
            return [count, *expressions_of(body)]
    return []


def _operand_expressions(operand: OperandSource) -> tuple[Expression, ...]:
    match operand:
        case ImmediateSource():
            return (operand.value,)
        case FarSource():
            return (operand.segment, operand.offset)
        case MemorySource():
            return operand.parts
    return ()
