"""Numbers as `print` and `display` show them: gdb's format letters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from toyvisor.debug.expressions import ExpressionError
from toyvisor.debug.views.labels import label_of
from toyvisor.errors import UsageError

if TYPE_CHECKING:
    from toyvisor.debug.session import Session
    from toyvisor.ui.prompt.desk import Desk, Display

WORD = (1 << 64) - 1
#: letter: what it shows
LETTERS = {
    "x": "hexadecimal", "z": "hexadecimal with leading zeros", "d": "signed decimal",
    "u": "unsigned decimal", "t": "binary", "o": "octal", "c": "a character",
    "a": "an address, with its label",
}  # fmt: skip


def value_text(session: Session, value: int, letter: str = "", size: int = 8) -> str:
    """A number of `size` bytes. Without a letter: hexadecimal and decimal."""
    bits = 8 * size
    unsigned = value & (1 << bits) - 1
    match letter:
        case "":
            return _both(value)
        case "x":
            return f"{unsigned:#x}"
        case "z":
            return f"{unsigned:#0{2 * size + 2}x}"
        case "d":
            return str(as_signed(unsigned, bits))
        case "u":
            return str(unsigned)
        case "t":
            return f"{unsigned:#b}"
        case "o":
            return f"{unsigned:#o}"
        case "c":
            return f"{as_signed(unsigned & 0xFF, 8)} {character(unsigned & 0xFF)}"
        case "a":
            return address_text(session, unsigned)
    raise UsageError(f"there is no format {letter!r}", hint=f"formats: {' '.join(LETTERS)}")


def _both(value: int) -> str:
    if value < 0:
        return f"{value} ({value & WORD:#x})"
    return str(value) if value < 10 else f"{value:#x} ({value})"


def as_signed(value: int, bits: int) -> int:
    """An unsigned number of so many bits, taken as a signed one."""
    return value - (1 << bits) if value >> (bits - 1) & 1 else value


def character(byte: int) -> str:
    """A byte as a character in quotes."""
    shown = {0x27: "\\'", 0x5C: "\\\\"}.get(byte, chr(byte))
    return f"'{shown}'" if 0x20 <= byte < 0x7F else f"'\\x{byte:02x}'"


def address_text(session: Session, address: int) -> str:
    """`0x100004 <_start+0x4>`; without a label if there is none before it."""
    return f"{address:#x}{label_text(session, address)}"


def label_text(session: Session, address: int) -> str:
    """` <_start+0x4>`, or nothing."""
    label = label_of(session.program, address)
    return f" <{label}>" if label else ""


def display_text(number: int, display: Display, desk: Desk) -> str:
    """A displayed expression with its present value, or with why it has none."""
    letter = f"/{display.letter}" if display.letter else ""
    try:
        value = display.expression.evaluate(desk.names)
    except ExpressionError as error:
        return f"{number}: {display.text} = ? ({error.what})"
    return f"{number}: {display.text}{letter} = {value_text(desk.session, value, display.letter)}"
