"""Points of a recorded run, how far a step goes, and why the session stands where it stands."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from toyvisor.debug.breakpoints import Breakpoint


class Moment(NamedTuple):
    """A point of the run. Moments are ordered by time.

    instructions  guest instructions executed before it
    deliveries    interrupts and exceptions that the processor has delivered before it
    events        events of the stream that have happened; the last is number `events - 1`
    between       True: the guest stands between two instructions. False: inside an exit (or before
                  the guest is entered for the first time), right behind the last event
    """

    instructions: int
    deliveries: int
    events: int
    between: bool


class Unit(StrEnum):
    """How far one step goes."""

    INSTRUCTION = "instruction"
    LINE = "line"  # to another line of the source
    OVER = "over"  # a line, calls and repeated string instructions as a whole
    OUT = "out"  # until the present function returns
    EVENT = "event"  # one event of the stream: inside a vmexit
    EXIT = "exit"  # the next vmexit
    USERSPACE = "userspace"  # the next return of ioctl(KVM_RUN)
    DEVICE = "device"  # the next access to a register of a device
    INTERRUPT = "interrupt"  # the next interrupt that KVM injects


class StopReason(StrEnum):
    """Why the session stands where it stands."""

    START = "start"
    STEP = "step"  # a step was done
    BREAKPOINT = "breakpoint"
    WATCHPOINT = "watchpoint"
    REACHED = "reached"  # the place or the condition that was asked for
    END = "end"  # the run is over: nothing comes behind
    INTERRUPTED = "interrupted"  # Ctrl-C while it ran
    FULL = "full"  # the recording has no room for more
    CHANGED = "changed"  # a register or memory was changed here


class Stop(NamedTuple):
    """Why the session stands here, in one sentence too."""

    reason: StopReason
    text: str
    breakpoint: Breakpoint | None = None
