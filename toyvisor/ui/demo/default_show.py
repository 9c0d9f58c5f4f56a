"""A show for a program without a script: from exit to exit, in the words of the explanations.

An instruction in a loop exits again and again: it is shown twice, then counted.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from toyvisor.debug.explain import explain
from toyvisor.debug.views.lanes import ExitPath, path_of_exit
from toyvisor.ui.demo.captions import counted_words, reading_time
from toyvisor.ui.demo.cards import Card
from toyvisor.ui.figures import counted

if TYPE_CHECKING:
    from toyvisor.debug.session import Session

#: Exits that are shown at most, and how often the same instruction's.
MOST_EXITS, MOST_ALIKE = 20, 2
#: Events of one exit that are passed one by one.
_MOST_BEATS = 40


def default_show(session: Session) -> tuple[Card, ...]:
    """The cards of a run. It is run to its end, if it was not."""
    session.go_to_end()
    session.go_to_start()
    program = session.program
    title = program.spec.title or program.name
    first_words = f"{title[0].upper()}{title[1:]}. It begins with `{explain(session).title}`."
    cards = [_card(session, first_words)]
    seen: Counter[int] = Counter()
    left_out = shown = 0
    exits = list(session.events.exits)
    for number, first in enumerate(exits):
        if shown == MOST_EXITS:
            left_out += len(exits) - number
            break
        rip = int(session.events[first].fields["rip"])
        seen[rip] += 1
        if seen[rip] > MOST_ALIKE:
            left_out += 1
            continue
        shown += 1
        cards += _exit_cards(session, first, left_out)
        left_out = 0
    stop = session.go_to_end()
    told = explain(session)
    end = f"{told.title}. {told.what}"
    if session.ending is None:
        end = f"The run goes on, but {stop.text}."
    skipped = f"{counted(left_out, 'more exit')} later. " if left_out else ""
    totals = counted_words(session.counters())
    cards.append(_card(session, f"{skipped}{end} In all: {totals}."))
    return tuple(cards)


def _exit_cards(session: Session, first: int, left_out: int) -> list[Card]:
    session.go_to_event(first)
    told = explain(session)
    skipped = f"{counted(left_out, 'more exit')} later. " if left_out else ""
    cards = [_card(session, f"{skipped}{told.title}. {told.what}")]
    path = path_of_exit(session.events, first)
    if path is not None and len(path.hops) > 1:
        cards.append(_way(session, path))
    return cards


def _way(session: Session, path: ExitPath) -> Card:
    """All that follows, up to the entry."""
    hops = path.hops[1 : _MOST_BEATS + 1]
    moments = [session.events.moment(hop.event) for hop in hops]
    last = session.events.moment(path.hops[-1].event)
    if moments[-1] != last:
        moments.append(last)
    deepest = ("the guest", "KVM", "QEMU", "the host kernel")[max(hop.layer for hop in path.hops)]
    size = sum(move.count for move in path.moves)
    copies = counted(len(path.moves), "copy", "copies")
    moved = f"{copies} ({counted(size, 'byte')})" if path.moves else "no copy"
    end = "then the guest goes on." if path.last is not None else "and the guest does not go on."
    caption = f"The way of this exit: down to {deepest}, {moved}; {end}"
    return Card(caption, tuple(moments), reading_time(caption))


def _card(session: Session, caption: str) -> Card:
    return Card(caption, (session.moment,), reading_time(caption))
