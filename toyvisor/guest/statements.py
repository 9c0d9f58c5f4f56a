"""What a line of a guest program says, after parsing and before addresses are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from toyvisor.guest.expressions import Expression
from toyvisor.guest.operands import OperandSource
from toyvisor.guest.source import SourceLine


@dataclass(frozen=True, slots=True)
class Label:
    """`name:`; a number for numeric labels, `function.name` for NASM's local ones."""

    line: SourceLine
    name: str
    column: int


@dataclass(frozen=True, slots=True)
class Assignment:
    """`NAME = expression`, `.set`, `.equ`, `NAME equ expression`. `fixed`: only once."""

    line: SourceLine
    name: str
    value: Expression
    column: int
    fixed: bool


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction in `bits`-wide code.

    `default_relative`: NASM's `default rel` holds. `nasm`: the file said it is NASM source,
    so a bare label is its address.
    """

    line: SourceLine
    column: int
    mnemonic: str
    operands: tuple[OperandSource, ...]
    prefixes: tuple[str, ...]
    bits: int
    default_relative: bool = False
    nasm: bool = False


@dataclass(frozen=True, slots=True)
class Data:
    """`unit` bytes for each value; byte strings go in as they are, padded to a unit."""

    line: SourceLine
    unit: int
    items: tuple[Expression | bytes, ...]


@dataclass(frozen=True, slots=True)
class Fill:
    """`count` times `value` in `unit` bytes."""

    line: SourceLine
    count: Expression
    unit: int
    value: Expression


@dataclass(frozen=True, slots=True)
class Align:
    """Fill up to a multiple of `boundary` (2**boundary with `power`), but at most `limit` bytes."""

    line: SourceLine
    boundary: Expression
    fill: Expression | None
    limit: Expression | None = None
    power: bool = False


@dataclass(frozen=True, slots=True)
class Org:
    """`.org`: fill up to an offset from the beginning, or to an address made of labels."""

    line: SourceLine
    target: Expression
    fill: Expression | None


@dataclass(frozen=True, slots=True)
class Origin:
    """NASM's `org`: the address the program will be loaded at."""

    line: SourceLine
    address: Expression


@dataclass(frozen=True, slots=True)
class Times:
    """NASM's `times count statement`."""

    line: SourceLine
    count: Expression
    body: Instruction | Data | Fill


Statement: TypeAlias = Label | Assignment | Instruction | Data | Fill | Align | Org | Origin | Times
