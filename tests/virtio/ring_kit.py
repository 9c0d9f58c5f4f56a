"""A ring in 1 MiB of guest RAM with both of its ends, and something to measure with."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

from toyvisor.memory import GuestMemory
from toyvisor.trace.events import Trace
from toyvisor.trace.ledger import Ledger
from toyvisor.virtio.constants import Feature
from toyvisor.virtio.driver import DriverQueue
from toyvisor.virtio.split_queue import SplitQueue

RAM = 1 << 20
#: a second block of RAM after a hole, as above the PCI window of a PC
HIGH_BASE, HIGH = 1 << 21, 1 << 16
RINGS, DATA = 0x1000, 0x80000

PLAIN = 0
INDIRECT = int(Feature.INDIRECT_DESC)
EVENT_IDX = int(Feature.EVENT_IDX)
ALL_OPTIONS = {
    "plain": PLAIN,
    "indirect": INDIRECT,
    "event_idx": EVENT_IDX,
    "indirect+event_idx": INDIRECT | EVENT_IDX,
}


class Ring:
    def __init__(self, size: int = 8, features: int = PLAIN, *, base: int = 0, ram: int = RAM):
        self.memory = GuestMemory()
        self.memory.add(0, memoryview(bytearray(ram)))
        self.memory.add(max(HIGH_BASE, 2 * ram), memoryview(bytearray(HIGH)))
        self.ledger = Ledger(Trace())
        self.driver = DriverQueue(self.memory, RINGS, size, features=features, start=base)
        self.queue = SplitQueue(
            "q", self.driver.config, self.memory, self.ledger, features=features, base=base
        )

    def put(self, address: int, data: bytes) -> tuple[int, int]:
        self.memory.view(address, len(data))[:] = data
        return address, len(data)

    @property
    def used_idx(self) -> int:
        return self.memory.read_u16(self.driver.used + 2)

    @property
    def used_flags(self) -> int:
        return self.memory.read_u16(self.driver.used)

    @property
    def avail_event(self) -> int:
        return self.memory.read_u16(self.driver.used + 4 + 8 * self.driver.size)

    def used_element(self, slot: int) -> tuple[int, int]:
        element = self.driver.used + 4 + 8 * slot
        return self.memory.read_u32(element), self.memory.read_u32(element + 4)


@contextmanager
def little_memory(limit: int = 256 << 10) -> Iterator[None]:
    """Fail if more than `limit` bytes were allocated at any time inside."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < limit, f"{peak} bytes allocated"
