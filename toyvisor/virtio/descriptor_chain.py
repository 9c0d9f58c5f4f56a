"""A chain of descriptors as the device has it in hand (VIRTIO 1.2, 2.7.5)."""

from __future__ import annotations


class DescriptorChain:
    """One buffer the driver made available: windows on guest RAM, checked.

    `readable` are read-only windows (2.7.5.1: a device MUST NOT write to them).
    """

    __slots__ = ("head", "readable", "writable")

    def __init__(self, head: int, readable: list[memoryview], writable: list[memoryview]) -> None:
        self.head = head
        self.readable = readable
        self.writable = writable

    @property
    def readable_length(self) -> int:
        """Bytes the device may read."""
        return sum(map(len, self.readable))

    @property
    def writable_length(self) -> int:
        """Bytes the device may write."""
        return sum(map(len, self.writable))
