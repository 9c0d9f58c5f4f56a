"""The parsed tree of an expression: each node a function of the names, so that it runs fast.

Numbers have 64 bits, as registers have. They are unsigned, but for what `signed()` made; an
operation with one of these is done on signed numbers, as the processor's IDIV, SAR and JL do.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

WORD = (1 << 64) - 1
_SIGN = 1 << 63


class NoValueError(Exception):
    """A name or an address that has no value at present. `hint` says what to do."""

    def __init__(self, what: str, hint: str | None = None) -> None:
        super().__init__(what)
        self.what, self.hint = what, hint


class UnknownNameError(NoValueError):
    """A name that nothing ever has."""


class DivisionError(Exception):
    """A division by zero, at a column."""

    def __init__(self, what: str, column: int) -> None:
        super().__init__(what)
        self.what, self.column = what, column


class Names(Protocol):
    """What the names in an expression stand for, at one moment."""

    def register(self, name: str) -> int:
        """A whole register: rax to r15, rip, rflags, cs, cr0, efer, ... in small letters."""

    def symbol(self, name: str) -> int | None:
        """The value of a label or constant of the program; None if it has none of that name."""

    def memory(self, address: int, size: int) -> int:
        """A little-endian number in guest memory, by linear address. Raises NoValueError."""

    def dotted(self, path: str) -> int:
        """A counter, a device register, a ring index: `exits.mmio`. Raises NoValueError."""

    def like(self, name: str) -> Sequence[str]:
        """Names that are nearly this one."""


@dataclass(slots=True)
class Uses:
    """What the value of an expression depends on.

    `registers` by their whole names (`rax` for `al`), `dotted` and `symbols` as written. A name
    with a dot may be a local label (`main.loop`) as well. `labels` are what `&` stands before.
    """

    registers: set[str] = field(default_factory=set)
    symbols: set[str] = field(default_factory=set)
    labels: set[str] = field(default_factory=set)
    dotted: set[str] = field(default_factory=set)
    memory: bool = False


class Node(NamedTuple):
    """A part of an expression.

    `size`, in bytes, is what it has by itself: signed() extends the sign from there.
    `depth` is how many nodes lie below one another.
    """

    value: Callable[[Names], int]
    column: int
    size: int = 8
    is_signed: bool = False
    depth: int = 1


def constant(number: int, column: int) -> Node:
    """A number."""
    return Node(lambda _: number, column)


def signed(inner: Node, column: int) -> Node:
    """`inner` taken as a signed number of its own size."""
    value, sign = inner.value, 1 << 8 * inner.size - 1
    if inner.is_signed:
        return inner
    mask = 2 * sign - 1

    def extend(names: Names) -> int:
        return ((value(names) & mask) ^ sign) - sign

    return Node(extend, column, inner.size, True, inner.depth + 1)


def _as_signed(node: Node) -> Callable[[Names], int]:
    value = node.value
    return value if node.is_signed else lambda names: (value(names) ^ _SIGN) - _SIGN


def unary(sign: str, inner: Node, column: int) -> Node:
    """`-x`, `+x`, `~x`, `!x` and `not x`."""
    value = inner.value
    depth = inner.depth + 1
    if sign in ("!", "not"):
        return Node(lambda names: int(not value(names)), column, depth=depth)
    if sign == "+":
        return inner._replace(column=column)
    change = operator.neg if sign == "-" else operator.invert
    node = Node(lambda names: change(value(names)) & WORD, column, depth=depth)
    return signed(node, column) if inner.is_signed else node


def binary(sign: str, left: Node, right: Node, column: int) -> Node:
    """Two operands, and the operator at `column` between them."""
    depth = max(left.depth, right.depth) + 1
    a, b = left.value, right.value
    if sign in ("and", "or"):
        return Node(_LOGIC[sign](a, b), left.column, depth=depth)
    if sign in _SHIFTS:
        shift = _SHIFTS[sign]
        node = Node(lambda names: shift(a(names), b(names) & WORD) & WORD, left.column, depth=depth)
        return signed(node, left.column) if left.is_signed else node
    is_signed = left.is_signed or right.is_signed
    if is_signed:
        a, b = _as_signed(left), _as_signed(right)
    if sign in _COMPARISONS:
        compare = _COMPARISONS[sign]
        return Node(lambda names: int(compare(a(names), b(names))), left.column, depth=depth)
    if sign in ("/", "%"):
        node = Node(_division(sign, a, b, column), left.column, depth=depth)
    else:
        work = _ARITHMETIC[sign]
        node = Node(lambda names: work(a(names), b(names)) & WORD, left.column, depth=depth)
    return signed(node, left.column) if is_signed else node


def _and(a: Callable[[Names], int], b: Callable[[Names], int]) -> Callable[[Names], int]:
    return lambda names: int(bool(a(names) and b(names)))


def _or(a: Callable[[Names], int], b: Callable[[Names], int]) -> Callable[[Names], int]:
    return lambda names: int(bool(a(names) or b(names)))


def _division(
    sign: str, a: Callable[[Names], int], b: Callable[[Names], int], column: int
) -> Callable[[Names], int]:
    def divide(names: Names) -> int:
        dividend, divisor = a(names), b(names)
        if not divisor:
            raise DivisionError("division by zero", column)
        quotient = abs(dividend) // abs(divisor)  # towards zero, as DIV and IDIV
        if (dividend < 0) != (divisor < 0):
            quotient = -quotient
        return (quotient if sign == "/" else dividend - quotient * divisor) & WORD

    return divide


_LOGIC = {"and": _and, "or": _or}
_SHIFTS: dict[str, Callable[[int, int], int]] = {
    "<<": lambda a, b: a << b if b < 64 else 0,
    ">>": lambda a, b: a >> min(b, 64),
}
_COMPARISONS: dict[str, Callable[[int, int], bool]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le,
    ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_ARITHMETIC: dict[str, Callable[[int, int], int]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul,
    "&": operator.and_, "|": operator.or_, "^": operator.xor,
}  # fmt: skip
