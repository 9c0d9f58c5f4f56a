"""The value of an expression at one place of the program, in one pass of the layout."""

from __future__ import annotations

from collections.abc import Callable

from toyvisor.guest.expressions import Expression, Op, Step, Value, binary_number
from toyvisor.guest.operands import FarSource, ImmediateSource, MemorySource, OperandSource
from toyvisor.guest.source import SourceLine
from toyvisor.guest.statements import (
    Align,
    Assignment,
    Data,
    Fill,
    Instruction,
    Org,
    Origin,
    Statement,
    Times,
)
from toyvisor.guest.symbols import SymbolTable


class Place:
    """Where the layout is: statement `index` at `address`, and the values found so far.

    `values` maps the index of a label or assignment to its value; `element` is how far into
    a data directive `.` is (for GNU as it moves with every value, NASM's `$` does not).
    """

    def __init__(self, symbols: SymbolTable, origin: int) -> None:
        self._symbols = symbols
        self.origin = self.address = origin
        self.index = 0
        self.element = 0
        self.values: dict[int, Value] = {}

    def evaluate(self, expression: Expression) -> Value:
        """Its value here. Raises SourceError."""
        return expression.evaluate(self._lookup(expression.line))

    def number(self, expression: Expression) -> int:
        """Its value here, which may not have a register. Raises SourceError."""
        value = self.evaluate(expression)
        for register in value.registers:
            raise expression.error(f"register {register} cannot stand here")
        return value.number

    def check_name(self, expression: Expression, step: Step) -> None:
        """SourceError if the name of this step means nothing here."""
        if step.op is Op.NUMERIC:
            self._numeric(expression.line, step)
        elif step.text not in self._symbols.given:
            found = self._symbols.find(step.text, self.index)
            if found is None:
                raise self._symbols.undefined(step.text, expression.line, step.column)
            if found == self.index:
                raise expression.line.error(
                    f"'{step.text}' is defined by itself", step.column, "give it a value first"
                )

    def _numeric(self, line: SourceLine, step: Step) -> int | None:
        """The statement `1b` means; None when it is the binary number it looks like."""
        found = self._symbols.find_numeric(step.text, self.index)
        if found is not None:
            return found
        if binary_number(step) is not None:
            return None
        digits = step.text[:-1]
        where = "before" if step.text[-1] == "b" else "after"
        hint = f"for the binary number write 0b{digits}" if digits in ("0", "1") else None
        raise line.error(f"there is no label {digits}: {where} this line", step.column, hint)

    def _lookup(self, line: SourceLine) -> Callable[[Step], Value]:
        def look(step: Step) -> Value:
            if step.op is Op.HERE:
                return Value(self.address + (self.element if step.text == "." else 0), 1)
            if step.op is Op.BASE:
                return Value(self.origin, 1)
            if step.op is Op.NUMERIC:
                place = self._numeric(line, step)
                if place is None:
                    return Value(binary_number(step) or 0)
            elif step.text in self._symbols.given:
                return Value(self._symbols.given[step.text])
            else:
                place = self._symbols.find(step.text, self.index)
            # A name not reached yet is taken to be right here, which keeps jumps short.
            return self.values.get(-1 if place is None else place, Value(self.address, 1))

        return look


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
