"""The virtqueues of all virtio devices, whoever serves them: QEMU or vhost.

Guest memory may hold anything: what can't be shown is said in `problem`, and nothing is raised.
"""

from __future__ import annotations

from collections.abc import Iterator

from toyvisor.debug.views.ring_in_ram import (
    RawDescriptor,
    RawRings,
    follow,
    indirect_rows,
    read_rings,
)
from toyvisor.debug.views.virtqueue_owners import Positions, driver_seen, heads
from toyvisor.debug.views.virtqueue_rows import AvailEntry as AvailEntry
from toyvisor.debug.views.virtqueue_rows import AvailRing as AvailRing
from toyvisor.debug.views.virtqueue_rows import Chain as Chain
from toyvisor.debug.views.virtqueue_rows import DescriptorRow as DescriptorRow
from toyvisor.debug.views.virtqueue_rows import DeviceState as DeviceState
from toyvisor.debug.views.virtqueue_rows import DriverSeen as DriverSeen
from toyvisor.debug.views.virtqueue_rows import Owner as Owner
from toyvisor.debug.views.virtqueue_rows import UsedEntry as UsedEntry
from toyvisor.debug.views.virtqueue_rows import UsedRing as UsedRing
from toyvisor.debug.views.virtqueue_rows import VirtqueueView as VirtqueueView
from toyvisor.memory import GuestMemory
from toyvisor.qemu.machine import Machine
from toyvisor.qemu.virtio.device import QueueSlot, VirtioDevice
from toyvisor.qemu.virtio.mmio import VirtioMmio
from toyvisor.qemu.virtio.vhost import VhostNetService
from toyvisor.virtio.constants import AvailFlag, DescriptorFlag, Feature, UsedFlag
from toyvisor.virtio.split_queue import SplitQueue

_MASK = 0xFFFF
_INDIRECT = int(DescriptorFlag.INDIRECT)


def virtqueues(machine: Machine) -> tuple[VirtqueueView, ...]:
    """All queues of all virtio devices, ready or not."""
    memory = machine.vm.memory
    return tuple(
        _Look(memory, device, slot).view()
        for device in virtio_devices(machine)
        for slot in device.queues
    )


def virtqueue(machine: Machine, device: str, index: int) -> VirtqueueView | None:
    """One queue; None if there is no such device or queue."""
    for found in virtio_devices(machine):
        if found.name == device and 0 <= index < len(found.queues):
            return _Look(machine.vm.memory, found, found.queues[index]).view()
    return None


def virtio_devices(machine: Machine) -> Iterator[VirtioDevice]:
    """The devices that have virtqueues."""
    for transport in machine.devices.values():
        if isinstance(transport, VirtioMmio):
            yield transport.device


def ring_of(device: VirtioDevice, slot: QueueSlot) -> tuple[str, SplitQueue | None]:
    """Who serves a queue (`QEMU`, `vhost`, or nobody), and its end of the ring."""
    service = device.queue_service
    if isinstance(service, VhostNetService) and service.started:
        ring = service.vhost.queues[slot.index].ring
        return ("vhost" if ring is not None else ""), ring
    if slot.ring is None or not device.live:
        return "", slot.ring
    return "QEMU", slot.ring


