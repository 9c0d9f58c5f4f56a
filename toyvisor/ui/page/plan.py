"""Which moments of a run the page shows: all of them, if there are few enough."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from toyvisor.debug.moment import Moment, StopReason, Unit

if TYPE_CHECKING:
    from toyvisor.debug.session import Session

#: Steps that a page has at most, if nobody says otherwise.
MOST_STEPS = 3000
#: Of a run that is too long: the part at its beginning with all events, and that at its end.
_BEGINNING, _ENDING = 3, 15


class Stop(NamedTuple):
    """A moment to show. `exit`: the event that began the exit which it shows as a whole."""

    moment: Moment
    exit: int | None = None


class Plan(NamedTuple):
    """The stops, in order, and what to tell of those that were left out ("": nothing)."""

    stops: tuple[Stop, ...]
    note: str


def plan(session: Session, most: int = MOST_STEPS) -> Plan:
    """The stops for a run that is recorded to its end, at most about `most` of them.

    Every instruction and every event, or every event, or every event of the first exits and then
    one exit at a time. Leaves the session somewhere.
    """
    events, instructions = len(session.events), session.frontier.instructions
    if events + instructions <= most:
        stops = sorted({*_between(session), *_events(session, events)})
        return Plan(tuple(map(Stop, stops)), "")
    if events <= most:
        stops = [session.start, *_events(session, events)]
        return Plan(
            tuple(map(Stop, stops)),
            f"The run has {instructions:,} instructions: a step is an event, not an instruction.",
        )
    return _exits(session, most)


def _between(session: Session) -> Iterator[Moment]:
    """All moments between two instructions."""
    session.go_to_start()
    yield session.moment
    while session.step(Unit.INSTRUCTION).reason is StopReason.STEP:
        yield session.moment


def _events(session: Session, stop: int) -> Iterator[Moment]:
    """Right behind each event from the first moment to before number `stop`."""
    for number in range(session.start.events, stop):
        yield session.events.moment(number)


def _exits(session: Session, most: int) -> Plan:
    events, exits = session.events, session.events.exits
    whole = max(len([first for first in exits if first <= most // _BEGINNING]) - 1, 1)
    #: the last event of each exit
    ends = [first - 1 for first in [*exits[1:], len(events)]]
    stops = [Stop(session.start)]
    stops += [Stop(moment) for moment in _events(session, min(ends[whole - 1] + 1, most))]
    room = max(most - len(stops), 2)
    rest = list(range(whole, len(exits)))
    note = f"Up to exit {whole:,} a step is an event; from there on, a whole exit."
    if len(rest) > room:
        last = max(room // _ENDING, 1)
        left_out = rest[room - last : -last]
        note += (
            f" Exits {left_out[0] + 1:,} to {left_out[-1] + 1:,} of {len(exits):,} are left out."
        )
        rest = [*rest[: room - last], *rest[-last:]]
    stops += [Stop(events.moment(ends[n]), exits[n]) for n in rest]
    return Plan(tuple(stops), note)
