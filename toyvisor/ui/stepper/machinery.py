"""The machine as the views of toyvisor/debug have it, and what changed from picture to picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from toyvisor.debug.views.devices import changed_in_device, devices
from toyvisor.debug.views.interrupts import changed_interrupts, interrupts
from toyvisor.debug.views.memory import changed_bytes, memory_rows
from toyvisor.debug.views.registers import changed_registers, registers_view
from toyvisor.debug.views.virtqueue import changed_in_queue, virtqueues
from toyvisor.errors import ToyvisorError
from toyvisor.ui.stepper.picture import Changes, Machinery, MemoryState, Picture, Wishes

if TYPE_CHECKING:
    from toyvisor.debug.session import Session

#: Bytes in a row of memory; rows before the pointer, and in all.
_WIDTH, _BEFORE, _ROWS = 8, 4, 64


def machinery(session: Session) -> Machinery:
    """Everything, as it is now."""
    machine = session.machine
    return Machinery(
        registers_view(machine),
        virtqueues(machine),
        devices(machine),
        interrupts(machine, session.program),
    )


def changes(before: Machinery, now: Machinery) -> Changes:
    """What is different; nothing in the first picture."""
    if before.registers is None or now.registers is None:
        return Changes((frozenset()), tuple(frozenset() for _ in now.queues),
                       tuple(frozenset() for _ in now.devices))  # fmt: skip
    old_queues = {(queue.device, queue.index): queue for queue in before.queues}
    old_devices = {device.name: device for device in before.devices}
    return Changes(
        changed_registers(before.registers, now.registers),
        tuple(
            changed_in_queue(old_queues.get((queue.device, queue.index)), queue)
            for queue in now.queues
        ),
        tuple(changed_in_device(old_devices.get(device.name), device) for device in now.devices),
        changed_interrupts(before.interrupts, now.interrupts) if now.interrupts else frozenset(),
    )


def memory(session: Session, followed: str, before: MemoryState) -> MemoryState:
    """Linear memory at the value of an expression."""
    try:
        address = session.evaluate(followed) & (1 << 64) - 1
    except ToyvisorError as error:
        return MemoryState(followed, problem=error.message)
    start = max(address // _WIDTH - _BEFORE, 0) * _WIDTH
    rows = memory_rows(
        session.machine, start, _ROWS, linear=True, width=_WIDTH, program=session.program
    )
    return MemoryState(followed, address, rows, changed_bytes(before.rows, rows))


def chosen_queue(wishes: Wishes, now: Machinery, changed: Changes, before: Picture) -> int:
    """The queue that the user chose; or that changed last; or the first that is ready."""
    queues = now.queues
    for number, queue in enumerate(queues):
        if (queue.device, queue.index) == wishes.queue:
            return number
    if wishes.queue is None:
        found = _first_changed(changed.queues)
        if found is not None:
            return found
        if before.queue < len(queues) and queues[before.queue].ready:
            return before.queue
    return next((number for number, queue in enumerate(queues) if queue.ready), 0)


def chosen_device(wishes: Wishes, now: Machinery, changed: Changes, before: Picture) -> int:
    """The device that the user chose; or that changed last."""
    for number, device in enumerate(now.devices):
        if device.name == wishes.device:
            return number
    found = _first_changed(changed.devices)
    if found is not None:
        return found
    return before.device if before.device < len(now.devices) else 0


def _first_changed(changed: Sequence[frozenset[str]]) -> int | None:
    return next((number for number, names in enumerate(changed) if names), None)
