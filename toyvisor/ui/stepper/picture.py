"""What the stepper draws, as plain data: computed on the session's thread at every stop.

The panes know nothing but a picture; the session knows nothing of panes.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from toyvisor.debug.counters import Counters
from toyvisor.debug.explanation import Explanation
from toyvisor.debug.moment import Moment, Stop, StopReason
from toyvisor.debug.views.devices import DeviceView
from toyvisor.debug.views.disassembly import InstructionLine
from toyvisor.debug.views.interrupts import InterruptsView
from toyvisor.debug.views.lanes import ExitPath
from toyvisor.debug.views.memory import MemoryRow
from toyvisor.debug.views.registers import RegistersView
from toyvisor.debug.views.virtqueue import VirtqueueView
from toyvisor.trace.events import Layer
from toyvisor.ui.stepper.lane_path import Step
from toyvisor.ui.stepper.timeline_cells import Timeline

NOTHING: frozenset[str] = frozenset()


class EventLine(NamedTuple):
    """An event in words."""

    number: int
    clock: int
    layer: Layer
    text: str


class LaneState(NamedTuple):
    """What the lanes show: the path to here, and the exit that it is in."""

    path: tuple[Step, ...] = ()
    last: EventLine | None = None
    #: the instruction that comes next, if the guest is to run now
    instruction: str = ""
    exit: ExitPath | None = None


class SourceState(NamedTuple):
    """A source file, where the guest is in it, and its breakpoints by line (True: enabled)."""

    file: str = ""
    lines: tuple[str, ...] = ()
    current: int | None = None
    breakpoints: Mapping[int, bool] = MappingProxyType({})
    #: lines that have made instructions
    code: frozenset[int] = frozenset()


class MemoryState(NamedTuple):
    """Rows of 8 bytes around where the expression `followed` points; or what is wrong with it."""

    followed: str = ""
    address: int = 0
    rows: tuple[MemoryRow, ...] = ()
    changed: frozenset[int] = frozenset()
    problem: str = ""


class Machinery(NamedTuple):
    """What the views of toyvisor/debug show of the machine."""

    registers: RegistersView | None = None
    queues: tuple[VirtqueueView, ...] = ()
    devices: tuple[DeviceView, ...] = ()
    interrupts: InterruptsView | None = None


class Changes(NamedTuple):
    """What in it has changed since the last stop; of queues and devices, in their order."""

    registers: frozenset[str] = NOTHING
    queues: tuple[frozenset[str], ...] = ()
    devices: tuple[frozenset[str], ...] = ()
    interrupts: frozenset[str] = NOTHING


class Picture(NamedTuple):
    """The whole screen."""

    program: str = ""
    title: str = ""
    moment: Moment = Moment(0, 0, 0, between=False)
    stop: Stop = Stop(StopReason.START, "")
    frontier: Moment = Moment(0, 0, 0, between=False)
    ending: str = ""
    branch: int = 0
    events_recorded: int = 0
    lanes: LaneState = LaneState()
    source: SourceState = SourceState()
    assembly: tuple[InstructionLine, ...] = ()
    #: addresses with a breakpoint; True: enabled
    breakpoints: Mapping[int, bool] = MappingProxyType({})
    rip: int = 0
    events: tuple[EventLine, ...] = ()
    timeline: Timeline = Timeline()
    console: bytes = b""
    counters: Counters = Counters()
    machinery: Machinery = Machinery()
    changes: Changes = Changes()
    memory: MemoryState = MemoryState()
    explanation: Explanation | None = None
    #: places in `machinery` of the queue and the device that are shown
    queue: int = 0
    device: int = 0
    #: the device was chosen by the user
    device_is_chosen: bool = False


class Wishes(NamedTuple):
    """What the user wants to see in the picture. A queue is (device, index)."""

    timeline_cells: int = 60
    memory: str = "rsp"
    #: None: the one that something happened to last
    device: str | None = None
    queue: tuple[str, int] | None = None
