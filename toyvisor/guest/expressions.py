"""Expressions: C's operators and precedence over numbers, labels and registers.

An expression is compiled to postfix and run on a stack, so no depth of parentheses can
exhaust Python's own stack. Values remember whether they are addresses (a label) or plain
numbers (a constant, the difference of two labels), and how often each register occurs,
which makes the same evaluator serve immediates and `[rbx + rcx*4 + size - 1]`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

from toyvisor.errors import SourceError
from toyvisor.guest import registers
from toyvisor.guest.lexer import Token, TokenKind, string_bytes
from toyvisor.guest.source import SourceLine

MAX_BITS = 128
"""Intermediate values stay below 2**128: more is a mistake, and huge shifts would eat memory."""


class Op(Enum):
    """What one postfix step does."""

    NUMBER = auto()
    NAME = auto()
    NUMERIC = auto()
    HERE = auto()
    BASE = auto()
    REGISTER = auto()
    UNARY = auto()
    BINARY = auto()


@dataclass(frozen=True, slots=True)
class Step:
    """One postfix step and the column it came from."""

    op: Op
    text: str
    column: int
    number: int = 0


@dataclass(frozen=True, slots=True)
class Value:
    """The result: `number`, of which `labels` addresses are a part, plus scaled registers."""

    number: int
    labels: int = 0
    registers: Mapping[str, int] = field(default_factory=dict)
    inverted: bool = False
    """A pattern made with `~`: `~0x8000` is meant as 16 bits where 16 bits are wanted."""

    @property
    def is_address(self) -> bool:
        """Whether it moves when the program is loaded elsewhere."""
        return self.labels != 0


class EvaluationError(Exception):
    """A value cannot be computed; the column says where."""

    def __init__(self, message: str, column: int, hint: str | None = None) -> None:
        super().__init__(message)
        self.message, self.column, self.hint = message, column, hint


@dataclass(frozen=True, slots=True)
class Expression:
    """A parsed expression of one source line."""

    steps: tuple[Step, ...]
    line: SourceLine
    column: int

    def names(self) -> list[Step]:
        """The symbols it refers to."""
        return [step for step in self.steps if step.op in (Op.NAME, Op.NUMERIC)]

    @property
    def text(self) -> str:
        """How it begins in the source: its first number or name."""
        return self.steps[0].text

    def evaluate(self, lookup: Callable[[Step], Value]) -> Value:
        """Run it; `lookup` gives the value of NAME, NUMERIC, HERE and BASE steps.

        Raises: SourceError with the place of the offending operator or name.
        """
        try:
            return _run(self.steps, lookup)
        except EvaluationError as error:
            raise self.line.error(error.message, error.column, error.hint) from None

    def error(self, message: str, hint: str | None = None) -> SourceError:
        """An error at the start of this expression."""
        return self.line.error(message, self.column, hint)


def constant(number: int, line: SourceLine, column: int) -> Expression:
    """An expression that is just a number."""
    return Expression((Step(Op.NUMBER, str(number), column, number),), line, column)


def _run(steps: tuple[Step, ...], lookup: Callable[[Step], Value]) -> Value:
    stack: list[Value] = []
    for step in steps:
        if step.op is Op.NUMBER:
            stack.append(Value(step.number))
        elif step.op is Op.REGISTER:
            stack.append(Value(0, 0, {step.text: 1}))
        elif step.op is Op.UNARY:
            stack.append(_unary(step, stack.pop()))
        elif step.op is Op.BINARY:
            right = stack.pop()
            stack.append(_binary(step, stack.pop(), right))
        else:
            stack.append(lookup(step))
    return stack.pop()


def _unary(step: Step, value: Value) -> Value:
    if step.text == "+":
        return value
    if step.text == "-":
        return Value(-value.number, -value.labels, {r: -n for r, n in value.registers.items()})
    _no_registers(step, value)
    if step.text == "~":
        return Value(~value.number, inverted=True)
    return Value(int(not value.number))


def _no_registers(step: Step, *values: Value) -> None:
    for value in values:
        for register in value.registers:
            raise EvaluationError(
                f"register {register} cannot take part in '{step.text}'", step.column
            )


def _binary(step: Step, left: Value, right: Value) -> Value:
    if step.text in "+-":
        sign = 1 if step.text == "+" else -1
        merged = dict(left.registers)
        for register, count in right.registers.items():
            merged[register] = merged.get(register, 0) + sign * count
        return Value(
            _bounded(step, left.number + sign * right.number),
            left.labels + sign * right.labels,
            {register: count for register, count in merged.items() if count},
        )
    if step.text == "*" and (left.registers or right.registers):
        return _scale(step, left, right)
    _no_registers(step, left, right)
    number = _bounded(step, _arithmetic(step, left.number, right.number))
    bitwise = step.text in "&|^" and number < 0
    return Value(number, inverted=bitwise and (left.inverted or right.inverted))


def fits(number: int, width: int, *, inverted: bool = False) -> bool:
    """Whether `width` bits hold a number, read as signed or unsigned."""
    lowest = -(1 << width) if inverted else -(1 << (width - 1))
    return lowest <= number < 1 << width


def binary_number(step: Step) -> int | None:
    """What `101b` is if there is no label 101: the number; None for `1b` and for `10f`."""
    digits = step.text[:-1]
    if step.text[-1] == "b" and len(digits) > 1 and not set(digits) - {"0", "1"}:
        return int(digits, 2)
    return None


def _scale(step: Step, left: Value, right: Value) -> Value:
    if left.registers and right.registers:
        raise EvaluationError("a register can only be scaled by a number", step.column)
    value, factor = (left, right.number) if left.registers else (right, left.number)
    return Value(
        _bounded(step, value.number * factor),
        0,
        {register: count * factor for register, count in value.registers.items()},
    )


def _bounded(step: Step, number: int) -> int:
    if number.bit_length() > MAX_BITS:
        raise EvaluationError(f"'{step.text}' overflows", step.column)
    return number


def _arithmetic(step: Step, a: int, b: int) -> int:
    text = step.text
    if text in ("/", "%"):
        if b == 0:
            raise EvaluationError("division by zero", step.column)
        quotient = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)  # towards zero, as in C
        return quotient if text == "/" else a - quotient * b
    if text in ("<<", ">>"):
        if not 0 <= b <= MAX_BITS:
            raise EvaluationError(f"cannot shift by {b}", step.column)
        if text == "<<":
            return a << b
        # GNU as and NASM both shift 64-bit patterns, so bits from above are zeros.
        return (a & 0xFFFF_FFFF_FFFF_FFFF if a < 0 else a) >> b
    return _OPERATIONS[text](a, b)


_OPERATIONS: dict[str, Callable[[int, int], int]] = {
    "*": lambda a, b: a * b,
    "&": lambda a, b: a & b,
    "|": lambda a, b: a | b,
    "^": lambda a, b: a ^ b,
    "==": lambda a, b: int(a == b),
    "=": lambda a, b: int(a == b),
    "!=": lambda a, b: int(a != b),
    "<>": lambda a, b: int(a != b),
    "<": lambda a, b: int(a < b),
    ">": lambda a, b: int(a > b),
    "<=": lambda a, b: int(a <= b),
    ">=": lambda a, b: int(a >= b),
    "&&": lambda a, b: int(bool(a) and bool(b)),
    "||": lambda a, b: int(bool(a) or bool(b)),
}

_PRECEDENCE = {
    "||": 1, "&&": 2, "|": 3, "^": 4, "&": 5, "==": 6, "=": 6, "!=": 6, "<>": 6,
    "<": 7, ">": 7, "<=": 7, ">=": 7, "<<": 8, ">>": 8, "+": 9, "-": 9,
    "*": 10, "/": 10, "%": 10,
}  # fmt: skip
_UNARY_PRECEDENCE = 11


class ExpressionParser:
    """Reads one expression from `tokens[start:]`; `position` is then the first token after it."""

    def __init__(self, line: SourceLine, tokens: list[Token], start: int = 0) -> None:
        self.line, self.tokens, self.position = line, tokens, start

    def parse(self) -> Expression:
        """Shunting-yard: operands go out at once, operators wait for their right side."""
        start, column = self.position, self._column()
        output: list[Step] = []
        waiting: list[tuple[int, Step]] = []  # precedence 0 is an open parenthesis
        want_operand = True
        while self.position < len(self.tokens):
            token = self.tokens[self.position]
            if want_operand:
                want_operand = self._operand(token, output, waiting)
            elif token.is_punct(")") and any(p == 0 for p, _ in waiting):
                self._pop_until(0, output, waiting)
                waiting.pop()
            elif token.kind is TokenKind.PUNCT and token.text in _PRECEDENCE:
                precedence = _PRECEDENCE[token.text]
                self._pop_until(precedence, output, waiting)
                waiting.append((precedence, Step(Op.BINARY, token.text, token.column)))
                want_operand = True
            else:
                break
            self.position += 1
        if want_operand:
            raise self._missing_operand(start)
        self._pop_until(1, output, waiting)
        if waiting:
            raise self.line.error("this parenthesis is never closed", waiting[-1][1].column)
        return Expression(tuple(output), self.line, column)

    @staticmethod
    def _pop_until(precedence: int, output: list[Step], waiting: list[tuple[int, Step]]) -> None:
        while waiting and waiting[-1][0] >= max(precedence, 1):
            output.append(waiting.pop()[1])

    def _column(self) -> int:
        if self.position < len(self.tokens):
            return self.tokens[self.position].column
        return len(self.line.text.rstrip()) + 1

    def _missing_operand(self, start: int) -> SourceError:
        column = self._column()
        if self.position < len(self.tokens):
            token = self.tokens[self.position]
            hint = "this is AT&T syntax: write registers and numbers bare, `mov eax, 5`"
            if token.is_punct("%"):
                return self.line.error("unexpected '%'", column, hint)
            return self.line.error(f"expected a value, found '{token.text}'", column)
        if self.position > start:
            before = self.tokens[self.position - 1].text
            return self.line.error(f"a value is missing after '{before}'", column)
        return self.line.error("a value is missing here", column)

    def _operand(self, token: Token, output: list[Step], waiting: list[tuple[int, Step]]) -> bool:
        """Take one operand token; whether another is still wanted after it."""
        if token.is_punct("("):
            waiting.append((0, Step(Op.UNARY, "(", token.column)))
            return True
        if token.is_punct("-", "+", "~", "!"):
            waiting.append((_UNARY_PRECEDENCE, Step(Op.UNARY, token.text, token.column)))
            return True
        step = self._leaf(token)
        if step is None:
            raise self._missing_operand(-1)
        output.append(step)
        return False

    def _leaf(self, token: Token) -> Step | None:
        match token.kind:
            case TokenKind.NUMBER:
                return Step(Op.NUMBER, token.text, token.column, token.value)
            case TokenKind.NUMERIC_LABEL:
                return Step(Op.NUMERIC, token.text, token.column)
            case TokenKind.STRING:
                return self._character(token)
            case TokenKind.NAME:
                return self._name(token)
            case TokenKind.PUNCT:
                return self._here(token)

    def _here(self, token: Token) -> Step | None:
        if token.text in ("$", "."):
            after = self.tokens[self.position + 1 : self.position + 2]
            if token.text == "$" and after and after[0].kind in (TokenKind.NUMBER, TokenKind.NAME):
                raise self.line.error(
                    "unexpected '$'",
                    token.column,
                    "this is AT&T syntax: in Intel syntax numbers stand bare, `mov eax, 5`",
                )
            return Step(Op.HERE, token.text, token.column)
        if token.text == "$$":
            return Step(Op.BASE, token.text, token.column)
        return None

    def _name(self, token: Token) -> Step:
        lower = token.text.lower()
        if lower in registers.ALL:
            return Step(Op.REGISTER, lower, token.column)
        if lower in registers.RESERVED:
            raise self.line.error(f"expected a value, found '{token.text}'", token.column)
        return Step(Op.NAME, token.text, token.column)

    def _character(self, token: Token) -> Step:
        data = string_bytes(self.line, token, escapes=True)
        if not data:
            raise self.line.error("empty character constant", token.column)
        if len(data) > 8:
            raise self.line.error(
                "a character constant holds at most 8 bytes",
                token.column,
                "put longer texts into memory with .ascii or db",
            )
        # NASM and GNU as both put the first character into the lowest byte.
        return Step(Op.NUMBER, token.text, token.column, int.from_bytes(data, "little"))
