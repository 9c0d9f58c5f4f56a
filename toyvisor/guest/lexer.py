"""From a source line to tokens: comments, numbers of every spelling, strings, names.

Nothing of this goes to Keystone, which would run comments (`;` separates its statements)
and read `017` or `1010b` in its own way.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto

from toyvisor.guest.source import SourceLine


class TokenKind(Enum):
    """What a token is; operators and punctuation are PUNCT."""

    NAME = auto()
    NUMBER = auto()
    NUMERIC_LABEL = auto()  # 1b, 1f
    STRING = auto()
    PUNCT = auto()


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of a line. `column` counts from 1; `value` is a NUMBER's."""

    kind: TokenKind
    text: str
    column: int
    value: int = 0

    def is_punct(self, *texts: str) -> bool:
        """Whether this is one of these operators or punctuation marks."""
        return self.kind is TokenKind.PUNCT and self.text in texts

    def is_name(self, *names: str) -> bool:
        """Whether this is one of these names, in any case."""
        return self.kind is TokenKind.NAME and self.text.lower() in names


_TOKEN = re.compile(
    r"""(?P<space>[ \t\f\v]+)
      | (?P<comment>;|\#|//)
      | (?P<block>/\*)
      | (?P<number>[0-9][0-9A-Za-z_]*(?:\.[0-9]+)?)
      | (?P<name>[A-Za-z_.?@][\w.?@$]*)
      | (?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`(?:[^`\\]|\\.)*`)
      | (?P<punct>\$\$|<<|>>|<=|>=|==|!=|<>|&&|\|\||[-+*/%&|^~!<>=()\[\]{}:,$.])
    """,
    re.VERBOSE | re.ASCII,
)


_C_PREPROCESSOR = re.compile(r"(#(?:include(?=\s*[\"<])|define(?=\s+\w)|ifn?def(?=\s+\w)|endif))")


class Lexer:
    """Turns the lines of one file into tokens; remembers an open `/*` between lines."""

    def __init__(self) -> None:
        self._comment_start: tuple[SourceLine, int] | None = None

    def tokens(self, line: SourceLine) -> list[Token]:
        """The tokens of a line without its comments. Raises SourceError."""
        text, position, found = line.text, 0, list[Token]()
        while position < len(text):
            if self._comment_start is not None:
                end = text.find("*/", position)
                if end < 0:
                    return found
                self._comment_start = None
                position = end + 2
                continue
            match = _TOKEN.match(text, position)
            if match is None:
                raise _stray(line, position)
            kind = match.lastgroup
            if kind == "comment":
                self._check_comment(line, position, first=not found)
                return found
            if kind == "block":
                self._comment_start = (line, position + 1)
            elif kind != "space":
                found.append(_token(line, kind or "", match.group(), position + 1))
            position = match.end()
        return found

    @staticmethod
    def _check_comment(line: SourceLine, position: int, *, first: bool) -> None:
        """`#include` is a comment to every assembler, and never meant as one."""
        match = _C_PREPROCESSOR.match(line.text, position) if first else None
        if match:
            raise line.error(
                f"{match.group().strip()} would be a comment here",
                position + 1,
                f'this is no C: write .include "file" or .equ NAME, value, not {match.group(1)}',
            )

    def finish(self) -> None:
        """Complain about a `/*` that was never closed."""
        if self._comment_start is not None:
            line, column = self._comment_start
            self._comment_start = None
            raise line.error("this /* comment is never closed", column, "close it with */")


def _token(line: SourceLine, kind: str, text: str, column: int) -> Token:
    if kind == "number":
        return _number(line, text, column)
    if kind == "name":
        if text == ".":
            return Token(TokenKind.PUNCT, text, column)
        return Token(TokenKind.NAME, text, column)
    if kind == "string":
        return Token(TokenKind.STRING, text, column)
    return Token(TokenKind.PUNCT, text, column)


def _stray(line: SourceLine, position: int) -> Exception:
    character = line.text[position]
    column = position + 1
    if character in "\"'`":
        return line.error("this quote is never closed", column, f"close it with {character}")
    if character == "\\":
        return line.error("stray backslash", column, "\\name is only known inside .macro")
    if ord(character) > 126:
        return line.error(
            f"{character!r} is only allowed in comments and strings", column, _lookalike(character)
        )
    return line.error(f"unexpected character {character!r}", column)


