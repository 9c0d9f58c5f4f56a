"""The indices of the rings by name, read from where they are: `virtio_net.tx.avail.idx`.

A watch looks at them behind every instruction, so nothing else of a queue is looked at. Offsets in
the rings: VIRTIO 1.2, 2.7.6 (virtq_avail) and 2.7.8 (virtq_used).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from toyvisor.debug.expression_nodes import NoValueError
from toyvisor.debug.views.virtqueue import ring_of
from toyvisor.memory import GuestMemory
from toyvisor.qemu.machine import Machine
from toyvisor.qemu.virtio.device import QueueSlot, VirtioDevice
from toyvisor.qemu.virtio.mmio import VirtioMmio

_SHORT = {"tx": "transmitq", "rx": "receiveq"}


class _Field(NamedTuple):
    """A u16 of a ring: in the driver's area or the device's, and where there."""

    area: str
    offset: Callable[[int], int]  # by the queue's size


_FIELDS = {
    "avail.flags": _Field("driver", lambda _size: 0),
    "avail.idx": _Field("driver", lambda _size: 2),
    "used_event": _Field("driver", lambda size: 4 + 2 * size),
    "used.flags": _Field("device", lambda _size: 0),
    "used.idx": _Field("device", lambda _size: 2),
    "avail_event": _Field("device", lambda size: 4 + 8 * size),
}
#: Kept by the device, not in a ring.
_SETTINGS: dict[str, Callable[[VirtioDevice, QueueSlot], int]] = {
    "ready": lambda _device, slot: int(slot.ready),
    "size": lambda _device, slot: slot.config.size,
    "last_avail": lambda device, slot: _last_avail(device, slot),
}


def _last_avail(device: VirtioDevice, slot: QueueSlot) -> int:
    """Who serves the queue knows: QEMU, or vhost."""
    _, ring = ring_of(device, slot)
    return ring.last_avail if ring is not None else 0


def virtio_devices(machine: Machine) -> dict[str, VirtioMmio]:
    """The virtio devices by the names that expressions have for them."""
    return {
        name.replace("-", "_"): device
        for name, device in machine.devices.items()
        if isinstance(device, VirtioMmio)
    }


def ring_names(machine: Machine) -> Iterator[str]:
    """Every name that ring_value() knows."""
    devices = virtio_devices(machine)
    for name, device in devices.items():
        for slot in device.device.queues:
            short = next((s for s, long in _SHORT.items() if long == slot.name), slot.name)
            for field in (*_FIELDS, *_SETTINGS):
                yield f"{name}.{short}.{field}"
                if len(devices) == 1:
                    yield f"{short}.{field}"


def ring_value(machine: Machine, path: str) -> int | None:
    """The number of that name, in small letters; None if it is no name of a queue.

    `tx` and `rx` are transmitq and receiveq. The device may be left out if there is only one.
    Where the driver has not said yet where a ring is, its indices are 0, as they will be then.
    Raises NoValueError for a ring that is not in RAM.
    """
    devices = virtio_devices(machine)
    device, dot, rest = path.partition(".")
    if device not in devices:
        if len(devices) != 1:
            return None
        (device,), rest = devices, path
    queue, dot, field = rest.partition(".")
    wanted = _SHORT.get(queue, queue)
    for slot in devices[device].device.queues if dot else ():
        if slot.name == wanted and (field in _FIELDS or field in _SETTINGS):
            if field in _SETTINGS:
                return _SETTINGS[field](devices[device].device, slot)
            return _in_memory(slot, _FIELDS[field], machine.vm.memory)
    return None


def _in_memory(slot: QueueSlot, field: _Field, memory: GuestMemory) -> int:
    config = slot.config
    area: int = getattr(config, field.area)
    address = area + field.offset(config.size)
    if not area:
        return 0
    if not memory.contains(address, 2):
        raise NoValueError(f"{slot.name}'s ring, at {area:#x}, is not in RAM")
    return memory.read_u16(address)
