"""The timeline as data: the recorded run as a strip of its exits.

A cell stands for one exit, or, when there are more exits than columns, for several. Its letter
is the exit's reason, its depth the deepest layer that had to do with it. A letter in lower case:
KVM ended it by itself, QEMU never heard of it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from toyvisor.exit_reasons import ExitReason
from toyvisor.trace.events import Layer

if TYPE_CHECKING:
    from toyvisor.debug.session import Session

#: A letter for each reason of an exit, and its name.
LETTERS: dict[ExitReason, tuple[str, str]] = {
    ExitReason.EPT_VIOLATION: ("M", "MMIO: load or store without RAM"),
    ExitReason.EPT_MISCONFIG: ("M", "MMIO: load or store without RAM"),
    ExitReason.IO_INSTRUCTION: ("P", "port: IN or OUT"),
    ExitReason.HLT: ("H", "HLT"),
    ExitReason.CPUID: ("C", "CPUID"),
    ExitReason.VMCALL: ("V", "VMCALL: hypercall"),
    ExitReason.INTERRUPT_WINDOW: ("W", "interrupt window"),
    ExitReason.NMI_WINDOW: ("W", "NMI window"),
    ExitReason.PREEMPTION_TIMER: ("T", "timer: the time slice is over"),
    ExitReason.EXTERNAL_INTERRUPT: ("T", "external interrupt"),
    ExitReason.TRIPLE_FAULT: ("S", "shutdown: triple fault"),
    ExitReason.EXCEPTION_NMI: ("X", "exception"),
    ExitReason.TASK_SWITCH: ("K", "task switch"),
}
#: Of several exits in one cell, the one that is shown: what is rare first.
_RARE_FIRST = "SXKVCHWTPM"
#: Events that are looked at to find out how deep an exit went.
_MOST_EVENTS = 200
#: Exits of a cell that are looked at.
_SAMPLES = 8


class Cell(NamedTuple):
    """`exits` exits from number `first` on, which is event number `event`."""

    letter: str
    depth: Layer
    first: int
    exits: int
    event: int


class Timeline(NamedTuple):
    """The strip. `position` is the cell that the session is in, -1 before the first exit.

    `in_guest`: it is behind that cell's exit, in the guest. `goes_on`: not recorded to its end.
    """

    cells: tuple[Cell, ...] = ()
    exits: int = 0
    passed: int = 0
    position: int = -1
    in_guest: bool = True
    goes_on: bool = True


class TimelineMaker:
    """Makes timelines of one session. Remembers the exits that it has looked at."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[str, Layer]] = {}
        self._branch = 0

    def make(self, session: Session, most_cells: int) -> Timeline:
        """The strip in at most `most_cells` cells."""
        if session.branch != self._branch:
            self._branch, self._known = session.branch, {}
        exits = session.events.exits
        total, passed = len(exits), bisect_left(exits, session.moment.events)
        each = max(-(-total // max(most_cells, 1)), 1)
        cells = tuple(
            self._cell(session, exits, first, min(each, total - first))
            for first in range(0, total, each)
        )
        return Timeline(
            cells,
            total,
            passed,
            (passed - 1) // each if passed else -1,
            session.moment.between or not passed,
            session.ending is None,
        )

    def _cell(self, session: Session, exits: Sequence[int], first: int, count: int) -> Cell:
        step = max(count // _SAMPLES, 1)
        looks = [self._look(session, exits[n]) for n in range(first, first + count, step)]
        letter, depth = min(looks, key=lambda look: _RARE_FIRST.find(look[0].upper()))
        return Cell(letter, max(depth, *(look[1] for look in looks)), first, count, exits[first])

    def _look(self, session: Session, event: int) -> tuple[str, Layer]:
        known = self._known.get(event)
        if known is not None:
            return known
        events = session.events
        reason = events[event].fields["reason"]
        letter = LETTERS.get(reason, ("?", ""))[0]
        depth, is_over = Layer.KVM, False
        for seq in range(event + 1, min(event + _MOST_EVENTS, len(events))):
            seen = events[seq]
            if seen.kind.name == "vm_entry":
                is_over = True
                break
            went_on = seen.kind.name == "kvm_userspace_exit"
            depth = max(depth, Layer.QEMU if went_on else seen.layer)
        found = (letter if depth > Layer.KVM else letter.lower(), depth)
        if is_over:  # else there may be more to come
            self._known[event] = found
        return found
