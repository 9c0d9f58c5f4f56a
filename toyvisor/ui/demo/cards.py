"""A rehearsed show: the cards, each a caption and the moments that lead up to it.

Rehearsed, because whatever is wrong with a script is to be found before the audience sits there;
and because one can then go back and forth between the cards.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from toyvisor.debug.moment import Moment, StopReason
from toyvisor.errors import InputError, ToyvisorError
from toyvisor.ui.demo.captions import filled, reading_time
from toyvisor.ui.demo.moves import go
from toyvisor.ui.demo.script import Script, ScriptStep, Show

if TYPE_CHECKING:
    from toyvisor.debug.session import Session

#: Seconds at each moment on the way to a card, where nobody says.
BEAT = 0.4
#: Events that are shown one by one on the way of a single move.
_MOST_PASSED = 40
_ARRIVED = (StopReason.STEP, StopReason.REACHED, StopReason.START)


class Card(NamedTuple):
    """One caption. `moments`: on the way, `beat` seconds each; at the last one it stays.

    `seconds` is how long; `show` what to look at (None: whatever there is).
    """

    caption: str
    moments: tuple[Moment, ...]
    seconds: float
    beat: float = BEAT
    show: Show | None = None


class Beat(NamedTuple):
    """A moment to be shown for some seconds. `is_last`: the card has arrived."""

    moment: Moment
    seconds: float
    is_last: bool


def beats(card: Card) -> Iterator[Beat]:
    """The moments of a card with their times."""
    *way, last = card.moments
    for moment in way:
        yield Beat(moment, card.beat, is_last=False)
    yield Beat(last, card.seconds, is_last=True)


def rehearse(session: Session, script: Script) -> tuple[Card, ...]:
    """Go through a script from the start of the run.

    Raises InputError, with the step's number, if a step can't be done.
    """
    session.go_to_start()
    return tuple(
        _card(session, script, number, step) for number, step in enumerate(script.steps, 1)
    )


def _card(session: Session, script: Script, number: int, step: ScriptStep) -> Card:
    moments: list[Moment] = []
    before = session.moment.events
    try:
        for _ in range(step.count):
            stop = go(session, step.go)
            if stop.reason not in _ARRIVED and not _is_meant(step.go, stop.reason):
                raise InputError(f"go = {step.go!r} comes to nothing: {stop.text}")
            moments.append(session.moment)
        caption = filled(step.say, session)
    except ToyvisorError as error:
        raise script.error(number, error.message, error.hint) from error
    if step.beat is None:
        del moments[:-1]
    elif step.count == 1:
        moments[:0] = _passed(session, before)
    seconds = step.pause if step.pause is not None else reading_time(caption)
    return Card(caption, tuple(moments), seconds, step.beat or BEAT, step.show)


def _passed(session: Session, before: int) -> list[Moment]:
    """The last events on the way here, but not the one that we stand behind."""
    now = session.moment
    stop = now.events if now.between else now.events - 1
    return [session.events.moment(n) for n in range(max(before, stop - _MOST_PASSED), stop)]


def _is_meant(where: str, reason: StopReason) -> bool:
    """To be at the end, or to stay, is no failure."""
    return where == "here" or (where == "end" and reason in (StopReason.END, StopReason.FULL))
