"""Captions: expressions in braces become what they are at that moment; and how long to read one.

A caption so never claims a number: `{exits.total}` is counted. `{rax:x}` is in hexadecimal digits,
`{{` and `}}` are braces.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from toyvisor.errors import InputError
from toyvisor.ui.figures import counted

if TYPE_CHECKING:
    from toyvisor.debug.counters import Counters
    from toyvisor.debug.session import Session

_PARTS = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
#: Somebody who reads and looks: words a second, and seconds for the look.
_WORDS_A_SECOND, _LOOK, _LEAST = 2.8, 1.5, 3.0


def filled(text: str, session: Session) -> str:
    """The caption here. Raises InputError for a brace alone, ExpressionError for the rest."""

    def value(found: re.Match[str]) -> str:
        if found[0] in ("{{", "}}"):
            return found[0][0]
        if found[1] is None:
            raise InputError(
                f"a brace alone in {text!r}", hint="{expression}; {{ and }} are braces"
            )
        expression, _, form = found[1].rpartition(":")
        if form != "x":
            return f"{session.evaluate(found[1]):,}"
        return f"{session.evaluate(expression):#x}"

    return _PARTS.sub(value, text)


def reading_time(text: str) -> float:
    """Seconds that a caption is to stand."""
    return max(_LEAST, round(_LOOK + len(text.split()) / _WORDS_A_SECOND, 1))


def counted_words(counters: Counters) -> str:
    """The counters in one line: what the whole course is about."""
    parts = [
        counted(counters.total_exits, "exit"),
        f"{counters.userspace:,} to QEMU",
        f"{counted(counters.copy_count, 'copy', 'copies')} "
        f"({counted(counters.bytes_copied, 'byte')})",
        counted(counters.injected, "interrupt"),
    ]
    return ", ".join(parts)
