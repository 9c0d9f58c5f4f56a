"""The three parts of a split virtqueue as they lie in guest RAM, read without a trace of it."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from toyvisor.memory import GuestMemory
from toyvisor.virtio.constants import DescriptorFlag
from toyvisor.virtio.layout import QueueConfig, area_sizes
from toyvisor.virtio.ring_memory import DESCRIPTOR, LE16, USED_ELEMENT

_NEXT, _WRITE, _INDIRECT = (
    int(flag) for flag in (DescriptorFlag.NEXT, DescriptorFlag.WRITE, DescriptorFlag.INDIRECT)
)
_ENTRY = DESCRIPTOR.size
#: Of an indirect table so many rows are looked at.
_MOST_INDIRECT = 64


class RawDescriptor(NamedTuple):
    """struct virtq_desc."""

    addr: int
    length: int
    flags: int
    next: int

    @property
    def flag_names(self) -> str:
        """`NEXT|WRITE`; bits that mean nothing in hexadecimal."""
        return _flag_names(self.flags)


@cache
def _flag_names(flags: int) -> str:
    names = [flag.name or "" for flag in DescriptorFlag if flags & flag]
    unknown = flags & ~(_NEXT | _WRITE | _INDIRECT)
    return "|".join([*names, *([f"{unknown:#x}"] if unknown else [])])


class RawRings(NamedTuple):
    """All numbers of a queue. A part that is not in RAM is empty, and `problem` says so."""

    size: int
    descriptors: tuple[RawDescriptor, ...] = ()
    avail_flags: int = 0
    avail_idx: int = 0
    avail_ring: tuple[int, ...] = ()
    used_event: int = 0
    used_flags: int = 0
    used_idx: int = 0
    used_ring: tuple[tuple[int, int], ...] = ()
    avail_event: int = 0
    problem: str = ""


class RawChain(NamedTuple):
    """A chain followed from its head: (index in its table, descriptor); `problem`: how it breaks.

    `indices` are those of the main table.
    """

    indices: tuple[int, ...]
    buffers: tuple[RawDescriptor, ...]
    problem: str
    indirect_of: int | None

    @property
    def readable(self) -> int:
        """Bytes for the device to read."""
        return sum(d.length for d in self.buffers if not d.flags & _WRITE)

    @property
    def writable(self) -> int:
        """Bytes for the device to write."""
        return sum(d.length for d in self.buffers if d.flags & _WRITE)


def read_rings(memory: GuestMemory, config: QueueConfig, max_size: int) -> RawRings:
    """The rings where a driver says that they are; nothing is read for a size there can't be."""
    size = config.size
    if not 0 < size <= max_size or size & (size - 1):
        what = "has no size yet" if not size else f"has size {size}, which there can't be"
        return RawRings(0, problem=f"the queue {what}")
    missing = []
    spans = zip(
        ("descriptor table", "available ring", "used ring"),
        (config.desc, config.driver, config.device),
        area_sizes(size),
        strict=True,
    )
    parts = []
    for name, address, length in spans:
        is_there = memory.contains(address, length)
        parts.append(bytes(memory.view(address, length)) if is_there else b"")
        if not is_there:
            missing.append(name)
    desc, avail, used = parts
    found = RawRings(size, tuple(map(RawDescriptor._make, DESCRIPTOR.iter_unpack(desc))))
    if avail:
        flags, idx, *ring, event = (value for (value,) in LE16.iter_unpack(avail))
        found = found._replace(
            avail_flags=flags, avail_idx=idx, avail_ring=tuple(ring), used_event=event
        )
    if used:
        found = found._replace(
            used_flags=LE16.unpack_from(used, 0)[0],
            used_idx=LE16.unpack_from(used, 2)[0],
            used_ring=tuple(USED_ELEMENT.iter_unpack(used[4 : 4 + 8 * size])),
            avail_event=LE16.unpack_from(used, 4 + 8 * size)[0],
        )
    if missing:
        found = found._replace(problem=f"not in RAM: {', '.join(missing)}")
    return found


def indirect_rows(memory: GuestMemory, of: RawDescriptor) -> tuple[RawDescriptor, ...]:
    """The table that a descriptor with INDIRECT names, or the beginning of it."""
    length = min(of.length // _ENTRY, _MOST_INDIRECT) * _ENTRY
    if not length or not memory.contains(of.addr, length):
        return ()
    return tuple(map(RawDescriptor._make, DESCRIPTOR.iter_unpack(memory.view(of.addr, length))))


def follow(memory: GuestMemory, rings: RawRings, head: int) -> RawChain:
    """Follow a chain as a device does (split_queue.py), up to its end or its first mistake."""
    table, indices, buffers = rings.descriptors, list[int](), list[RawDescriptor]()
    seen: set[int] = set()
    indirect_of, index = None, head
    while True:
        if index >= len(table):
            problem = f"{'head' if index == head else 'next'} {index} is beyond the table"
            break
        if index in seen:
            problem = f"loops back to {index}"
            break
        seen.add(index)
        here = table[index]
        if indirect_of is None:
            indices.append(index)
        if here.flags & _INDIRECT:
            if indirect_of is not None:
                problem = "an indirect table in an indirect table"
                break
            indirect_of = index
            table, seen, index = indirect_rows(memory, here), set(), 0
            if not table:
                problem = "its indirect table is empty, or not in RAM"
                break
            continue
        buffers.append(here)
        if not memory.contains(here.addr, here.length):
            problem = f"descriptor {index}: the buffer is not in RAM"
            break
        if not here.length:
            problem = f"descriptor {index}: the buffer has no bytes"
            break
        if not here.flags & _NEXT:
            problem = ""
            break
        index = here.next
    return RawChain(tuple(indices), tuple(buffers), problem, indirect_of)
