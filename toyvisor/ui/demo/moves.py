"""What a script's `go` means.

start, end, here            the beginning; the end; stay
instruction, line, over, out, event, exit, userspace, interrupt
                            one such step on (toyvisor/debug/moment.py: Unit)
device [NAME]               the next access to a register of that device, or of any
event KIND                  the next event of a kind: event virtqueue_pop
to PLACE                    until the guest is about to execute a label, a line, an address
until EXPRESSION            until it is true: until tx.used.idx == 1
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from toyvisor.debug.moment import Stop, StopReason, Unit
from toyvisor.errors import InputError
from toyvisor.trace.events import KINDS

if TYPE_CHECKING:
    from toyvisor.debug.session import Session

_WORDS = ("start", "end", "here", "to", "until", *Unit)


def go(session: Session, where: str) -> Stop:
    """Make one move. Raises InputError for words that mean nothing, and what Session raises."""
    word, _, rest = where.partition(" ")
    rest = rest.strip()
    if word in ("start", "end", "here") and not rest:
        return _fixed(session, word)
    if word == "to" and rest:
        return session.run_to(rest)
    if word == "until" and rest:
        return session.run_until(rest)
    if word == Unit.DEVICE:
        return session.step(Unit.DEVICE, device=rest or None)
    if word == Unit.EVENT and rest:
        return _to_event(session, rest)
    if word in list(Unit) and not rest:
        return session.step(Unit(word))
    raise InputError(f"go = {where!r} means nothing", hint=_hint(word))


def _hint(word: str) -> str:
    close = difflib.get_close_matches(word, _WORDS, 1)
    return f"did you mean {close[0]}?" if close else f"there is {', '.join(_WORDS)}"


def _fixed(session: Session, word: str) -> Stop:
    if word == "start":
        return session.go_to_start()
    if word == "end":
        return session.go_to_end()
    return session.stop


def _to_event(session: Session, name: str) -> Stop:
    """Behind the next event of a kind."""
    kind = KINDS.get(name)
    if kind is None or kind.expand is not None:
        known = [one for one, kind in KINDS.items() if kind.expand is None]
        close = difflib.get_close_matches(name, known, 2)
        raise InputError(
            f"there is no event {name!r}",
            hint=f"did you mean {' or '.join(close)}?" if close else ", ".join(known),
        )
    while True:
        stop = session.step(Unit.EVENT)
        if stop.reason is not StopReason.STEP:
            return stop
        if session.events[session.moment.events - 1].kind is kind:
            return stop
