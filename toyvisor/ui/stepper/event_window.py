"""A part of the stream around where the session stands, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from toyvisor.trace.jsonl import to_dict
from toyvisor.trace.text import to_text
from toyvisor.ui.stepper.picture import EventLine
from toyvisor.ui.stepper.rows import printable

if TYPE_CHECKING:
    from toyvisor.debug.session import Session
    from toyvisor.trace.events import EventView

#: Events shown before and behind the present one.
BEFORE, BEHIND = 200, 100
#: Events that are searched before the user is asked whether to go on.
_AT_ONCE = 1_000
#: What stands before the words in a line of trace/text.py: number, clock, layer.
_PREFIX = len(f"{0:>6} {0:>8} {'':<5} ")


def event_line(event: EventView) -> EventLine:
    """One event in words."""
    text = to_text(to_dict(event))
    words = text[_PREFIX:] if event.seq < 10**6 else text.split(None, 3)[-1]
    return EventLine(event.seq, event.clock, event.layer, printable(words))


def event_window(session: Session) -> tuple[EventLine, ...]:
    """The events around the present moment, those of the recorded future too."""
    now = session.moment.events
    first = max(now - BEFORE, 0)
    return tuple(event_line(event) for event in session.events[first : now + BEHIND])


def search_events(session: Session, words: str, most: int) -> list[EventLine]:
    """The next events that have `words` in their text, then those from the beginning.

    Fewer than there are if the user stops it.
    """
    wanted, now, found = words.lower(), session.moment.events, []
    ask = session.should_stop
    for first, end in ((now, len(session.events)), (0, now)):
        for start in range(first, end, _AT_ONCE):
            for event in session.events[start : min(start + _AT_ONCE, end)]:
                line = event_line(event)
                if wanted in line.text.lower():
                    found.append(line)
            if len(found) >= most or (ask is not None and ask()):
                return found[:most]
    return found
