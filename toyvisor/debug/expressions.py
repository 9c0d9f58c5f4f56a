"""Small expressions over a run's state: conditions, and values to print or to watch.

    rax == 3 and exits.mmio > 2
    u16[avail + 2] != virtio_net.tx.used.idx
    signed(eax) < 0 or zf

Operators and their precedence are Python's, with C's `&&`, `||` and `!` beside `and`, `or`
and `not`; division drops the remainder. Numbers have 64 bits and are unsigned
(expression_nodes.py). Memory is read by linear address: `[rdi + 4]` is 8 bytes,
`[rdi + 4]:2` and `word [rdi + 4]` and `u16[rdi + 4]` are 2.

A name is that of a register, a part of one or a flag (`rax`, `ah`, `zf`; `$rax`, too, as in
gdb); else of a counter (`exits.mmio`), a device's register (`virtio_net.Status`), a ring's
index; else of a label. `&name` is always the label.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence

from toyvisor.debug.expression_nodes import (
    DivisionError,
    Names,
    Node,
    NoValueError,
    UnknownNameError,
    Uses,
    binary,
    constant,
    signed,
    unary,
)
from toyvisor.debug.expression_tokens import ExpressionError, Token, TokenKind, tokens
from toyvisor.debug.register_names import PARTS

__all__ = [
    "Expression",
    "ExpressionError",
    "Names",
    "NoValueError",
    "UnknownNameError",
    "Uses",
    "parse",
]

#: Parts within parts while it is read, and nodes below nodes.
MOST_NESTED, MOST_DEPTH = 64, 120
#: Counters whose names have no dot.
PLAIN_COUNTERS = ("instructions", "events")
_GDB_NAMES = {"pc": "rip", "sp": "rsp", "fp": "rbp"}
_SIZE_WORDS = {"byte": 1, "word": 2, "dword": 4, "qword": 8}
#: u8[...] and s8[...]: size in bytes.
_VIEWS = {f"{sign}{8 * size}": (size, sign == "s") for sign in "us" for size in (1, 2, 4, 8)}

_ALIASES = {"&&": "and", "||": "or", "//": "/"}
_PRECEDENCE = {
    "or": 1, "and": 2, "==": 4, "!=": 4, "<": 4, "<=": 4, ">": 4, ">=": 4, "|": 5, "^": 6,
    "&": 7, "<<": 8, ">>": 8, "+": 9, "-": 9, "*": 10, "/": 10, "%": 10,
}  # fmt: skip
_COMPARISON = 4
_NOT, _UNARY = 3, 11


class Expression:
    """A parsed expression. Make one by parse()."""

    __slots__ = ("_checks", "_root", "text", "uses")

    def __init__(
        self, text: str, root: Node, uses: Uses, checks: Sequence[Callable[[Names], int]]
    ) -> None:
        self.text = text
        self.uses = uses
        self._root = root
        self._checks = checks

    def __repr__(self) -> str:
        return f"<Expression {self.text!r}>"

    def evaluate(self, names: Names) -> int:
        """Its value: from 0 to 2**64 - 1, or a signed number of 64 bits from signed().

        Raises ExpressionError, with the column, for a division by zero, memory that is not
        there and names that nothing has.
        """
        try:
            return self._root.value(names)
        except DivisionError as fault:
            raise ExpressionError(fault.what, self.text, fault.column) from None

    def holds(self, names: Names) -> bool:
        """Whether it is true, that is, not 0. Where it has no value yet, it is not.

        Raises ExpressionError for a name that nothing ever has.
        """
        try:
            return bool(self.evaluate(names))
        except ExpressionError as error:
            if isinstance(error.__cause__, UnknownNameError):
                raise
            return False

    def is_constant(self, names: Names) -> bool:
        """Whether it is made of numbers and labels only, and never changes."""
        uses = self.uses
        if uses.registers or uses.memory:
            return False
        return all("." in name and names.symbol(name) is not None for name in uses.dotted)

    def check(self, names: Names) -> None:
        """Raise ExpressionError if it has a name that nothing ever has."""
        for value in self._checks:
            try:
                value(names)
            except ExpressionError as error:
                if isinstance(error.__cause__, UnknownNameError):
                    raise


def parse(text: str) -> Expression:
    """Read an expression. Raises ExpressionError, whatever the text is."""
    return _Parser(text).whole()


class _Parser:
    """Precedence climbing (V. Pratt, "Top down operator precedence", 1973)."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = tokens(text)
        self._position = 0
        self._nested = 0
        self._uses = Uses()
        self._checks: list[Callable[[Names], int]] = []

    def whole(self) -> Expression:
        if self._next.kind is TokenKind.END:
            raise self._error("an expression is missing", self._next)
        root = self._expression(0)
        if self._next.text:
            raise self._not_an_operator()
        return Expression(self._text, root, self._uses, self._checks)

    # Tokens -------------------------------------------------------------------------------

    @property
    def _next(self) -> Token:
        return self._tokens[self._position]

    def _take(self) -> Token:
        token = self._tokens[self._position]
        if token.kind is not TokenKind.END:
            self._position += 1
        return token

    def _is_sign(self, text: str) -> bool:
        return self._next.kind is TokenKind.SIGN and self._next.text == text

    def _expect(self, text: str, opened: Token) -> None:
        if not self._is_sign(text):
            raise self._error(
                f"expected {text!r}, found {self._next}", self._next,
                f"the {opened.text!r} at column {opened.column} is still open",
            )  # fmt: skip
        self._take()

    def _error(self, what: str, token: Token, hint: str | None = None) -> ExpressionError:
        return ExpressionError(what, self._text, token.column, hint=hint)

    def _not_an_operator(self) -> ExpressionError:
        token = self._next
        if token.text == "=":
            return self._error("'=' changes nothing here", token, "is it equal? ==")
        hint = None
        if token.kind is TokenKind.NAME:
            close = difflib.get_close_matches(token.text.lower(), ["and", "or"], 1)
            hint = f"did you mean {close[0]}?" if close else None
        return self._error(f"expected an operator or the end, found {token}", token, hint)

    # Operators ----------------------------------------------------------------------------

    def _expression(self, least: int) -> Node:
        """Operands and operators that bind at least so tightly."""
        self._nested += 1
        if self._nested > MOST_NESTED:
            raise self._error("too many parts within one another", self._next)
        left = self._operand()
        while True:
            token = self._next
            sign = _ALIASES.get(token.text, token.text)
            precedence = _PRECEDENCE.get(sign, -1)
            if token.kind not in (TokenKind.SIGN, TokenKind.NAME) or precedence < max(least, 1):
                break
            self._take()
            left = binary(sign, left, self._expression(precedence + 1), token.column)
            if left.depth > MOST_DEPTH:
                raise self._error("too many operators", token)
            if precedence == _COMPARISON and _PRECEDENCE.get(self._next.text) == _COMPARISON:
                raise self._error(
                    "a comparison of a comparison", self._next, "write: a < b and b < c"
                )
        self._nested -= 1
        return left

    def _operand(self) -> Node:
        token = self._take()
        if token.kind is TokenKind.NUMBER:
            return constant(token.value, token.column)
        if token.kind is TokenKind.NAME:
            return self._named(token)
        if token.text == "(":
            inner = self._expression(0)
            self._expect(")", token)
            return inner
        if token.text == "[":
            return self._memory(token, 8, may_have_size=True)
        if token.text in ("-", "+", "~", "!"):
            return unary(token.text, self._expression(_UNARY), token.column)
        if token.text == "&" and self._next.kind is TokenKind.NAME:
            return self._symbol(self._take(), is_label=True)
        raise self._error(f"expected a value, found {token}", token)

    # Names --------------------------------------------------------------------------------

    def _named(self, token: Token) -> Node:
        lower = token.text.lower()
        if lower == "not":
            return unary("not", self._expression(_NOT), token.column)
        if lower in ("and", "or"):
            raise self._error(f"expected a value, found {token}", token)
        if lower == "signed" and self._is_sign("("):
            opened = self._take()
            inner = self._expression(0)
            self._expect(")", opened)
            return signed(inner, token.column)
        if lower in _VIEWS and self._is_sign("["):
            self._take()
            size, is_signed = _VIEWS[lower]
            node = self._memory(token, size)
            return signed(node, token.column) if is_signed else node
        if lower in _SIZE_WORDS:
            return self._sized_memory(token)
        bare = lower.removeprefix("$")
        register = _GDB_NAMES.get(bare, bare) if bare != lower else lower
        if register in PARTS:
            return self._register(token, register)
        if bare != lower:
            hint = self._near_register(bare)
            raise self._error(f"there is no register {token.text!r}", token, hint)
        if lower in PLAIN_COUNTERS:
            return self._dotted(token, lower)
        return self._symbol(token, is_label=False)

    @staticmethod
    def _near_register(name: str) -> str | None:
        close = difflib.get_close_matches(name, PARTS, 1)
        return f"did you mean {close[0]}?" if close else None

    def _register(self, token: Token, name: str) -> Node:
        part = PARTS[name]
        register, shift, mask = part.register, part.shift, part.mask
        self._uses.registers.add(register)
        if not shift and part.bits == 64:
            return Node(lambda names: names.register(register), token.column)
        return Node(
            lambda names: names.register(register) >> shift & mask,
            token.column, max(1, part.bits // 8),
        )  # fmt: skip

    def _dotted(self, token: Token, path: str) -> Node:
        self._uses.dotted.add(path)
        return self._asked(token, lambda names: names.dotted(path))

    def _symbol(self, token: Token, *, is_label: bool) -> Node:
        name, uses = token.text, self._uses
        (uses.labels if is_label else uses.dotted if "." in name[1:] else uses.symbols).add(name)

        def find(names: Names) -> int:
            value = names.symbol(name)
            if value is not None:
                return value
            if "." in name[1:] and not is_label:
                return names.dotted(name)
            close = names.like(name)
            hint = f"did you mean {' or '.join(close)}?" if close else None
            raise UnknownNameError(f"{name!r} is no label, register or counter", hint)

        return self._asked(token, find)

    def _asked(self, token: Token, ask: Callable[[Names], int]) -> Node:
        """A node whose names may have no value: then the error says where."""
        text, column = self._text, token.column

        def value(names: Names) -> int:
            try:
                return ask(names) & 0xFFFF_FFFF_FFFF_FFFF
            except NoValueError as error:
                raise ExpressionError(error.what, text, column, hint=error.hint) from error

        self._checks.append(value)
        return Node(value, column)

    # Memory -------------------------------------------------------------------------------

    def _sized_memory(self, token: Token) -> Node:
        """`dword [rdi]` and `dword ptr [rdi]`, as in the program's own source."""
        if self._next.text.lower() == "ptr":
            self._take()
        if not self._is_sign("["):
            raise self._error(f"expected '[', found {self._next}", self._next)
        self._take()
        return self._memory(token, _SIZE_WORDS[token.text.lower()])

    def _memory(self, token: Token, size: int, *, may_have_size: bool = False) -> Node:
        address = self._expression(0)
        self._expect("]", Token(TokenKind.SIGN, "[", token.column))
        if may_have_size and self._is_sign(":"):
            self._take()
            size = self._size()
        self._uses.memory = True
        text, column, where = self._text, token.column, address.value

        def load(names: Names) -> int:
            try:
                return names.memory(where(names) & 0xFFFF_FFFF_FFFF_FFFF, size)
            except NoValueError as error:
                raise ExpressionError(error.what, text, column, hint=error.hint) from error

        return Node(load, column, size, depth=address.depth + 1)

    def _size(self) -> int:
        token = self._take()
        if token.kind is not TokenKind.NUMBER or token.value not in (1, 2, 4, 8):
            raise self._error(f"a size is 1, 2, 4 or 8 bytes, not {token}", token)
        return token.value
