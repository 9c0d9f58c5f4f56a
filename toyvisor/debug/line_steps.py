"""Steps from line to line of the source, over calls, and out of functions.

A call, and an interrupt or exception with its handler, count as one level; RET and IRET end it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum
from typing import NamedTuple

from toyvisor.debug.instruction_steps import (
    Footprint,
    depth_change,
    footprint,
    footprints_back,
    last_stand,
    step_back_instruction,
    step_instruction,
)
from toyvisor.debug.moment import Moment
from toyvisor.debug.stop_condition import StopCondition
from toyvisor.debug.timeline import Timeline

#: Which line an address belongs to, if any: lines are only compared.
LineOf = Callable[[int], object | None]


class Stops(NamedTuple):
    """Where a step may end before its end: at some addresses, if something is so there."""

    addresses: frozenset[int] = frozenset()
    are_met: Callable[[], bool] = lambda: False


def step_line(timeline: Timeline, line_of: LineOf) -> bool:
    """To another line; False: this is the end."""
    return _to_other_line(timeline, line_of, None)


def step_over(timeline: Timeline, line_of: LineOf, stops: Stops) -> bool:
    """To another line, with what is called on the way as a whole; False: this is the end."""
    return _to_other_line(timeline, line_of, stops)


def _to_other_line(timeline: Timeline, line_of: LineOf, over: Stops | None) -> bool:
    if not timeline.moment.between:
        return step_instruction(timeline)
    here = footprint(timeline)
    line = line_of(here.rip)
    while step_instruction(timeline):
        now = footprint(timeline)
        change = depth_change(here, now)
        if change > 0 and over is not None:
            end = _run_to_return(timeline, here, over)
            if end is not _Return.RETURNED:
                return end is _Return.STOPPED
            now, change = footprint(timeline), 0
        if change or line is None or line_of(now.rip) != line:
            return True
        here = now
    return False


def step_out(timeline: Timeline, stops: Stops) -> bool:
    """Until the present function or handler has returned; False: this is the end."""
    if not timeline.moment.between and not step_instruction(timeline):
        return False
    here = footprint(timeline)
    while step_instruction(timeline):
        now = footprint(timeline)
        change = depth_change(here, now)
        if change < 0:
            return True
        if now.rip in stops.addresses and stops.are_met():
            return True
        if change > 0:
            end = _run_to_return(timeline, here, stops)
            if end is not _Return.RETURNED:
                return end is _Return.STOPPED
            now = footprint(timeline)
        here = now
    return False


class _Return(Enum):
    """How a run through something that was called has ended."""

    RETURNED = 1
    STOPPED = 2
    OVER = 3


def _run_to_return(timeline: Timeline, before: Footprint, stops: Stops) -> _Return:
    """From the first instruction of what was called at `before` to behind its return."""
    returns = timeline.return_addresses()
    if timeline.machine.vcpu.linear_rip() in stops.addresses and stops.are_met():
        return _Return.STOPPED
    while not timeline.at_end:
        condition = StopCondition(addresses=returns | stops.addresses, except_at=timeline.moment)
        timeline.go_on(condition)
        if timeline.at_end:
            break
        vcpu = timeline.machine.vcpu
        rip = vcpu.linear_rip()
        if rip in returns and vcpu.get_regs().rsp >= before.rsp:
            return _Return.RETURNED
        if rip in stops.addresses and stops.are_met():
            return _Return.STOPPED
    return _Return.OVER


def step_back_line(timeline: Timeline, line_of: LineOf) -> bool:
    """To the beginning of the line before, or of this one; False: here is the start."""
    return _back(timeline, line_of, enters=True)


def step_back_over(timeline: Timeline, line_of: LineOf) -> bool:
    """The same; what has been called and has returned is passed as a whole."""
    return _back(timeline, line_of, enters=False)


def _back(timeline: Timeline, line_of: LineOf, *, enters: bool) -> bool:
    if not timeline.moment.between:
        return step_back_instruction(timeline)
    following = footprint(timeline)
    found: Moment | None = None
    line: object | None = None
    for at in _places_back(timeline, following.moment, enters=enters):
        change = depth_change(at, following) if enters else 0
        following = at
        if found is not None and (line is None or line_of(at.rip) != line or change):
            break
        found, line = at.moment, line_of(at.rip)
    timeline.go_to(found if found is not None else timeline.start)
    return found is not None


def _places_back(timeline: Timeline, before: Moment, *, enters: bool) -> Iterator[Footprint]:
    """All places before a moment, the last one first; without those in what has returned."""
    timeline.go_to(before)
    following = footprint(timeline)
    while True:
        jump = None
        for at in footprints_back(timeline, following.moment):
            if not enters and depth_change(at, following) < 0:
                jump = last_stand(timeline, _led_to(following), at.moment, following.rsp)
            if jump is not None:
                break
            yield at
            following = at
        if jump is None:
            return
        yield jump
        following = jump


def _led_to(returned: Footprint) -> frozenset[int]:
    """Where what returned there can have been called from: a CALL has 2 to 7 bytes.

    Or interrupted: an interrupt returns to where it came in.
    """
    return frozenset((returned.rip, *range(returned.rip - 7, returned.rip - 1)))


def step_back_out(timeline: Timeline) -> bool:
    """To what led into the present function or handler; False: nothing did, here is the start."""
    following: Footprint = footprint(timeline)
    depth = 0
    for at in footprints_back(timeline, following.moment):
        depth -= depth_change(at, following)
        following = at
        if depth < 0:
            timeline.go_to(at.moment)
            return True
    timeline.go_to(timeline.start)
    return False
