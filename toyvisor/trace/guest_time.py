"""When the events of a stream happened, in nanoseconds of the guest's time.

An event's `clock` counts guest instructions. While the guest sleeps in HLT its time passes
without any; how long says the event `kvm_vcpu_wakeup` at the end. Both together are the time
that the guest's own timer, the 8254, goes by.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from toyvisor.errors import InputError
from toyvisor.exit_reasons import ExitReason

Event = dict[str, Any]

#: Guest instructions in a second: four for each tick of the 8254 (kvm/i8254_registers.py).
HERTZ = 4 * 1_193_182
#: All steps of an exit have the same count of instructions. Here each of them comes so many
#: nanoseconds behind the one before, so that a picture of them has an order.
STEP = 10

_NANOSECONDS = 1_000_000_000
_LATEST = 1 << 53
_HLT = int(ExitReason.HLT)


def nanoseconds(instructions: int) -> int:
    """Guest time in nanoseconds."""
    return instructions * _NANOSECONDS // HERTZ


def waited(event: Event) -> int:
    """How long a kvm_vcpu_wakeup says that the guest slept, in instructions."""
    time = event.get("waited")
    return time if type(time) is int and 0 <= time < _LATEST else 0


def timed(events: Iterable[Event]) -> Iterator[tuple[int, Event]]:
    """Each event with its time; the times always grow, by `STEP` at least.

    What happened while the guest slept is put at the end of its sleep. Raises InputError for
    a stream whose clock can't be one.
    """
    last = -STEP
    for clock, event in _with_sleep(events):
        last = max(nanoseconds(clock), last + STEP)
        yield last, event


def _with_sleep(events: Iterable[Event]) -> Iterator[tuple[int, Event]]:
    """Each event with the guest time, in instructions."""
    slept = 0
    asleep: list[Event] | None = None  # what has happened since the HLT
    for event in events:
        kind = event["event"]
        if not 0 <= event["clock"] < _LATEST:
            raise InputError(f"event {event['seq']}: no such time: clock {event['clock']}")
        if kind == "kvm_vcpu_wakeup":
            slept += waited(event)
        if asleep is not None:
            asleep.append(event)
            if kind not in ("kvm_vcpu_wakeup", "kvm_userspace_exit", "vm_entry"):
                continue
            yield from ((held["clock"] + slept, held) for held in asleep)
            asleep = None
            continue
        yield event["clock"] + slept, event
        if kind == "vm_exit" and event.get("reason") == _HLT:
            asleep = []
    yield from ((held["clock"] + slept, held) for held in asleep or ())
