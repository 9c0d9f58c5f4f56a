"""What an event of the stream means: by its kind, with the values that it has."""

from __future__ import annotations

from toyvisor.debug.explain_devices import DEVICES
from toyvisor.debug.explain_exits import EXITS
from toyvisor.debug.explain_host import HOST
from toyvisor.debug.explain_interrupts import INTERRUPTS
from toyvisor.debug.explain_scene import EventExplainer, Happening
from toyvisor.debug.explanation import Explanation
from toyvisor.guest.program import Program
from toyvisor.qemu.machine import Machine
from toyvisor.trace.events import EventView

#: By the name of the kind: every kind that a stream can have.
EXPLAINERS: dict[str, EventExplainer] = {**EXITS, **INTERRUPTS, **DEVICES, **HOST}


def explain_event(event: EventView, machine: Machine, program: Program) -> Explanation:
    """An event that has just happened; `machine` is as it was right behind it."""
    return EXPLAINERS[event.kind.name](Happening(event, machine, program))
