"""Operands as written (with expressions) and as they are for one address (with numbers).

Both spellings end here: GNU as's `dword ptr [rax]`, `x[rip]`, `fs:[4]`, `offset x`, and
NASM's `dword [rax]`, `[rel x]`, `[fs:4]`, `short x`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from toyvisor.guest import registers
from toyvisor.guest.expressions import Expression, ExpressionParser
from toyvisor.guest.lexer import Token, TokenKind
from toyvisor.guest.source import SourceLine


@dataclass(frozen=True, slots=True)
class Register:
    """A register operand, lower case; st(1) is `st(1)`."""

    name: str
    column: int = 0


@dataclass(frozen=True, slots=True)
class ImmediateSource:
    """A bare expression. `size` from `dword 5`; `reach` is short, near or far; `offset` said."""

    value: Expression
    column: int
    size: int | None = None
    reach: str | None = None
    offset: bool = False
    segment: str | None = None
    pointer: bool = False
    """Whether `ptr` was written: `dword ptr label` is memory in GNU as and MASM."""


@dataclass(frozen=True, slots=True)
class FarSource:
    """`segment:offset` of a far jump or call."""

    segment: Expression
    offset: Expression
    column: int
    size: int | None = None


@dataclass(frozen=True, slots=True)
class MemorySource:
    """`[...]` as written; `parts` are added up."""

    parts: tuple[Expression, ...]
    column: int
    size: int | None = None
    segment: str | None = None
    relative: bool | None = None
    """True for `[rel x]`, False for `[abs x]`."""
    far: bool = False


OperandSource: TypeAlias = Register | ImmediateSource | FarSource | MemorySource


@dataclass(frozen=True, slots=True)
class Immediate:
    """A number operand."""

    number: int
    column: int = 0
    size: int | None = None
    reach: str | None = None
    inverted: bool = False
    """Made with `~`, so only the operand's width of it counts."""


@dataclass(frozen=True, slots=True)
class FarPointer:
    """A direct far target."""

    segment: int
    offset: int
    column: int = 0
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Memory:
    """segment:[base + index*scale + displacement], `size` bytes wide if known.

    With base `rip` the displacement is the *target address* if `to_target`, else the
    distance from the next instruction.
    """

    displacement: int
    base: str | None = None
    index: str | None = None
    scale: int = 1
    segment: str | None = None
    size: int | None = None
    column: int = 0
    to_target: bool = False
    far: bool = False

    @property
    def is_absolute(self) -> bool:
        """Whether only a displacement addresses it."""
        return self.base is None and self.index is None


Operand: TypeAlias = Register | Immediate | FarPointer | Memory

_REACH = frozenset({"short", "near", "far"})


