"""Includes, macros, repetitions, conditions and %define: what happens before statements.

The result is a stream of (line, tokens) in which every line still knows the file and line
its author wrote it in. All growth is bounded, so no input makes it run away.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from toyvisor.errors import InputError, SourceError
from toyvisor.guest import macros
from toyvisor.guest.diagnostics import Diagnostics
from toyvisor.guest.expressions import Expression, ExpressionParser, Op, Step, Value, binary_number
from toyvisor.guest.lexer import Lexer, Token, TokenKind, string_bytes
from toyvisor.guest.source import SourceLine, SourceRoots, SourceText

MAX_LINES = 200_000
MAX_DEPTH = 64
MAX_TOKENS = 4_000

TokenLine = tuple[SourceLine, list[Token]]

_OPENING = {
    ".macro": ".endm", "%macro": "%endmacro", ".rept": ".endr", "%rep": "%endrep",
}  # fmt: skip
_CLOSING = frozenset({*_OPENING.values(), ".endmacro"})
_IF = frozenset({".if", ".ifdef", ".ifndef", "%if", "%ifdef", "%ifndef"})
_ELSE = frozenset({".else", "%else", ".elseif", "%elif"})
_ENDIF = frozenset({".endif", "%endif"})


@dataclass(slots=True)
class _Feed:
    """A file or an expansion being read."""

    lines: list[SourceLine]
    path: Path | None
    lexer: Lexer = field(default_factory=Lexer)
    position: int = 0
    is_file: bool = False


@dataclass(slots=True)
class _Condition:
    """An open .if: whether its current part is read, and whether a part has been."""

    line: SourceLine
    active: bool
    taken: bool
    outer: bool


class Preprocessor:
    """Reads one program. `constants` is filled by the parser as it sees assignments."""

    def __init__(self, source: SourceText, roots: SourceRoots, errors: Diagnostics) -> None:
        self.constants: dict[str, int] = {}
        self.known: set[str] = set()
        """Every symbol defined so far, for .ifdef."""
        self._roots, self._errors = roots, errors
        self._feeds = [_Feed(source.lines(), source.path, is_file=True)]
        self._macros: dict[str, macros.Macro] = {}
        self._defines: dict[str, list[Token]] = {}
        self._conditions: list[_Condition] = []
        self._serial = 0
        self._lines_read = 0

    def __iter__(self) -> Iterator[TokenLine]:
        while self._feeds:
            line = self._next_line()
            if line is None:
                continue
            with self._errors.collect():
                tokens = self._feeds[-1].lexer.tokens(line) if self._reading else self._skim(line)
                if tokens:
                    yield from self._one(line, tokens)
        for condition in self._conditions:
            self._errors.add(condition.line.error("this condition has no .endif", 1))

    @property
    def _reading(self) -> bool:
        return all(c.active for c in self._conditions)

    def _next_line(self) -> SourceLine | None:
        feed = self._feeds[-1]
        if feed.position >= len(feed.lines):
            with self._errors.collect():
                feed.lexer.finish()
            self._feeds.pop()
            return None
        line = feed.lines[feed.position]
        feed.position += 1
        self._lines_read += 1
        if self._lines_read > MAX_LINES:
            self._feeds.clear()
            raise line.error(f"the program has more than {MAX_LINES} lines once expanded", 1)
        return line

    def _skim(self, line: SourceLine) -> list[Token]:
        """Tokens of a line that a false condition leaves out: nothing in it is an error."""
        try:
            return self._feeds[-1].lexer.tokens(line)
        except SourceError:
            return []

    def _one(self, line: SourceLine, tokens: list[Token]) -> Iterator[TokenLine]:
        word, rest = directive_word(tokens)
        if word in _IF or word in _ELSE or word in _ENDIF:
            self._condition(line, word, rest)
            return
        if not self._reading:
            return
        if word in _OPENING:
            self._block(line, word, rest)
        elif word in _CLOSING:
            raise line.error(f"{word} without its beginning", tokens[0].column)
        elif word in (".include", "%include") or (
            word == "include" and rest and rest[0].kind is TokenKind.STRING
        ):
            self._include(line, rest)
        elif word in ("%define", "%undef"):
            self._define(line, word, rest)
        elif word == "%assign":
            yield line, [*rest[:1], Token(TokenKind.PUNCT, "=", tokens[0].column), *rest[1:]]
        else:
            yield from self._call_or_statement(line, tokens)

    def _call_or_statement(self, line: SourceLine, tokens: list[Token]) -> Iterator[TokenLine]:
        start = 2 if len(tokens) > 2 and tokens[1].is_punct(":") else 0
        name = tokens[start]
        if name.kind is TokenKind.NAME and name.text in self._macros:
            if start:
                yield line, tokens[:start]
            self._expand_macro(line, self._macros[name.text], tokens[start + 1 :])
            return
        yield line, self._expand_defines(line, tokens)

    # Blocks: macros and repetitions

    def _block(self, line: SourceLine, word: str, rest: list[Token]) -> None:
        body = self._collect(line, word)
        if word in (".macro", "%macro"):
            macro = macros.parse_header(line, rest, nasm=word == "%macro")
            self._macros[macro.name] = replace(macro, body=tuple(body))
            return
        expression = ExpressionParser(line, self._expand_defines(line, rest)).parse()
        count = self._constant(expression, word)
        if count < 0:
            raise expression.error(f"cannot repeat {count} times")
        if count * max(len(body), 1) > MAX_LINES:
            raise expression.error(f"the repetition makes more than {MAX_LINES} lines")
        self._push(line, _Feed(body * count, self._feeds[-1].path))

    def _collect(self, line: SourceLine, word: str) -> list[SourceLine]:
        """The lines up to the block's end; blocks inside are left as they are."""
        feed = self._feeds[-1]
        ends, body = [_OPENING[word]], list[SourceLine]()
        while feed.position < len(feed.lines):
            inner = feed.lines[feed.position]
            feed.position += 1
            tokens = self._skim(inner)
            first = directive_word(tokens)[0] if tokens else ""
            first = ".endm" if first == ".endmacro" else first
            if first in _OPENING:
                ends.append(_OPENING[first])
            elif first == ends[-1]:
                ends.pop()
                if not ends:
                    return body
            body.append(inner)
        raise line.error(f"this {word} has no {_OPENING[word]}", 1)

    def _expand_macro(self, line: SourceLine, macro: macros.Macro, rest: list[Token]) -> None:
        self._serial += 1
        lines = macro.expand(line, macros.split_arguments(line, rest), self._serial)
        self._push(line, _Feed(lines, self._feeds[-1].path))

    def _push(self, line: SourceLine, feed: _Feed) -> None:
        if len(self._feeds) >= MAX_DEPTH:
            raise line.error(
                f"macros or includes are nested more than {MAX_DEPTH} deep",
                1,
                "does a macro call itself without end?",
            )
        self._feeds.append(feed)

    # Includes

    def _include(self, line: SourceLine, rest: list[Token]) -> None:
        if len(rest) != 1 or rest[0].kind is not TokenKind.STRING:
            column = rest[0].column if rest else len(line.text) + 1
            raise line.error("expected one file name in quotes", column, '.include "virtio.inc"')
        name = string_bytes(line, rest[0], escapes=False).decode("utf-8", "replace")
        beside = self._feeds[-1].path
        try:
            source = self._roots.read_include(name, beside)
        except SourceError:
            raise
        except InputError as error:
            raise line.error(error.message, rest[0].column, error.hint) from None
        active = [f.path.resolve() for f in self._feeds if f.is_file and f.path is not None]
        if source.path is not None and source.path.resolve() in active:
            raise line.error(f"{name!r} includes itself, directly or in a circle", rest[0].column)
        self._push(line, _Feed(source.lines(), source.path, is_file=True))

    # Conditions

    def _condition(self, line: SourceLine, word: str, rest: list[Token]) -> None:
        if word in _IF:
            outer = self._reading
            self._conditions.append(_Condition(line, False, True, outer))
            if outer:
                holds = self._holds(line, word, rest)
                self._conditions[-1].active = self._conditions[-1].taken = holds
            return
        if not self._conditions:
            raise line.error(f"{word} without .if", 1)
        condition = self._conditions[-1]
        if word in _ENDIF:
            self._conditions.pop()
        elif not condition.outer or condition.taken:
            condition.active = False
        else:
            holds = word in (".else", "%else") or self._holds(line, ".if", rest)
            condition.active = condition.taken = holds

    def _holds(self, line: SourceLine, word: str, rest: list[Token]) -> bool:
        if word.endswith("def"):
            if len(rest) != 1 or rest[0].kind is not TokenKind.NAME:
                raise line.error(f"{word} takes one name", rest[0].column if rest else 1)
            name = rest[0].text
            defined = name in self.known or name in self._defines or name in self._macros
            return defined != word.endswith("ndef")
        parser = ExpressionParser(line, self._expand_defines(line, rest))
        return self._constant(parser.parse(), word) != 0

    def _constant(self, expression: Expression, word: str) -> int:
        def lookup(step: Step) -> Value:
            if step.text in self.constants:
                return Value(self.constants[step.text])
            if step.op is Op.NUMERIC and (number := binary_number(step)) is not None:
                return Value(number)
            raise expression.line.error(
                f"{word} needs a value known by now, and '{step.text}' is not",
                step.column,
                "define it with .equ above; labels are not known yet here",
            )

        return expression.evaluate(lookup).number

    # %define

    def _define(self, line: SourceLine, word: str, rest: list[Token]) -> None:
        if not rest or rest[0].kind is not TokenKind.NAME:
            raise line.error(f"{word} needs a name", rest[0].column if rest else 1)
        name = rest[0]
        if word == "%undef":
            self._defines.pop(name.text, None)
            return
        if rest[1:] and rest[1].is_punct("(") and rest[1].column == name.column + len(name.text):
            raise line.error(
                "%define with parameters is not supported", rest[1].column, "use .macro"
            )
        self._defines[name.text] = rest[1:]

    def _expand_defines(self, line: SourceLine, tokens: list[Token]) -> list[Token]:
        if not self._defines:
            return tokens
        return self._replace(line, tokens, frozenset())

    def _replace(
        self, line: SourceLine, tokens: list[Token], hidden: frozenset[str]
    ) -> list[Token]:
        """Put definitions in; inside its own definition a name stays as it is, as in C."""
        out: list[Token] = []
        if len(hidden) > MAX_DEPTH:
            raise line.error(f"%define is nested more than {MAX_DEPTH} deep", 1)
        for token in tokens:
            body = self._defines.get(token.text) if token.kind is TokenKind.NAME else None
            if body is None or token.text in hidden:
                out.append(token)
            else:
                moved = [replace(t, column=token.column) for t in body]
                out += self._replace(line, moved, hidden | {token.text})
            if len(out) > MAX_TOKENS:
                raise line.error("the line becomes too long by its %define", token.column)
        return out


def directive_word(tokens: list[Token]) -> tuple[str, list[Token]]:
    """The first word in lower case (`%` glued to its name) and the tokens after it."""
    first = tokens[0]
    if first.is_punct("%") and len(tokens) > 1 and tokens[1].kind is TokenKind.NAME:
        return "%" + tokens[1].text.lower(), tokens[2:]
    return (first.text.lower() if first.kind is TokenKind.NAME else ""), tokens[1:]
