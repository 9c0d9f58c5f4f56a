"""A show as an asciicast: a text file that asciinema, and players in web pages, play.

Version 2 of the format (docs.asciinema.org/manual/asciicast/v2), which all of them know: a line
with the size, then lines with a time in seconds, what kind of event it is ("o": characters for the
terminal, "m": a marker to jump to), and its data. The times are those of the cards, not of any
clock: the same show is the same file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from toyvisor.ui.demo.ansi import ansi_lines
from toyvisor.ui.demo.cards import Card, beats
from toyvisor.ui.demo.scene import SceneMaker
from toyvisor.ui.demo.screen import Frame, draw

if TYPE_CHECKING:
    from toyvisor.debug.session import Session

DEFAULT_SIZE = (100, 30)
_CLEAR, _HIDE_CURSOR, _SHOW_CURSOR = "\x1b[2J", "\x1b[?25l", "\x1b[?25h"
_LABEL = 60


def cast_lines(
    session: Session, cards: Sequence[Card], title: str, size: tuple[int, int] = DEFAULT_SIZE
) -> Iterator[str]:
    """The lines of the file, each with its newline."""
    width, height = size
    header = {"version": 2, "width": width, "height": height, "title": title,
              "env": {"TERM": "xterm-256color"}}  # fmt: skip
    yield _line(header)
    yield _line([0.0, "o", _HIDE_CURSOR + _CLEAR])
    scenes, time, before = SceneMaker(session), 0.0, [""] * height
    for number, card in enumerate(cards, 1):
        yield _line([round(time, 3), "m", _label(number, card)])
        for beat in beats(card):
            session.go_to(beat.moment)
            frame = Frame(scenes.take(card.show), title, card.caption, number, len(cards), keys="")
            now = ansi_lines(draw(frame, width, height), width)
            yield _line([round(time, 3), "o", _difference(before, now)])
            before, time = now, time + beat.seconds
    yield _line([round(time, 3), "o", f"\x1b[{height};1H{_SHOW_CURSOR}"])


def _difference(before: Sequence[str], now: Sequence[str]) -> str:
    """The lines that are different, each put where it belongs."""
    return "".join(
        f"\x1b[{row};1H\x1b[0m\x1b[2K{new}"
        for row, (old, new) in enumerate(zip(before, now, strict=True), 1)
        if old != new
    )


def _label(number: int, card: Card) -> str:
    text = f"{number}: {card.caption}"
    return text if len(text) <= _LABEL else f"{text[: _LABEL - 1].rsplit(' ', 1)[0]} …"


def _line(data: object) -> str:
    return json.dumps(data, ensure_ascii=False) + "\n"
