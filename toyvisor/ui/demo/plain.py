"""A show as lines: for pipes, for screen readers, and for a file."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING

from toyvisor.trace.jsonl import to_dict
from toyvisor.trace.text import to_text
from toyvisor.ui.demo.captions import counted_words
from toyvisor.ui.demo.cards import Card
from toyvisor.ui.figures import counted
from toyvisor.ui.stepper.rows import printable

if TYPE_CHECKING:
    from toyvisor.debug.session import Session

_WIDTH = 79
#: Events of one card; what is more is only counted.
MOST_EVENTS = 12


def blocks(session: Session, cards: Sequence[Card]) -> Iterator[tuple[list[str], float]]:
    """For each card its lines, and the seconds it stays."""
    before = 0
    for number, card in enumerate(cards, 1):
        session.go_to(card.moments[-1])
        now = session.moment.events
        lines = [f"[{number}/{len(cards)}] {_place(session)}"]
        lines += textwrap.wrap(card.caption, _WIDTH - 4, initial_indent="    ",
                               subsequent_indent="    ")  # fmt: skip
        events = session.events[max(before, now - MOST_EVENTS) : now]
        if left_out := now - before - len(events):
            lines.append(f"    ({counted(left_out, 'event')} before these)")
        lines += [f"    {printable(to_text(to_dict(event)))}" for event in events]
        lines += [f"    so far: {counted_words(session.counters())}", ""]
        before = now
        yield lines, card.seconds


def _place(session: Session) -> str:
    """Where the guest is, in the source."""
    line = session.line()
    if line is None:
        return f"{session.instruction_address():#x}"
    name, text = PurePath(line.location.file).name, " ".join(line.text.split(";")[0].split())
    return f"{name}:{line.location.line}  {printable(text)}"
