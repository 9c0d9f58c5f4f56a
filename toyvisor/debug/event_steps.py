"""Steps from event to event of the stream: what each kind of step looks for."""

from __future__ import annotations

from collections.abc import Callable

from toyvisor.debug.event_log import EXIT_RECORDS
from toyvisor.debug.moment import Unit
from toyvisor.debug.stop_condition import StopCondition
from toyvisor.debug.timeline import Timeline
from toyvisor.kvm.i8254_registers import PORT_RANGES as PIT_PORTS
from toyvisor.kvm.i8259_registers import PORT_RANGES as PIC_PORTS
from toyvisor.trace.events import (
    KVM_INJ_NMI,
    KVM_INJ_VIRQ,
    KVM_PIO,
    KVM_USERSPACE_EXIT,
    MEMORY_REGION_READ,
    MEMORY_REGION_WRITE,
    VM_EXIT,
    EventKind,
    EventView,
)
from toyvisor.trace.exit_records import MMIO_EXIT, PIO_EXIT, REGION_READ, REGION_WRITE

_KERNEL_DEVICES = {"pic": PIC_PORTS, "pit": PIT_PORTS}


class Wanted:
    """Some events: their kinds, the records that may hold them, and which of them."""

    __slots__ = ("kinds", "records", "suits")

    def __init__(
        self,
        *kinds: EventKind,
        records: frozenset[str] = frozenset(),
        suits: Callable[[EventView], bool] = lambda _event: True,
    ) -> None:
        self.kinds = frozenset(kinds)
        self.records = records | {kind.name for kind in kinds}
        self.suits = suits


def wanted(unit: Unit, device: str | None = None) -> Wanted:
    """What a step of `unit` goes to. `device` is a device by its name, pic and pit too."""
    exits = frozenset((MMIO_EXIT.name, PIO_EXIT.name))
    if unit is Unit.EXIT:
        return Wanted(VM_EXIT, records=EXIT_RECORDS)
    if unit is Unit.USERSPACE:
        return Wanted(KVM_USERSPACE_EXIT, records=exits)
    if unit is Unit.INTERRUPT:
        return Wanted(KVM_INJ_VIRQ, KVM_INJ_NMI)
    if device in _KERNEL_DEVICES:
        ranges = _KERNEL_DEVICES[device]
        return Wanted(KVM_PIO, suits=lambda event: _is_in(event.fields["port"], ranges))
    regions = frozenset((REGION_READ.name, REGION_WRITE.name))
    return Wanted(
        MEMORY_REGION_READ,
        MEMORY_REGION_WRITE,
        records=regions,
        suits=lambda event: device is None or event.fields["region"] == device,
    )


def _is_in(port: int, ranges: tuple[tuple[int, int], ...]) -> bool:
    return any(first <= port < first + count for first, count in ranges)


def step_to(timeline: Timeline, what: Wanted) -> bool:
    """Go right behind the next of these events; False: there is none, and this is the end."""
    number = timeline.moment.events
    while True:
        for event in timeline.events.find(what.kinds, number, len(timeline.events)):
            if what.suits(event):
                timeline.go_to(timeline.events.moment(event.seq))
                return True
        number = len(timeline.events)
        if timeline.moment < timeline.frontier:
            timeline.go_to(timeline.frontier)
        if timeline.at_end:
            return False
        timeline.go_on(StopCondition(kinds=what.records))
        if timeline.at_end and len(timeline.events) == number:
            return False


def step_back_to(timeline: Timeline, what: Wanted) -> bool:
    """Go right behind the last of these events before here; False: none, this is the start."""
    here = timeline.moment
    before = here.events if here.between else here.events - 1
    for event in timeline.events.find_back(what.kinds, before):
        if event.seq < timeline.start.events:
            break
        if what.suits(event):
            timeline.go_to(timeline.events.moment(event.seq))
            return True
    timeline.go_to(timeline.start)
    return False


def step_event(timeline: Timeline) -> bool:
    """Go behind the next event, whatever it is."""
    number = timeline.moment.events
    if number >= len(timeline.events):
        if timeline.at_end:
            return False
        timeline.go_to(timeline.frontier)
        timeline.go_on_records(1)
        if number >= len(timeline.events):
            return False
    timeline.go_to(timeline.events.moment(number))
    return True


def step_back_event(timeline: Timeline) -> bool:
    """Go behind the last event before here, or the one before that if we stand behind it."""
    here = timeline.moment
    behind = here.events - 1 if here.between else here.events - 2
    if behind < timeline.start.events:
        was_there = timeline.at_start
        timeline.go_to(timeline.start)
        return not was_there
    timeline.go_to(timeline.events.moment(behind))
    return True