class _Look:
    """One look at one queue."""

    def __init__(self, memory: GuestMemory, device: VirtioDevice, slot: QueueSlot) -> None:
        self._memory = memory
        self._device = device
        self._slot = slot
        self._served_by, self._ring = ring_of(device, slot)
        self._rings: RawRings = read_rings(memory, slot.config, slot.max_size)
        self._event_idx = bool(device.accepted & Feature.EVENT_IDX)
        self._problem = self._rings.problem
        self._at = self._positions()
        self._seen = driver_seen(self._rings, self._at)

    def _positions(self) -> Positions:
        rings = self._rings
        if self._ring is None:  # nobody is there: only what the driver sees is known
            at = Positions(rings.used_idx, rings.used_idx, rings.used_idx, 0, rings.avail_idx)
            if not self._slot.ready:
                return at._replace(given=at.taken)
        else:
            of = self._ring.state
            at = Positions(
                of.used_idx,
                of.used_idx + of.filled & _MASK,
                of.last_avail,
                of.in_flight,
                rings.avail_idx,
            )
        ahead = at.given - at.taken & _MASK
        if ahead > rings.size and rings.avail_ring:
            self._problem = self._problem or (
                f"avail.idx is {at.given}, the device stands at {at.taken}: {ahead} new entries in "
                f"a ring of {rings.size}"
            )
            at = at._replace(given=at.taken)
        return at

    def view(self) -> VirtqueueView:
        device, slot, rings = self._device, self._slot, self._rings
        chains = self._chains()
        return VirtqueueView(
            device.name, slot.name, slot.index, rings.size, slot.max_size, slot.ready,
            self._served_by, self._event_idx, bool(device.accepted & Feature.INDIRECT_DESC),
            slot.config.desc, slot.config.driver, slot.config.device, self._problem,
            self._descriptors(chains), self._avail(), self._used(), self._device_state(),
            self._seen, chains,
        )  # fmt: skip

    def _device_state(self) -> DeviceState:
        if self._ring is None:
            return DeviceState()
        of = self._ring.state
        return DeviceState(
            of.last_avail, of.avail_idx, of.used_idx, of.filled, of.in_flight, of.wants_kick,
            of.is_running,
        )  # fmt: skip

    # Chains and descriptors ----------------------------------------------------------------

    def _chains(self) -> tuple[Chain, ...]:
        """Of all that is not free; what the driver makes of the others nobody can know."""
        if not self._slot.ready:
            return ()
        is_guessed = self._ring is None
        found = []
        for owner, head in heads(self._rings, self._at, self._seen.position).in_order():
            raw = follow(self._memory, self._rings, head)
            is_inferred = is_guessed or (owner is Owner.USED and self._seen.is_inferred)
            found.append(
                Chain(
                    head, raw.indices, owner, is_inferred, raw.readable, raw.writable,
                    raw.problem, raw.indirect_of,
                )
            )  # fmt: skip
        return tuple(found)

    def _descriptors(self, chains: tuple[Chain, ...]) -> tuple[DescriptorRow, ...]:
        """What the driver has given again counts more than that it has been given back once."""
        of: dict[int, Chain] = {}
        for chain in chains:
            for index in chain.indices:
                of[index] = chain
        return tuple(
            self._descriptor(index, raw, of.get(index))
            for index, raw in enumerate(self._rings.descriptors)
        )

    def _descriptor(self, index: int, raw: RawDescriptor, chain: Chain | None) -> DescriptorRow:
        owner = chain.owner if chain is not None else Owner.FREE
        table: tuple[RawDescriptor, ...] = ()
        if raw.flags & _INDIRECT and chain is not None:
            table = indirect_rows(self._memory, raw)
        is_inferred = chain is not None and chain.is_inferred
        head = chain.head if chain is not None else None
        rows = tuple(self._row(n, one, owner, is_inferred, head) for n, one in enumerate(table))
        return self._row(index, raw, owner, is_inferred, head)._replace(indirect=rows)

    def _row(
        self, index: int, raw: RawDescriptor, owner: Owner, is_inferred: bool, head: int | None
    ) -> DescriptorRow:
        is_in_ram = self._memory.contains(raw.addr, raw.length)
        return DescriptorRow(
            index, raw.addr, raw.length, raw.flags, raw.next, raw.flag_names, owner, is_inferred,
            head, is_in_ram,
        )  # fmt: skip

    # Rings -------------------------------------------------------------------------------------

    def _avail(self) -> AvailRing:
        rings, at = self._rings, self._at
        entries = []
        for slot, head in enumerate(rings.avail_ring):
            position = _last_in(slot, rings.avail_idx, rings.size)
            entries.append(
                AvailEntry(
                    slot,
                    head,
                    position,
                    self._owner_of_avail(position, head),
                    slot == rings.avail_idx & rings.size - 1,
                    self._ring is not None and slot == at.taken & rings.size - 1,
                )
            )
        names = _names(AvailFlag, rings.avail_flags)
        event = rings.used_event if self._event_idx else None
        return AvailRing(rings.avail_flags, names, rings.avail_idx, tuple(entries), event)

    def _owner_of_avail(self, position: int | None, head: int) -> Owner:
        """The slot is the device's until it has taken it; its buffer even longer."""
        if position is None:
            return Owner.FREE if head else Owner.NOBODY
        at = self._at
        if not self._slot.ready:
            return Owner.FREE
        if at.given - 1 - position & _MASK < (at.given - at.taken & _MASK):
            return Owner.AVAILABLE
        if at.taken - 1 - position & _MASK < at.in_flight:
            return Owner.IN_FLIGHT
        return Owner.FREE

    def _used(self) -> UsedRing:
        rings, at = self._rings, self._at
        entries = []
        for slot, (number, length) in enumerate(rings.used_ring):
            position = _last_in(slot, at.done, rings.size)
            if position is not None and at.done < rings.size and position >= at.done:
                position = None
            owner = self._owner_of_used(position, number, length)
            entries.append(
                UsedEntry(
                    slot,
                    number,
                    length,
                    position,
                    owner,
                    owner is Owner.USED and self._seen.is_inferred,
                    self._ring is not None and slot == at.done & rings.size - 1,
                    self._seen.position is not None
                    and slot == self._seen.position & rings.size - 1,
                )
            )
        names = _names(UsedFlag, rings.used_flags)
        event = rings.avail_event if self._event_idx else None
        return UsedRing(rings.used_flags, names, rings.used_idx, tuple(entries), event)

    def _owner_of_used(self, position: int | None, number: int, length: int) -> Owner:
        if position is None:
            return Owner.FREE if number or length else Owner.NOBODY
        at, seen = self._at, self._seen.position
        if at.done - 1 - position & _MASK < (at.done - at.used & _MASK):
            return Owner.PUBLISHING
        unseen = at.used - seen & _MASK if seen is not None else 0
        return Owner.USED if at.used - 1 - position & _MASK < unseen else Owner.FREE


