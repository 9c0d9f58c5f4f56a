"""An event that has just happened, and the machine around it, in words that all events need."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePath
from typing import Any

from toyvisor.debug.explanation import Explanation
from toyvisor.debug.instruction_scene import number
from toyvisor.debug.views.labels import labels_of
from toyvisor.debug.views.register_places import RegisterPlace, decode_bits
from toyvisor.debug.views.registers import processor
from toyvisor.guest.program import Program
from toyvisor.qemu.machine import Machine
from toyvisor.trace.events import EventView, Thread

_THREADS = {
    Thread.VCPU: "QEMU's vCPU thread", Thread.MAIN_LOOP: "QEMU's main loop",
    Thread.VHOST: "The vhost worker",
}  # fmt: skip


class Happening:
    """One event. `f` are its fields."""

    def __init__(self, event: EventView, machine: Machine, program: Program) -> None:
        self.event = event
        self.machine = machine
        self.program = program
        self.f: dict[str, Any] = event.fields

    @property
    def who(self) -> str:
        """The thread that did it, at the beginning of a sentence."""
        return _THREADS[self.event.thread]

    @property
    def is_vhost(self) -> bool:
        """Done by vhost, in the kernel."""
        return self.event.thread is Thread.VHOST

    def place(self, address: int) -> str:
        """`0x100038 (wait_reset+0x3)`."""
        label = labels_of(self.program).near(address)
        return f"{address:#x} ({label})" if label else f"{address:#x}"

    def here(self, rip: int) -> str:
        """Where an instruction is, with its source line."""
        line = self.program.assembly.listing.at(rip)
        if line is None:
            return f"at {self.place(rip)}"
        file = PurePath(line.location.file).name
        return f"at {self.place(rip)}, line {line.location.line} of {file}"

    @property
    def rip(self) -> int:
        """The linear address at which the guest stands."""
        return processor(self.machine).linear_rip()


#: Explains events of one kind.
EventExplainer = Callable[[Happening], Explanation]


def register_words(place: RegisterPlace | None, *, value: int | None = None) -> str:
    """`register TX_COMMAND of mmio-nic (SEND)`."""
    if place is None:
        return "no device's register"
    bits = decode_bits(place.bits, value) if value else ""
    return f"{place.register} of {place.device}" + (f" ({bits})" if bits else "")


def byte_count(count: int) -> str:
    """`1 byte`, `4 bytes`."""
    return "1 byte" if count == 1 else f"{count} bytes"


def value_of(value: int) -> str:
    """A number as the other explanations write it."""
    return number(value)
