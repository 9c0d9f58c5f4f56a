"""The ways of the exits through the four layers, for the page's lanes, list and timeline."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Any, NamedTuple

from toyvisor.debug.views.lanes import BytesPlace, ExitPath, Place, path_of_exit
from toyvisor.trace.events import VM_EXIT
from toyvisor.trace.jsonl import to_dict
from toyvisor.trace.text import describe
from toyvisor.ui.page.interning import Interned
from toyvisor.ui.stepper.timeline_cells import LETTERS

if TYPE_CHECKING:
    from toyvisor.debug.session import Session

#: Events of one way that are shown: a guest asleep can have thousands in one.
MOST_HOPS = 400


class Where(NamedTuple):
    """A place on some way: its number, and the number of the event in it."""

    way: int
    hop: int


class Ways:
    """Collects ways; each is written down once, with what is under way behind each event."""

    def __init__(self, session: Session, texts: Interned[str]) -> None:
        self._session = session
        self._texts = texts
        self._numbers: dict[int, int] = {}
        self.rows: list[list[Any]] = []
        #: place, layer, words
        self.places: Interned[tuple[str, int, str]] = Interned()
        self.kinds: Interned[str] = Interned()

    def where(self, path: ExitPath, *, whole: bool = False) -> Where:
        """Where the path's current event is. `whole`: nobody will stop inside of it."""
        number = self._numbers.get(path.first)
        if number is None:
            number = self._numbers[path.first] = len(self.rows)
            self.rows.append(self._row(path, whole=whole))
        return Where(number, min(max(path.current, 0), MOST_HOPS - 1))

    def _row(self, path: ExitPath, *, whole: bool) -> list[Any]:
        events = self._session.events
        first = events[path.first]
        letter, depth = "", max(hop.layer for hop in path.hops)
        exit_number = -1
        if first.kind is VM_EXIT:
            exit_number = self._exit_number(path.first)
            letter = LETTERS.get(first.fields["reason"], ("?", ""))[0]
            went = any(hop.kind == "kvm_userspace_exit" for hop in path.hops)
            letter = letter if went else letter.lower()
        title = self._texts.number(path.title)
        return [exit_number, title, letter, int(depth), self._hops(path, whole=whole)]

    def _exit_number(self, event: int) -> int:
        return bisect_left(self._session.events.exits, event)

    def _hops(self, path: ExitPath, *, whole: bool) -> list[list[int]]:
        events, hops = self._session.events, path.hops[:MOST_HOPS]
        found = []
        for number, hop in enumerate(hops):
            event = events[hop.event]
            is_last = number == len(hops) - 1
            place = self._place(hop.event) if not whole or is_last else -1
            text = self._texts.number(describe(to_dict(event)))
            found.append(
                [hop.event, int(hop.layer), int(hop.thread), self.kinds.number(hop.kind),
                 self._texts.number(hop.label), text, place]
            )  # fmt: skip
        return found

    def _place(self, event: int) -> int:
        """The number of the place where the bytes are behind an event; -1: there are none."""
        path = path_of_exit(self._session.events, event)
        return -1 if path is None else self._number_of(path.bytes)

    def _number_of(self, place: BytesPlace) -> int:
        if place.place is Place.NONE:
            return -1
        return self.places.number((str(place.place), int(place.layer), place.words))