def changed_in_queue(before: VirtqueueView | None, now: VirtqueueView) -> frozenset[str]:
    """What is not as it was: `desc[3]`, `owner[3]`, `avail.idx`, `used.ring[2]`, `last_avail`."""
    if before is None:
        return frozenset()
    old = dict(_parts(before))
    return frozenset(name for name, value in _parts(now) if name in old and old[name] != value)


def _parts(view: VirtqueueView) -> Iterator[tuple[str, object]]:
    yield "ready", view.ready
    yield "size", view.size
    yield "served_by", view.served_by
    for row in view.descriptors:
        yield f"desc[{row.index}]", (row.addr, row.length, row.flags, row.next)
        yield f"owner[{row.index}]", row.owner
    yield "avail.flags", view.avail.flags
    yield "avail.idx", view.avail.idx
    yield "used_event", view.avail.used_event
    for entry in view.avail.entries:
        yield f"avail.ring[{entry.slot}]", entry.head
    yield "used.flags", view.used.flags
    yield "used.idx", view.used.idx
    yield "avail_event", view.used.avail_event
    for element in view.used.entries:
        yield f"used.ring[{element.slot}]", (element.id, element.length)
    yield from view.device_state._asdict().items()
    yield "driver_seen", view.driver_seen.position


def _last_in(slot: int, idx: int, size: int) -> int | None:
    """The last position before `idx` that is in a slot; None if the first lap has not come there.

    After 65536 entries the indices begin anew; then nothing in the first lap is taken for used.
    """
    behind = idx - 1 - slot & size - 1
    position = idx - 1 - behind
    return position if position >= 0 else None


def _names(kind: type[AvailFlag] | type[UsedFlag], flags: int) -> str:
    names = [flag.name or "" for flag in kind if flags & flag]
    rest = flags & ~sum(kind)
    return "|".join([*names, *([f"{rest:#x}"] if rest else [])])
