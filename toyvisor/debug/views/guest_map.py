"""What lies at an address of guest RAM: which field of which ring, which gate, which label."""

from __future__ import annotations

from typing import NamedTuple

from toyvisor.debug.views.labels import labels_of
from toyvisor.debug.views.vector_table import VectorTable
from toyvisor.debug.views.virtqueue import virtio_devices
from toyvisor.guest.program import Program
from toyvisor.modes import CpuMode
from toyvisor.qemu.frame_table import FRAME_ENTRY, FRAME_TABLE, FRAME_TABLE_HEADER
from toyvisor.qemu.machine import Machine
from toyvisor.qemu.virtio.device import QueueSlot
from toyvisor.virtio.layout import area_sizes

_DESCRIPTOR_FIELDS = ((0, 8, "addr"), (8, 12, "len"), (12, 14, "flags"), (14, 16, "next"))
_GATE_SIZES = {CpuMode.REAL: 4, CpuMode.PROTECTED: 8, CpuMode.LONG: 16}


class RamPlace(NamedTuple):
    """`text` is for people; `field` names a field of a ring, in the words of ring_fields.

    `field`: desc.addr, desc.len, desc.flags, desc.next, avail.flags, avail.idx, avail.ring,
    used_event, used.flags, used.idx, used.ring, avail_event; or "".
    """

    text: str
    field: str = ""
    queue: str = ""
    index: int = 0  # type: ignore[assignment]  # the name of tuple's method, too


NOTHING = RamPlace("")


def place_in_ram(machine: Machine, program: Program, address: int) -> RamPlace:
    """What is at a guest-physical address of RAM, as far as anybody has told us."""
    for device in virtio_devices(machine):
        for slot in device.queues:
            found = _in_queue(slot, address)
            if found is not None:
                return found
    return (
        _in_vector_table(machine, address)
        or _in_frame_table(machine, program, address)
        or RamPlace(labels_of(program).name_of(address))
    )


def _in_queue(slot: QueueSlot, address: int) -> RamPlace | None:
    config, name = slot.config, slot.name
    size = config.size
    if not 0 < size <= slot.max_size or size & (size - 1):
        return None
    desc, avail, used = area_sizes(size)
    if config.desc and 0 <= (at := address - config.desc) < desc:
        number, offset = divmod(at, 16)
        field = next(text for first, after, text in _DESCRIPTOR_FIELDS if first <= offset < after)
        return RamPlace(f"{field} of descriptor {number}, {name}", f"desc.{field}", name, number)
    if config.driver and 0 <= (at := address - config.driver) < avail:
        return _in_ring("avail", at, 2, size, name)
    if config.device and 0 <= (at := address - config.device) < used:
        return _in_ring("used", at, 8, size, name)
    return None


def _in_ring(ring: str, at: int, entry: int, size: int, queue: str) -> RamPlace:
    """Both rings begin and end alike (2.7.6, 2.7.8)."""
    if at < 4:
        field = f"{ring}.{'flags' if at < 2 else 'idx'}"
        return RamPlace(f"{field} of {queue}", field, queue)
    slot, offset = divmod(at - 4, entry)
    if slot >= size:
        field = "used_event" if ring == "avail" else "avail_event"
        return RamPlace(f"{field} of {queue}", field, queue)
    part = "" if ring == "avail" else ".id" if offset < 4 else ".len"
    return RamPlace(f"{ring}.ring[{slot}]{part} of {queue}", f"{ring}.ring", queue, slot)


def _in_vector_table(machine: Machine, address: int) -> RamPlace | None:
    table = VectorTable(machine)
    at = address - table.base
    if not table.limit or not 0 <= at <= table.limit:
        return None
    vector = at // _GATE_SIZES[table.mode]
    name = table.name_of(vector)
    return RamPlace(f"vector {vector:#x} of the {table.name}" + (f", {name}" if name else ""))


def _in_frame_table(machine: Machine, program: Program, address: int) -> RamPlace | None:
    """The frames to send, which QEMU has put into RAM (frame_table.py)."""
    at = address - FRAME_TABLE
    if not machine.frames_given or at < 0:
        return None
    if at < FRAME_TABLE_HEADER:
        what = "number of frames" if at < 4 else "bytes of all frames" if at < 8 else "nothing"
        return RamPlace(f"frame table: {what}")
    number, offset = divmod(at - FRAME_TABLE_HEADER, FRAME_ENTRY)
    if number < machine.frames_given:
        what = "address" if offset < 8 else "length"
        return RamPlace(f"frame table: {what} of frame {number}")
    return _in_frame(machine, address)


def _in_frame(machine: Machine, address: int) -> RamPlace | None:
    memory = machine.vm.memory
    for number in range(machine.frames_given):
        entry = FRAME_TABLE + FRAME_TABLE_HEADER + number * FRAME_ENTRY
        if not memory.contains(entry, FRAME_ENTRY):
            return None
        start, length = memory.read_u64(entry), memory.read_u32(entry + 8)
        if start <= address < start + length:
            return RamPlace(f"byte {address - start} of frame {number}")
    return None
