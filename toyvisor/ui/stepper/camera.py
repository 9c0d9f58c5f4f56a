"""Takes pictures of a session. Lives on the session's thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

from toyvisor.debug.explain import explain
from toyvisor.debug.views.disassembly import disassembly
from toyvisor.debug.views.lanes import path_of_exit
from toyvisor.ui.stepper.event_window import event_line, event_window
from toyvisor.ui.stepper.lane_path import Step
from toyvisor.ui.stepper.machinery import (
    changes,
    chosen_device,
    chosen_queue,
    machinery,
    memory,
)
from toyvisor.ui.stepper.picture import LaneState, Picture, Wishes
from toyvisor.ui.stepper.source_files import SourceFiles
from toyvisor.ui.stepper.timeline_cells import Timeline, TimelineMaker

if TYPE_CHECKING:
    from toyvisor.debug.session import Session

#: Events of the way through the layers.
_PATH = 90


class Camera:
    """Remembers what does not change between two pictures, and the picture before."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.sources = SourceFiles(session.program)
        self._timelines = TimelineMaker()
        #: As in the picture taken last.
        self.timeline = Timeline()
        #: The picture that changes are told against, and the one taken last.
        self._before = self._last = Picture()

    def take(self, wishes: Wishes) -> Picture:
        """What there is to see now."""
        session = self._session
        if (session.moment, session.branch) != (self._last.moment, self._last.branch):
            self._before = self._last
        before = self._before
        now = machinery(session)
        changed = changes(before.machinery, now)
        rip = self._session.instruction_address()
        self.timeline = self._timelines.make(session, wishes.timeline_cells)
        self._last = Picture(
            program=session.program.name,
            title=session.program.spec.title,
            moment=session.moment,
            stop=session.stop,
            frontier=session.frontier,
            ending=session.ending.explanation if session.ending is not None else "",
            branch=session.branch,
            events_recorded=len(session.events),
            lanes=self._lanes(rip),
            source=self.sources.state(session, rip),
            assembly=disassembly(session.machine, session.program, rip),
            breakpoints={one.address: one.enabled for one in session.breakpoints},
            rip=rip,
            events=event_window(session),
            timeline=self.timeline,
            console=session.console(),
            counters=session.counters().copy(),
            machinery=now,
            changes=changed,
            memory=memory(session, wishes.memory, before.memory),
            explanation=explain(session),
            queue=chosen_queue(wishes, now, changed, before),
            device=chosen_device(wishes, now, changed, before),
            device_is_chosen=wishes.device is not None,
        )
        return self._last

    def _lanes(self, rip: int) -> LaneState:
        session = self._session
        now = session.moment.events
        seen = session.events[max(now - _PATH, 0) : now]
        return LaneState(
            tuple(Step(event.layer, event.kind.name) for event in seen),
            event_line(seen[-1]) if seen else None,
            self._instruction(rip) if session.moment.between else "",
            path_of_exit(session.events, now - 1) if now else None,
        )

    def _instruction(self, rip: int) -> str:
        line = self._session.line_at(rip)
        if line is not None and line.text.strip():
            return " ".join(line.text.split(";")[0].split())
        found = disassembly(self._session.machine, self._session.program, rip, before=0, after=1)
        return found[0].text if found else ""