def _lookalike(character: str) -> str | None:
    """Text pasted from slides: typographic quotes, dashes, no-break spaces."""
    plain = {"“": '"', "”": '"', "‘": "'", "’": "'", "–": "-", "—": "-", "−": "-", "×": "*"}
    if character in plain:
        return f"replace it with {plain[character]}"
    if character.isspace():
        return "replace it with a plain space"
    return None


_NUMERIC_LABEL = re.compile(r"[0-9]+[bfBF]\Z")
_SPELLINGS: tuple[tuple[re.Pattern[str], int], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), base)
    for pattern, base in (
        (r"0x([0-9a-f_]+)\Z", 16),
        (r"([0-9][0-9a-f_]*)h\Z", 16),
        (r"0b([01_]+)\Z", 2),
        (r"0y([01_]+)\Z", 2),
        (r"([01][01_]*)[by]\Z", 2),
        (r"0[oq]([0-7_]+)\Z", 8),
        (r"([0-7][0-7_]*)[oq]\Z", 8),
        (r"0[dt]([0-9_]+)\Z", 10),
        (r"([0-9][0-9_]*)[dt]?\Z", 10),
    )
)


def _number(line: SourceLine, text: str, column: int) -> Token:
    if re.fullmatch(r"0[0-9_]+", text) and text.strip("0_"):
        digits = text.replace("_", "")
        octal = f" and octal 0o{digits[1:]} in GNU as" if not set(digits) & set("89") else ""
        raise line.error(
            f"{text} is decimal {int(digits)} in NASM{octal}: say which",
            column,
            f"write {int(digits)} or 0o{digits.lstrip('0')}" if octal else f"write {int(digits)}",
        )
    if "." in text:
        raise line.error(f"{text}: there are no floating-point constants here", column)
    if len(text) > 200:
        raise line.error("number too long", column)
    if _NUMERIC_LABEL.match(text):
        # 1b is a jump back to label 1, 10b also the binary number 2: the parser knows
        # which labels exist, and decides.
        return Token(TokenKind.NUMERIC_LABEL, text.lower(), column)
    for pattern, base in _SPELLINGS:
        match = pattern.match(text)
        if match and match.group(1).strip("_"):
            return Token(TokenKind.NUMBER, text, column, int(match.group(1).replace("_", ""), base))
    raise line.error(f"malformed number {text!r}", column, _number_hint(text))


def _number_hint(text: str) -> str:
    if re.fullmatch(r"[0-9][0-9a-fA-F_]*", text):
        return f"a hexadecimal number is written 0x{text}"
    return "numbers look like 10, 0x1f, 1fh, 0b101, 101b, 0o17, 1_000"


_ESCAPES = {
    "n": 10, "t": 9, "r": 13, "b": 8, "f": 12, "v": 11, "a": 7, "e": 27,
    "\\": 92, '"': 34, "'": 39, "`": 96,
}  # fmt: skip
_ESCAPE = re.compile(r"\\(x[0-9A-Fa-f]{1,2}|[0-7]{1,3}|u[0-9A-Fa-f]{4}|.)", re.DOTALL)


def string_bytes(line: SourceLine, token: Token, *, escapes: bool) -> bytes:
    """The bytes of a STRING token in UTF-8; with `escapes`, as C reads backslashes."""
    body = token.text[1:-1]
    if not escapes:
        return body.encode("utf-8", "surrogatepass")
    out, position = bytearray(), 0
    for match in _ESCAPE.finditer(body):
        out += body[position : match.start()].encode("utf-8", "surrogatepass")
        out += _escape(line, match.group(1), token.column + 1 + match.start())
        position = match.end()
    return bytes(out + body[position:].encode("utf-8", "surrogatepass"))


def _escape(line: SourceLine, code: str, column: int) -> bytes:
    if code[0] == "x" and len(code) > 1:
        return bytes([int(code[1:], 16)])
    if code[0] == "u" and len(code) > 1:
        return chr(int(code[1:], 16)).encode("utf-8", "surrogatepass")
    if code[0] in "01234567":
        value = int(code, 8)
        if value > 255:
            raise line.error(f"\\{code} does not fit in a byte", column)
        return bytes([value])
    if code in _ESCAPES:
        return bytes([_ESCAPES[code]])
    raise line.error(f"unknown escape \\{code}", column, "known: \\n \\t \\r \\0 \\\\ \\x41 \\101")
