"""Where the parts of a split virtqueue lie in guest RAM (VIRTIO 1.2, 2.7)."""

from __future__ import annotations

from dataclasses import dataclass

from toyvisor.memory import GuestMemory, GuestMemoryError
from toyvisor.trace.ledger import Ledger
from toyvisor.virtio import errors
from toyvisor.virtio.ring_memory import RingMemory


@dataclass(slots=True)
class QueueConfig:
    """What the driver wrote into a queue's registers; nothing of it is checked yet."""

    size: int = 0
    desc: int = 0  # the descriptor area: the descriptor table
    driver: int = 0  # the driver area: the available ring
    device: int = 0  # the device area: the used ring


def area_sizes(size: int) -> tuple[int, int, int]:
    """Bytes of descriptor table, available ring and used ring (2.7).

    Both rings end with two bytes that only VIRTIO_F_EVENT_IDX uses.
    """
    return 16 * size, 6 + 2 * size, 6 + 8 * size


def map_area(
    memory: GuestMemory, ledger: Ledger, part: str, address: int, length: int, alignment: int
) -> RingMemory:
    """Map one part of the queue, for as long as the queue is ready."""
    if address % alignment:
        raise errors.ALIGNMENT.broken(f"the {part} is at {address:#x}, not aligned to {alignment}")
    try:
        return RingMemory(address, memory.view(address, length), ledger)
    except GuestMemoryError as fault:
        raise errors.AREA_RANGE.broken(
            f"the {part}, {length} bytes at {address:#x}, is not all in RAM"
        ) from fault