class OperandParser:
    """Reads the comma-separated operands of one instruction from its tokens."""

    def __init__(self, line: SourceLine, tokens: list[Token], start: int = 0) -> None:
        self.line, self.tokens, self.position = line, tokens, start

    def parse_all(self) -> tuple[OperandSource, ...]:
        """All operands to the end of the line. Raises SourceError."""
        if self.position >= len(self.tokens):
            return ()
        found = [self._operand()]
        while self.position < len(self.tokens):
            token = self.tokens[self.position]
            if not token.is_punct(","):
                raise self._unexpected(token)
            self.position += 1
            found.append(self._operand())
        return tuple(found)

    def _unexpected(self, token: Token) -> Exception:
        if token.is_punct("]", ")"):
            what = {"]": "[", ")": "("}[token.text]
            return self.line.error(f"'{token.text}' without a '{what}' before it", token.column)
        if token.is_punct("{"):
            return self.line.error("AVX-512 masks are not supported", token.column)
        hint = None
        if token.kind is TokenKind.NAME:
            hint = "if the line begins with a label, that needs a colon"
        return self.line.error(f"expected a comma, found '{token.text}'", token.column, hint)

    def _peek(self, *names: str) -> bool:
        return self.position < len(self.tokens) and self.tokens[self.position].is_name(*names)

    def _peek_punct(self, text: str, ahead: int = 0) -> bool:
        at = self.position + ahead
        return at < len(self.tokens) and self.tokens[at].is_punct(text)

    def _take(self, *names: str) -> str | None:
        if self._peek(*names):
            self.position += 1
            return self.tokens[self.position - 1].text.lower()
        return None

    def _end_column(self) -> int:
        return len(self.line.text.rstrip()) + 1

    def _operand(self) -> OperandSource:
        if self.position >= len(self.tokens):
            raise self.line.error("an operand is missing after the comma", self._end_column())
        column = self.tokens[self.position].column
        self._take("strict")
        reach = self._take(*_REACH)
        size, pointer = self._size()
        reach = self._take(*_REACH) or reach
        if reach and not pointer:
            pointer = self._take("ptr") is not None
        offset = self._take("offset") is not None
        if offset and self._peek("flat") and self._peek_punct(":", 1):
            self.position += 2
        segment = self._segment()
        register = None if offset or size or segment or reach else self._register()
        if register is not None:
            return register
        if self._peek_punct("["):
            return self._memory(column, size, segment, reach, ())
        if reach is None and size and self._lone_register():
            register = self._register()  # `push dword eax`: NASM allows the redundant size
            if register is not None:
                return register
        return self._value(column, size, reach, offset, segment, pointer)

    def _size(self) -> tuple[int | None, bool]:
        token = self.tokens[self.position] if self.position < len(self.tokens) else None
        if token is None or token.kind is not TokenKind.NAME:
            return None, False
        size = registers.SIZE_KEYWORDS.get(token.text.lower())
        if size is None:
            return None, False
        self.position += 1
        return size, self._take("ptr") is not None

    def _segment(self) -> str | None:
        if self._peek(*registers.SEGMENTS) and self._peek_punct(":", 1):
            name = self.tokens[self.position].text.lower()
            self.position += 2
            return name
        return None

    def _lone_register(self) -> bool:
        after = self.tokens[self.position + 1 : self.position + 2]
        return self._peek(*registers.ALL) and (not after or after[0].is_punct(","))

    def _register(self) -> Register | None:
        if not self._peek(*registers.ALL):
            return None
        token = self.tokens[self.position]
        name = token.text.lower()
        if name == "st" and self._peek_punct("(", 1) and self._peek_punct(")", 3):
            number = self.tokens[self.position + 2]
            self.position += 4
            return Register(f"st({number.text})", token.column)
        after = self.tokens[self.position + 1 : self.position + 2]
        if after and not after[0].is_punct(",", "{", "]", ")"):
            return None  # `rax + 1`: an expression, and an error for its reader to explain
        self.position += 1
        if name.startswith("st"):
            name = f"st({name[2:] or 0})"
        return Register(name, token.column)

    def _value(
        self,
        column: int,
        size: int | None,
        reach: str | None,
        offset: bool,
        segment: str | None,
        pointer: bool,
    ) -> OperandSource:
        value = self._expression()
        if self._peek_punct("["):  # label[rip], 8[rdi]
            return self._memory(column, size, segment, reach, (value,))
        if self._peek_punct(":") and segment is None:
            self.position += 1
            return FarSource(value, self._expression(), column, size)
        if segment is not None:  # fs:4
            return MemorySource((value,), column, size, segment)
        return ImmediateSource(value, column, size, reach, offset, pointer=pointer)

    def _expression(self) -> Expression:
        parser = ExpressionParser(self.line, self.tokens, self.position)
        expression = parser.parse()
        self.position = parser.position
        return expression

    def _memory(
        self,
        column: int,
        size: int | None,
        segment: str | None,
        reach: str | None,
        before: tuple[Expression, ...],
    ) -> MemorySource:
        parts = list(before)
        relative: bool | None = None
        while self._peek_punct("["):
            opening = self.tokens[self.position]
            self.position += 1
            kind = self._take("rel", "abs")
            if kind is not None:
                relative = kind == "rel"
            inner_size = registers.SIZE_KEYWORDS.get(self._text())
            if inner_size:
                raise self.line.error(
                    "address sizes in brackets are not supported",
                    self.tokens[self.position].column,
                    "put the operand's size before the bracket: dword [rax]",
                )
            segment = self._segment() or segment
            parts.append(self._expression())
            if not self._peek_punct("]"):
                raise self._unclosed(opening)
            self.position += 1
        if self._peek_punct("+") or self._peek_punct("-"):  # [rdi]+8
            parts.append(self._expression())
        return MemorySource(tuple(parts), column, size, segment, relative, far=reach == "far")

    def _text(self) -> str:
        if self.position < len(self.tokens):
            return self.tokens[self.position].text.lower()
        return ""

    def _unclosed(self, opening: Token) -> Exception:
        if self.position < len(self.tokens):
            token = self.tokens[self.position]
            if not token.is_punct(","):
                return self.line.error(f"expected ']', found '{token.text}'", token.column)
        return self.line.error("this '[' is never closed", opening.column, "add a ']'")
