"""Steps from instruction to instruction.

The guest *stands* at the first moment between two instructions at which one more has been executed,
or an interrupt or exception delivered. All steps lead from one such place to another, so n
steps forward and n back lead to where they began.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from toyvisor.debug.moment import Moment
from toyvisor.debug.stop_condition import StopCondition
from toyvisor.debug.timeline import Timeline

_LONGEST_INSTRUCTION = 15
#: Instructions that are walked one by one at a time on the way back.
_SHORT_STRETCH, _STRETCH = 16, 1_000
_PREFIXES = (0x66, 0x67, 0xF2, 0xF3)
_CALL, _FAR_CALL, _GROUP_5 = 0xE8, 0x9A, 0xFF
_RETURNS = (0xC2, 0xC3, 0xCA, 0xCB, 0xCF)  # near, far, IRET


class Footprint(NamedTuple):
    """Where the guest stood: linear RIP, the bytes there, and the stack pointer."""

    moment: Moment
    rip: int
    code: bytes
    rsp: int

    @property
    def is_call(self) -> bool:
        """Whether a CALL is next. (INT n counts by its delivery.)"""
        opcode, modrm = self._opcode()
        return opcode in (_CALL, _FAR_CALL) or (opcode == _GROUP_5 and modrm >> 3 & 7 in (2, 3))

    @property
    def is_return(self) -> bool:
        """Whether a RET or IRET is next."""
        return self._opcode()[0] in _RETURNS

    def _opcode(self) -> tuple[int, int]:
        code, at = self.code, 0
        while at < len(code) - 2 and (code[at] in _PREFIXES or 0x40 <= code[at] <= 0x4F):
            at += 1
        return code[at], code[at + 1]


def depth_change(before: Footprint, after: Footprint) -> int:
    """How many functions and handlers deeper the guest is after one step."""
    change = after.moment.deliveries - before.moment.deliveries
    if after.moment.instructions > before.moment.instructions:
        change += before.is_call - before.is_return
    return change


def footprint(timeline: Timeline) -> Footprint:
    """Where the guest stands now."""
    vcpu = timeline.machine.vcpu
    rip = vcpu.linear_rip()
    code = timeline.code(rip, _LONGEST_INSTRUCTION).ljust(2, b"\0")
    return Footprint(timeline.moment, rip, code, vcpu.get_regs().rsp)


def step_instruction(timeline: Timeline) -> bool:
    """To the next place; False: there is none, and this is the end."""
    if timeline.at_end:
        return False
    here = timeline.moment
    following = Moment(here.instructions, here.deliveries + 1, 0, between=False)
    timeline.go_on(StopCondition(moment=following))
    return not timeline.at_end


def step_back_instruction(timeline: Timeline) -> bool:
    """To the last place before here; False: here is the start."""
    here = timeline.moment
    if here <= timeline.start:
        return False
    end = _place(here) if here.between else here
    executed = here.instructions - int(here.between)
    for earlier in (0, 1, 8, _STRETCH):
        timeline.go_to(Moment(max(0, executed - earlier), 0, 0, between=True))
        if timeline.moment < end:
            break  # else nothing was executed: an interrupt or an exception came in
    else:
        timeline.go_to(timeline.checkpoint_below(end).moment)
    last = timeline.moment
    if (last.instructions, last.deliveries) != (executed, here.deliveries):
        while step_instruction(timeline) and timeline.moment < end:
            last = timeline.moment
    timeline.go_to(max(_place(last), timeline.start))
    return True


def _place(moment: Moment) -> Moment:
    """Where the guest began to stand there."""
    return Moment(moment.instructions, moment.deliveries, 0, between=True)


def footprints(timeline: Timeline, start: Moment, end: Moment) -> list[Footprint]:
    """All places from `start` to before `end`."""
    timeline.go_to(start)
    found = []
    while timeline.moment < end:
        found.append(footprint(timeline))
        if not step_instruction(timeline):
            break
    return found


def footprints_back(timeline: Timeline, before: Moment) -> Iterator[Footprint]:
    """All places before a moment, the last one first. The machine stands anywhere meanwhile."""
    end, length = before, _SHORT_STRETCH
    while end > timeline.start:
        found = footprints(timeline, stretch_before(timeline, end, length), end)
        yield from reversed(found)
        end, length = found[0].moment, min(4 * length, _STRETCH)


def stretch_before(timeline: Timeline, end: Moment, length: int = _STRETCH) -> Moment:
    """Where to begin to walk towards `end`: `length` instructions before it, or a checkpoint."""
    near = Moment(end.instructions - length, 0, 0, between=True)
    return max(timeline.checkpoint_below(end).moment, near)


def last_stand(
    timeline: Timeline, addresses: frozenset[int], before: Moment, rsp: int
) -> Footprint | None:
    """The last place before a moment at one of some addresses, with that stack pointer."""
    end = before
    while end > timeline.start:
        start = timeline.checkpoint_below(end).moment
        timeline.go_to(start)
        last = None
        while timeline.moment < end:
            here = footprint(timeline)
            if here.rip in addresses and here.rsp == rsp:
                last = here
            timeline.go_on(StopCondition(addresses=addresses, except_at=here.moment, moment=end))
        if last is not None:
            return last
        end = start
    return None
