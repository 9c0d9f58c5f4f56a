"""Running to the next breakpoint, forwards and backwards.

Breakpoints on addresses let the guest run, and cost it a look at each block of its code. Watched
memory lets it run, too, until it is written to; then that stretch is walked once more. The value
of an expression is looked at behind every instruction, which is slow. Backwards, the stretch from
each checkpoint on is run forwards and all stops on it are noted; the last one is where to go.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from toyvisor.debug.breakpoints import Breakpoint, BreakpointKind
from toyvisor.debug.instruction_steps import step_instruction, stretch_before
from toyvisor.debug.moment import Moment
from toyvisor.debug.stop_condition import StopCondition
from toyvisor.debug.timeline import Timeline

#: Watched memory is looked at after so many instructions, if nobody has written to it.
_STRETCH = 5_000


class Watcher(Protocol):
    """What breakpoints need to know of the machine."""

    def value_of(self, breakpoint: Breakpoint) -> object:
        """What a watchpoint watches, as it is now; None where it can't be looked at."""
        ...

    def holds(self, breakpoint: Breakpoint) -> bool:
        """Whether its condition is true now."""
        ...


class Hit(NamedTuple):
    """A breakpoint was met; a watched value was `before` and is `now`."""

    breakpoint: Breakpoint
    moment: Moment
    before: object = None
    now: object = None


class Runner:
    """Runs one timeline with one set of breakpoints."""

    def __init__(
        self, timeline: Timeline, breakpoints: Sequence[Breakpoint], watcher: Watcher
    ) -> None:
        self._timeline = timeline
        self._watcher = watcher
        enabled = [breakpoint for breakpoint in breakpoints if breakpoint.enabled]
        self._at = [b for b in enabled if b.kind is BreakpointKind.ADDRESS]
        self._watched = [b for b in enabled if b.kind is not BreakpointKind.ADDRESS]
        self._addresses = frozenset(b.address for b in self._at)
        self._values: list[object] = []
        self._watches_values = any(b.kind is BreakpointKind.VALUE for b in self._watched)
        #: So far instruction by instruction: watched memory was written to on this stretch.
        self._walk_to: Moment | None = None

    def run(self) -> Hit | None:
        """To the next breakpoint that is met, or None at the end of the run."""
        self._look()
        while self._go_on():
            if (hit := self._counted()) is not None:
                return hit
        return self._counted()  # the last instruction may have changed something, too

    def _counted(self) -> Hit | None:
        """The first that is met here and not to be passed by."""
        for hit in self._met():
            if hit.breakpoint.ignore <= 0:
                hit.breakpoint.hits += 1
                return hit
            hit.breakpoint.ignore -= 1
        return None

    def run_back(self) -> Hit | None:
        """To the last place before here where run() would stop, or None at the start."""
        timeline = self._timeline
        end = timeline.moment
        while end > timeline.start and (self._at or self._watched):
            start = self._stretch_before(end)
            hit = self._last_hit(start, end)
            if hit is not None:
                timeline.go_to(hit.moment)
                return hit
            end = start
        timeline.go_to(timeline.start)
        return None

    def _stretch_before(self, end: Moment) -> Moment:
        if self._watches_values:
            return stretch_before(self._timeline, end)
        return self._timeline.checkpoint_below(end).moment

    def _last_hit(self, start: Moment, end: Moment) -> Hit | None:
        timeline = self._timeline
        timeline.go_to(start)
        self._look()
        last = next(iter(self._met_at_address()), None)  # at the checkpoint itself
        while self._go_on(end) and timeline.moment < end:
            for hit in self._met():
                last = hit
        return last

    def _go_on(self, end: Moment | None = None) -> bool:
        """To where something may be met; False: this is the end."""
        timeline = self._timeline
        if timeline.at_end:
            return False
        here = timeline.moment
        if self._watches_values or (self._walk_to is not None and here < self._walk_to):
            return step_instruction(timeline)
        condition = StopCondition(addresses=self._addresses, except_at=here, moment=end)
        if self._watched:
            self._run_stretch(here, condition)
        else:
            timeline.go_on(condition)
        return not timeline.at_end

    def _run_stretch(self, here: Moment, condition: StopCondition) -> None:
        """Run a while; if watched memory was written to meanwhile, walk it again from `here`."""
        timeline = self._timeline
        condition.instructions = here.instructions + _STRETCH
        watch = timeline.watch_writes([(b.address, b.length) for b in self._watched])
        try:
            timeline.go_on(condition)
        finally:
            watch.close()
        values = [self._watcher.value_of(breakpoint) for breakpoint in self._watched]
        now = timeline.moment
        # Devices and what is delivered write to memory, too, past the guest's own stores.
        told = (now.deliveries, now.events) != (here.deliveries, here.events)
        if watch.touched or told or values != self._values:
            self._walk_to = timeline.moment
            timeline.go_to(here)
            step_instruction(timeline)

    def _look(self) -> None:
        self._values = [self._watcher.value_of(breakpoint) for breakpoint in self._watched]

    def _met(self) -> list[Hit]:
        found = self._met_at_address()
        moment = self._timeline.moment
        for number, breakpoint in enumerate(self._watched):
            before, now = self._values[number], self._watcher.value_of(breakpoint)
            if now != before:
                self._values[number] = now
                if self._watcher.holds(breakpoint):
                    found.append(Hit(breakpoint, moment, before, now))
        return found

    def _met_at_address(self) -> list[Hit]:
        moment = self._timeline.moment
        if not self._at or not moment.between:
            return []
        rip = self._timeline.machine.vcpu.linear_rip()
        return [
            Hit(breakpoint, moment)
            for breakpoint in self._at
            if breakpoint.address == rip and self._watcher.holds(breakpoint)
        ]


def run_until(timeline: Timeline, is_true: Callable[[], bool]) -> bool:
    """Instruction by instruction until something is true; False: it never was."""
    while step_instruction(timeline):
        if is_true():
            return True
    return False
