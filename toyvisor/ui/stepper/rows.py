"""Rows of text with roles: how views are written down before anybody chooses colours.

A role says what a piece of text is; the theme says what that looks like. Whatever a role means
is in the text too (a mark, a name), for screens without colour.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, NamedTuple


class Role(StrEnum):
    """What a piece of text is."""

    PLAIN = "plain"
    DIM = "dim"
    STRONG = "strong"
    CURRENT = "current"  # where the guest stands
    CHANGED = "changed"  # since the last stop
    BREAKPOINT = "breakpoint"
    ERROR = "error"
    GOOD = "good"
    GUEST = "guest"
    KVM = "kvm"
    QEMU = "qemu"
    HOST = "host"


class Span(NamedTuple):
    """A piece of text of one role."""

    text: str
    role: Role = Role.PLAIN


class Target(NamedTuple):
    """What a row stands for, for whoever clicks on it.

    line      of a source file; `value` is (file, number)
    address   `value` is a linear guest address
    event     `value` is its number
    view      `value` is a view's name
    device, queue, memory   `value` is what to show in its view
    """

    kind: str
    value: Any


class Row(NamedTuple):
    """One line of a pane; `current` is where the guest stands.

    The pane scrolls so that the current one can be seen, or else the first `in_view`.
    """

    spans: tuple[Span, ...]
    target: Target | None = None
    current: bool = False
    in_view: bool = False

    @property
    def text(self) -> str:
        """The row without its roles."""
        return "".join(span.text for span in self.spans)


#: What a row may be made of: text is plain.
Piece = Span | str


def row(*pieces: Piece, target: Target | None = None, current: bool = False) -> Row:
    """A row of pieces."""
    spans = tuple(Span(piece) if isinstance(piece, str) else piece for piece in pieces)
    return Row(spans, target, current)


def dim(text: str) -> Span:
    """Text that is there to be found, not to be read."""
    return Span(text, Role.DIM)


def strong(text: str) -> Span:
    """Text to be seen first."""
    return Span(text, Role.STRONG)


def changed(text: str, is_changed: bool) -> Span:
    """A value, which may have changed since the last stop. The mark `*` is the caller's."""
    return Span(text, Role.CHANGED if is_changed else Role.PLAIN)


def wrapped(text: str, width: int, role: Role = Role.PLAIN, indent: str = "") -> list[Row]:
    """Text in rows of at most `width` characters, broken at spaces."""
    import textwrap

    lines: list[str] = []
    for paragraph in text.splitlines() or [""]:
        lines += textwrap.wrap(paragraph, max(width, 8), subsequent_indent=indent) or [""]
    return [Row((Span(line, role),)) for line in lines]


def printable(text: str) -> str:
    """Text from a guest or a file, without what would move a terminal's cursor."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else "." for c in text)


def widest(rows: Iterable[Row]) -> int:
    """Characters of the longest row."""
    return max((len(one.text) for one in rows), default=0)
