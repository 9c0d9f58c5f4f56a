"""Data and layout directives of GNU as and NASM, as statements of ours.

Keystone's own directives are never used: it drops `.word 70000` without a word, dies of
`.text`, and takes a minute over `.zero 2000000000`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from toyvisor.errors import SourceError
from toyvisor.guest.expressions import (
    EvaluationError,
    Expression,
    ExpressionParser,
    Step,
    Value,
    constant,
)
from toyvisor.guest.lexer import Token, TokenKind, string_bytes
from toyvisor.guest.source import SourceLine
from toyvisor.guest.statements import Align, Data, Fill, Org, Origin, Statement

Handler: TypeAlias = Callable[[SourceLine, Token, list[Token]], Statement]

_GNU_UNITS = {
    ".byte": 1, ".2byte": 2, ".word": 2, ".short": 2, ".hword": 2, ".value": 2, ".long": 4,
    ".int": 4, ".4byte": 4, ".dword": 4, ".quad": 8, ".8byte": 8, ".octa": 16,
}  # fmt: skip
_NASM_UNITS = {"db": 1, "dw": 2, "dd": 4, "dq": 8, "do": 16}
_RESERVE_UNITS = {"resb": 1, "resw": 2, "resd": 4, "resq": 8, "reso": 16}

QUIET = frozenset(
    {
        ".text", ".data", ".bss", ".section", ".globl", ".global", ".local", ".weak", ".type",
        ".size", ".file", ".ident", ".intel_syntax", ".arch", ".cpu", ".p2alignl", ".title",
        ".hidden", ".protected", ".pushsection", ".popsection", ".previous", ".subsection",
        ".cfi_startproc", ".cfi_endproc", ".list", ".nolist", ".psize", ".sbttl",
        "global", "section", "segment", "cpu", ".func", ".endfunc", ".loc", ".version",
    }
)  # fmt: skip
"""Accepted without effect: a flat binary has one section, in source order, and no symbols."""

_REFUSED = {
    "extern": "there is no linker here: everything is in this file and its includes",
    ".extern": "there is no linker here: everything is in this file and its includes",
    "common": "there is no linker here: reserve the bytes with resb",
    ".comm": "there is no linker here: reserve the bytes with .zero",
    ".lcomm": "there is no linker here: reserve the bytes with .zero",
    ".att_syntax": "programs are in Intel syntax: `mov eax, 5`",
    ".float": "floating-point constants are not supported: write the bits with .long",
    ".single": "floating-point constants are not supported: write the bits with .long",
    ".double": "floating-point constants are not supported: write the bits with .quad",
    "dt": "80-bit constants are not supported: write the bytes with db",
    "struc": "define the offsets with equ",
    "istruc": "write the fields with db, dw, dd, dq",
    ".irp": "use .rept or .macro",
    ".irpc": "use .rept or .macro",
    ".reloc": "there is no linker here",
}


def _expressions(line: SourceLine, word: Token, tokens: list[Token]) -> list[Expression]:
    """The comma-separated expressions that are the whole rest of the line."""
    found: list[Expression] = []
    position = 0
    while position < len(tokens) or found:
        parser = ExpressionParser(line, tokens, position)
        found.append(parser.parse())
        position = parser.position
        if position >= len(tokens):
            return found
        if not tokens[position].is_punct(","):
            raise _expected_comma(line, tokens[position])
        position += 1
    return found


def _expected_comma(line: SourceLine, token: Token) -> SourceError:
    return line.error(f"expected a comma, found '{token.text}'", token.column)


def _arguments(
    line: SourceLine, word: Token, tokens: list[Token], least: int, most: int
) -> list[Expression]:
    found = _expressions(line, word, tokens)
    if not least <= len(found) <= most:
        wanted = str(least) if least == most else f"{least} to {most}"
        raise line.error(f"{word.text} takes {wanted} operands, not {len(found)}", word.column)
    return found


def _gnu_data(line: SourceLine, word: Token, tokens: list[Token]) -> Statement:
    if not tokens:
        raise line.error(f"{word.text} needs a value", word.column + len(word.text))
    for token in tokens:
        if token.kind is TokenKind.STRING and token.text[0] == '"' and len(token.text) > 3:
            raise line.error(
                f"{word.text} does not take texts", token.column, "use .ascii or .asciz"
            )
    return Data(line, _GNU_UNITS[word.text.lower()], tuple(_expressions(line, word, tokens)))


def _nasm_data(line: SourceLine, word: Token, tokens: list[Token]) -> Statement:
    if not tokens:
        raise line.error(f"{word.text} needs a value", word.column + len(word.text))
    items: list[Expression | bytes] = []
    position = 0
    while True:
        token = tokens[position] if position < len(tokens) else None
        alone = position + 1 >= len(tokens) or tokens[position + 1].is_punct(",")
        if token is not None and token.kind is TokenKind.STRING and alone:
            items.append(_nasm_string(line, token))
            position += 1
        elif token is not None and token.is_punct("?") and alone:
            items.append(b"\0")
            position += 1
        else:
            parser = ExpressionParser(line, tokens, position)
            items.append(parser.parse())
            position = parser.position
        if position >= len(tokens):
            return Data(line, _NASM_UNITS[word.text.lower()], tuple(items))
        if not tokens[position].is_punct(","):
            raise _expected_comma(line, tokens[position])
        position += 1


def _nasm_string(line: SourceLine, token: Token) -> bytes:
    """NASM reads backslashes only in back quotes; a student who writes one means it."""
    if token.text[0] != "`" and "\\" in token.text:
        raise line.error(
            "NASM would store this backslash itself",
            token.column + token.text.index("\\"),
            "write `...\\n` in back quotes, or use .ascii",
        )
    return string_bytes(line, token, escapes=token.text[0] == "`")


def _text(line: SourceLine, word: Token, tokens: list[Token]) -> Statement:
    terminator = b"" if word.text.lower() == ".ascii" else b"\0"
    items: list[Expression | bytes] = []
    for position, token in enumerate(tokens):
        if position % 2 == 1:
            if not token.is_punct(","):
                raise _expected_comma(line, token)
        elif token.kind is not TokenKind.STRING or token.text[0] != '"':
            raise line.error(
                f"{word.text} takes texts in double quotes", token.column, "use .byte for numbers"
            )
        else:
            items.append(string_bytes(line, token, escapes=True) + terminator)
    if len(tokens) % 2 == 0:
        raise line.error("a text in double quotes is missing", len(line.text.rstrip()) + 1)
    return Data(line, 1, tuple(items))


def _space(line: SourceLine, word: Token, tokens: list[Token]) -> Statement:
    count, *value = _arguments(line, word, tokens, 1, 2)
    return Fill(line, count, 1, value[0] if value else constant(0, line, word.column))


def _fill(line: SourceLine, word: Token, tokens: list[Token]) -> Statement:
    count, *rest = _arguments(line, word, tokens, 1, 3)
    unit = 1
    if rest:
        unit = rest[0].evaluate(_plain_number).number
        if not 1 <= unit <= 8:
            raise rest[0].error("the size of .fill is 1 to 8")
    return Fill(line, count, unit, rest[1] if len(rest) > 1 else constant(0, line, word.column))


def _plain_number(step: Step) -> Value:
    raise EvaluationError("this has to be a plain number", step.column)


def _reserve(line: SourceLine, word: Token, tokens: list[Token]) -> Statement:
    (count,) = _arguments(line, word, tokens, 1, 1)
    return Fill(line, count, _RESERVE_UNITS[word.text.lower()], constant(0, line, word.column))


def _align(line: SourceLine, word: Token, tokens: list[Token]) -> Statement:
    # NASM's `align 16, db 0`: the filler is a data directive.
    plain = [t for t in tokens if not t.is_name("db", "nop")]
    if any(t.is_name("nop") for t in tokens) and plain and plain[-1].is_punct(","):
        plain.pop()
    found = _gappy(line, word, plain)
    return Align(
        line,
        found[0] or constant(1, line, word.column),
        found[1],
        found[2],
        power=word.text.lower().startswith(".p2"),
    )


def _gappy(line: SourceLine, word: Token, tokens: list[Token]) -> list[Expression | None]:
    """Up to three operands of which the later ones may be left out: `.align 16,,15`."""
    parts: list[list[Token]] = [[]]
    for token in tokens:
        if token.is_punct(","):
            parts.append([])
        else:
            parts[-1].append(token)
    if not parts[0] or len(parts) > 3:
        raise line.error(f"{word.text} takes 1 to 3 operands", word.column)
    found = [_arguments(line, word, p, 1, 1)[0] if p else None for p in parts]
    return [*found, None, None][:3]


def _org(line: SourceLine, word: Token, tokens: list[Token]) -> Statement:
    target, *fill = _arguments(line, word, tokens, 1, 2)
    return Org(line, target, fill[0] if fill else None)


def _origin(line: SourceLine, word: Token, tokens: list[Token]) -> Statement:
    return Origin(line, _arguments(line, word, tokens, 1, 1)[0])


HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(_GNU_UNITS, _gnu_data),
    **dict.fromkeys(_NASM_UNITS, _nasm_data),
    **dict.fromkeys(_RESERVE_UNITS, _reserve),
    **dict.fromkeys((".ascii", ".asciz", ".string", ".string8"), _text),
    **dict.fromkeys((".zero", ".space", ".skip"), _space),
    **dict.fromkeys((".align", ".balign", ".p2align", "align", "alignb"), _align),
    ".fill": _fill,
    ".org": _org,
    "org": _origin,
}
"""Directive (lower case) to what makes a statement of it."""

NASM_DATA = frozenset({*_NASM_UNITS, *_RESERVE_UNITS, "times", "equ", "dt"})
"""Words before which NASM lets a label stand without its colon."""


def unknown(line: SourceLine, word: Token) -> SourceError:
    """The error for a directive there is not (or not here)."""
    import difflib

    name = word.text.lower()
    if name in _REFUSED:
        return line.error(f"{word.text} is not supported", word.column, _REFUSED[name])
    known = [*HANDLERS, ".include", ".incbin", ".macro", ".rept", ".equ", ".set", *QUIET]
    close = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {close[0]}?" if close else "a label needs a colon after it"
    return line.error(f"unknown directive {word.text}", word.column, hint)


def is_refused(name: str) -> bool:
    """Whether `name` (lower case) is a directive that is known and not supported."""
    return name in _REFUSED
