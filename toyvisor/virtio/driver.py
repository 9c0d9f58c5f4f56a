"""The driver's end of a split virtqueue, in Python: a test kit and an experiment tool.

It does with guest RAM what a guest's driver does with it (VIRTIO 1.2, 2.7.13 and 2.7.14),
instruction by instruction of the specification, without a guest. It is also how a test
plays a broken driver: every field of the rings can be written by hand.

Nothing here is counted: a real guest's stores to its own RAM cost no exit and no copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from toyvisor.memory import GuestMemory
from toyvisor.virtio.constants import AvailFlag, DescriptorFlag, Feature, UsedFlag
from toyvisor.virtio.layout import QueueConfig, area_sizes
from toyvisor.virtio.ring_memory import DESCRIPTOR

#: (guest-physical address, bytes)
Span = tuple[int, int]


class QueueFullError(Exception):
    """There are not enough free descriptors; reap some used buffers first."""


class UsedBuffer(NamedTuple):
    """A buffer that came back: its chain's head and how many bytes the device wrote."""

    head: int
    length: int


class DriverQueue:
    """A split virtqueue as its driver sees it, laid out in guest RAM from `base`.

    After the three parts comes room for an indirect table of `table_size` descriptors for
    each head, if that was negotiated. `end` is the first address that is not used.
    """

    def __init__(
        self,
        memory: GuestMemory,
        base: int,
        size: int,
        *,
        features: int = 0,
        start: int = 0,
        table_size: int = 16,
    ) -> None:
        desc_bytes, avail_bytes, used_bytes = area_sizes(size)
        self.memory = memory
        self.size = size
        self.table_size = table_size
        self.event_idx = bool(features & Feature.EVENT_IDX)
        self.indirect = bool(features & Feature.INDIRECT_DESC)
        self.desc = _align(base, 16)
        self.avail = _align(self.desc + desc_bytes, 2)
        self.used = _align(self.avail + avail_bytes, 4)
        self.tables = _align(self.used + used_bytes, 16)
        self.end = self.tables + (16 * table_size * size if self.indirect else 0)
        # Our own copies of what the device only reads: it can't lie to us about them.
        self.avail_idx = start
        self.last_used = start
        self._kicked_at = start
        self._free = list(range(size - 1, -1, -1))
        self._chains: dict[int, list[int]] = {}
        # "Allocate and zero the queue memory" (4.2.3.2); `start` is for a queue that ran before.
        memory.view(self.desc, self.tables - self.desc)[:] = bytes(self.tables - self.desc)
        if start:
            self.write_avail_idx(start)
            memory.write_u16(self.used + 2, start)
            self.want_interrupts(True)
            memory.write_u16(self.used + 4 + 8 * size, start)

    @property
    def config(self) -> QueueConfig:
        """What to write into the queue's registers."""
        return QueueConfig(self.size, self.desc, self.avail, self.used)

    # Making buffers available ---------------------------------------------------------

    def add_buffer(
        self,
        readable: Sequence[Span] = (),
        writable: Sequence[Span] = (),
        *,
        indirect: bool | None = None,
    ) -> int:
        """Place a buffer into the descriptor table and the available ring (steps 1 and 2).

        The device does not see it before `publish()`. `indirect` None: use an indirect table
        when it was negotiated and the chain has more than one element (and fits), as Linux does.
        Returns the head of the chain.
        """
        elements = [(span, 0) for span in readable]
        elements += [(span, int(DescriptorFlag.WRITE)) for span in writable]
        if not elements:
            raise ValueError("a buffer has at least one element (VIRTIO 1.2, 2.7.13.1)")
        if indirect is None:
            indirect = self.indirect and 1 < len(elements) <= self.table_size
        if indirect and len(elements) > self.table_size:
            raise ValueError(f"{len(elements)} elements in a table of {self.table_size}")
        needed = 1 if indirect else len(elements)
        if needed > len(self._free):
            raise QueueFullError(f"{needed} descriptors needed, {len(self._free)} free")
        indices = [self._free.pop() for _ in range(needed)]
        head = indices[0]
        if indirect:
            table = self.tables + 16 * self.table_size * head
            self._write_chain(table, list(range(len(elements))), elements)
            self.write_descriptor(head, table, 16 * len(elements), DescriptorFlag.INDIRECT)
        else:
            self._write_chain(self.desc, indices, elements)
        self._chains[head] = indices
        self.write_avail_entry(self.avail_idx, head)
        self.avail_idx = (self.avail_idx + 1) & 0xFFFF
        return head

    def publish(self) -> bool:
        """Store avail.idx: the buffers are the device's now (step 3). Returns kick_needed()."""
        self.write_avail_idx(self.avail_idx)
        return self.kick_needed()

    def kick_needed(self) -> bool:
        """Whether the device wants to be kicked for what was published (2.7.10.1)."""
        old, self._kicked_at = self._kicked_at, self.avail_idx
        new = self.avail_idx
        if self.event_idx:
            return (new - 1 - self.avail_event) & 0xFFFF < (new - old) & 0xFFFF
        return new != old and not self.memory.read_u16(self.used) & UsedFlag.NO_NOTIFY

    # Taking buffers back --------------------------------------------------------------

    def reap(self) -> list[UsedBuffer]:
        """Take back all used buffers (step 11) and free their descriptors."""
        used_idx = self.memory.read_u16(self.used + 2)
        buffers = []
        while self.last_used != used_idx:
            element = self.used + 4 + 8 * (self.last_used % self.size)
            head = self.memory.read_u32(element)
            buffers.append(UsedBuffer(head, self.memory.read_u32(element + 4)))
            # A driver must not trust its device either (Linux: "id %u is not a head!").
            self._free += reversed(self._chains.pop(head))
            self.last_used = (self.last_used + 1) & 0xFFFF
        return buffers

    def want_interrupts(self, wanted: bool) -> None:
        """Ask for used buffer notifications, or for none (2.7.7.1)."""
        if self.event_idx:
            # Not wanted: an index that was passed long ago, as Linux does it.
            event = self.last_used if wanted else (self.last_used - 1) & 0xFFFF
            self.write_used_event(event)
        else:
            self.write_avail_flags(0 if wanted else AvailFlag.NO_INTERRUPT)

    def want_interrupt_after(self, count: int) -> None:
        """With EVENT_IDX: one when `count` more are used (Linux: virtqueue_enable_cb_delayed)."""
        self.write_used_event((self.last_used + count - 1) & 0xFFFF)

    @property
    def more_used(self) -> bool:
        """Whether there is something to reap: look once more after want_interrupts() (2.7.14)."""
        return self.memory.read_u16(self.used + 2) != self.last_used

    @property
    def avail_event(self) -> int:
        """With EVENT_IDX: the available ring's entry that the device wants to be kicked for."""
        return self.memory.read_u16(self.used + 4 + 8 * self.size)

    @property
    def free_descriptors(self) -> int:
        """How many entries of the descriptor table are free."""
        return len(self._free)

    # By hand: what an honest driver does above, and a broken one does otherwise ---------

    def write_descriptor(
        self, index: int, addr: int, length: int, flags: int = 0, following: int = 0
    ) -> None:
        """Write one entry of the descriptor table."""
        self._store_descriptor(self.desc, index, addr, length, flags, following)

    def write_table(self, table: int, entries: Sequence[tuple[int, int, int, int]]) -> None:
        """Write descriptors (addr, len, flags, next) anywhere: an indirect table."""
        for index, entry in enumerate(entries):
            self._store_descriptor(table, index, *entry)

    def write_avail_flags(self, flags: int) -> None:
        """Write avail.flags."""
        self.memory.write_u16(self.avail, flags)

    def write_avail_idx(self, idx: int) -> None:
        """Write avail.idx."""
        self.memory.write_u16(self.avail + 2, idx & 0xFFFF)

    def write_avail_entry(self, idx: int, head: int) -> None:
        """Write the available ring's entry for the free-running index `idx`."""
        self.memory.write_u16(self.avail + 4 + 2 * (idx % self.size), head)

    def write_used_event(self, event: int) -> None:
        """Write used_event, at the end of the available ring."""
        self.memory.write_u16(self.avail + 4 + 2 * self.size, event)

    def make_available(self, head: int) -> None:
        """Publish a head whose descriptors were written by hand."""
        self.write_avail_entry(self.avail_idx, head)
        self.avail_idx = (self.avail_idx + 1) & 0xFFFF
        self.write_avail_idx(self.avail_idx)

    def _write_chain(
        self, table: int, indices: Sequence[int], elements: Sequence[tuple[Span, int]]
    ) -> None:
        for place, ((addr, length), flags) in enumerate(elements):
            last = place == len(elements) - 1
            following = 0 if last else indices[place + 1]
            flags = flags if last else flags | DescriptorFlag.NEXT
            self._store_descriptor(table, indices[place], addr, length, flags, following)

    def _store_descriptor(
        self, table: int, index: int, addr: int, length: int, flags: int, following: int
    ) -> None:
        entry = self.memory.view(table + 16 * index, 16)
        DESCRIPTOR.pack_into(entry, 0, addr, length, flags, following)


def _align(address: int, alignment: int) -> int:
    return -(-address // alignment) * alignment
