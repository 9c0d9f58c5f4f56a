"""From the text of an expression to its tokens, and the one error of expressions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum, auto
from typing import NamedTuple

from toyvisor.errors import InputError

MOST_CHARACTERS = 500
_WORD = (1 << 64) - 1


class ExpressionError(InputError):
    """An expression that makes no sense, or has no value now.

    `column` counts from 1 and says where in `text`; `what` is the message without them.
    """

    def __init__(self, what: str, text: str, column: int, *, hint: str | None = None) -> None:
        shown = text if len(text) <= 60 else f"{text[:57]}..."
        super().__init__(f"{shown!r}, column {column}: {what}", hint=hint)
        self.what, self.text, self.column = what, text, column


class TokenKind(Enum):
    """What a token is."""

    NUMBER = auto()
    NAME = auto()
    SIGN = auto()
    END = auto()


class Token(NamedTuple):
    """A piece of an expression. `column` counts from 1; `value` is a number's."""

    kind: TokenKind
    text: str
    column: int
    value: int = 0

    def __str__(self) -> str:
        return "the end" if self.kind is TokenKind.END else repr(self.text)


_TOKEN = re.compile(
    r"""(?P<space>\s+)
      | (?P<number>[0-9]\w*)
      | (?P<character>'(?:[^'\\]|\\.)*')
      | (?P<name>\$?[A-Za-z_.?@][\w.?@]*)
      | (?P<sign><<|>>|<=|>=|==|!=|&&|\|\||//|[-+*/%&|^~!<>=()\[\]:])
    """,
    re.VERBOSE | re.ASCII,
)
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_ESCAPES = {"n": 10, "r": 13, "t": 9, "0": 0, "e": 27, "\\": 92, "'": 39, '"': 34}


def tokens(text: str) -> list[Token]:
    """The tokens, with an END behind the last. Raises ExpressionError."""
    if len(text) > MOST_CHARACTERS:
        raise ExpressionError(
            f"longer than {MOST_CHARACTERS} characters", text, MOST_CHARACTERS + 1
        )
    return [*_tokens(text), Token(TokenKind.END, "", len(text.rstrip()) + 1)]


def _tokens(text: str) -> Iterator[Token]:
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        column = position + 1
        if match is None:
            raise _stray(text, column)
        position = match.end()
        match match.lastgroup:
            case "number":
                yield Token(TokenKind.NUMBER, match[0], column, _number(text, match[0], column))
            case "character":
                yield Token(TokenKind.NUMBER, match[0], column, _character(text, match[0], column))
            case "name":
                yield Token(TokenKind.NAME, match[0], column)
            case "sign":
                yield Token(TokenKind.SIGN, match[0], column)


def _stray(text: str, column: int) -> ExpressionError:
    character = text[column - 1]
    if character == "'":
        return ExpressionError("this ' is never closed", text, column)
    hint = "texts have no value; a character is written 'a'" if character == '"' else None
    return ExpressionError(f"{character!r} means nothing here", text, column, hint=hint)


def _number(text: str, number: str, column: int) -> int:
    unit = _UNITS.get(number[-1].upper(), 1) if number[:2].lower() != "0x" else 1
    digits = number[:-1] if unit > 1 else number
    try:
        value = int(digits, 10 if digits.isdecimal() else 0) * unit
    except ValueError:
        raise ExpressionError(
            f"{number!r} is no number", text, column, hint="numbers: 10, 0x1f, 0b101, 4K, 'a'"
        ) from None
    if value > _WORD:
        raise ExpressionError(f"{number} has more than 64 bits", text, column)
    return value


def _character(text: str, quoted: str, column: int) -> int:
    inner = quoted[1:-1]
    if len(inner) == 2 and inner[0] == "\\" and inner[1] in _ESCAPES:
        return _ESCAPES[inner[1]]
    if len(inner) != 1 or inner == "\\" or ord(inner) > 0xFF:
        raise ExpressionError(f"{quoted!r} is not one character", text, column)
    return ord(inner)
