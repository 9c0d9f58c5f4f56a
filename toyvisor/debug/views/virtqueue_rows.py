"""A split virtqueue as data (VIRTIO 1.2, 2.7): what lies in guest RAM, and who owns what."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Owner(StrEnum):
    """Who may touch a descriptor or a slot now, and where it is on its trip."""

    FREE = "driver: free"
    AVAILABLE = "device: available, not yet taken"
    IN_FLIGHT = "device: in flight"
    PUBLISHING = "device: done, not yet published"
    USED = "driver: used, not yet seen"
    NOBODY = ""  # a slot of a ring that was never used

    @property
    def side(self) -> str:
        """`driver`, `device`, or nobody."""
        return self.value.partition(":")[0]

    @property
    def mark(self) -> str:
        """One letter, for narrow tables."""
        return _MARKS[self]


_MARKS = {
    Owner.FREE: "F", Owner.AVAILABLE: "A", Owner.IN_FLIGHT: "I", Owner.PUBLISHING: "P",
    Owner.USED: "U", Owner.NOBODY: " ",
}  # fmt: skip


class DescriptorRow(NamedTuple):
    """struct virtq_desc (2.7.5). `head` begins the chain that it is in.

    `indirect`: the rows of the table that it names (2.7.5.3), as far as they are shown.
    `is_inferred`: the owner can't be known for sure.
    """

    index: int  # type: ignore[assignment]  # the name of tuple's method, too
    addr: int
    length: int
    flags: int
    next: int
    flag_names: str
    owner: Owner
    is_inferred: bool
    head: int | None
    is_buffer_in_ram: bool
    indirect: tuple[DescriptorRow, ...] = ()


class AvailEntry(NamedTuple):
    """A slot of the available ring. `position`: the index with which it was published."""

    slot: int
    head: int
    position: int | None
    owner: Owner
    is_next_for_driver: bool
    is_next_for_device: bool


class AvailRing(NamedTuple):
    """struct virtq_avail (2.7.6). `used_event` None: not with this driver."""

    flags: int
    flag_names: str
    idx: int
    entries: tuple[AvailEntry, ...]
    used_event: int | None


class UsedEntry(NamedTuple):
    """struct virtq_used_elem (2.7.8) in its slot."""

    slot: int
    id: int
    length: int
    position: int | None
    owner: Owner
    is_inferred: bool
    is_next_for_device: bool
    is_next_for_driver: bool


class UsedRing(NamedTuple):
    """struct virtq_used (2.7.8). `avail_event` None: not with this driver."""

    flags: int
    flag_names: str
    idx: int
    entries: tuple[UsedEntry, ...]
    avail_event: int | None


class DeviceState(NamedTuple):
    """What the device keeps to itself; all None if there is no device at the queue."""

    last_avail: int | None = None
    avail_idx: int | None = None
    used_idx: int | None = None
    filled: int | None = None
    in_flight: int | None = None
    wants_kick: bool | None = None
    is_running: bool | None = None


class DriverSeen(NamedTuple):
    """How far the driver has come in the used ring, at least, as far as guest RAM shows it."""

    position: int | None = None
    is_inferred: bool = True
    how: str = ""


class Chain(NamedTuple):
    """A buffer on its trip: the descriptors of the main table that it is made of.

    `problem` is why a device would refuse it. `indirect_of` is the descriptor that names its
    indirect table.
    """

    head: int
    indices: tuple[int, ...]
    owner: Owner
    is_inferred: bool
    readable: int
    writable: int
    problem: str = ""
    indirect_of: int | None = None


class VirtqueueView(NamedTuple):
    """One queue at one moment."""

    device: str
    name: str
    index: int  # type: ignore[assignment]  # the name of tuple's method, too
    size: int
    max_size: int
    ready: bool
    served_by: str
    event_idx: bool
    indirect: bool
    desc_address: int
    avail_address: int
    used_address: int
    problem: str
    descriptors: tuple[DescriptorRow, ...]
    avail: AvailRing
    used: UsedRing
    device_state: DeviceState
    driver_seen: DriverSeen
    chains: tuple[Chain, ...]
