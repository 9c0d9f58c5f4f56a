"""Loads and stores on memory that the driver and the device share.

This is the one place where a device touches a ring, an indirect table or a request
header, so this is where it is counted: `ring_reads`, `ring_writes` and `ring_bytes` of the
ledger. None of it is a copy of data: a few control bytes are looked at where they are.

The driver may rewrite any byte at any time. So a value is loaded once, checked, and the
loaded value is used from then on; never is memory looked at a second time.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Any

from toyvisor.trace.ledger import Ledger

LE16 = Struct("<H")
#: struct virtq_desc {le64 addr; le32 len; le16 flags; le16 next} (VIRTIO 1.2, 2.7.5)
DESCRIPTOR = Struct("<QIHH")
#: struct virtq_used_elem {le32 id; le32 len} (VIRTIO 1.2, 2.7.8)
USED_ELEMENT = Struct("<II")


class RingMemory:
    """One area of guest RAM with a ring or a table in it, mapped once."""

    __slots__ = ("address", "ledger", "ram")

    def __init__(self, address: int, ram: memoryview, ledger: Ledger) -> None:
        self.address = address
        self.ram = ram
        self.ledger = ledger

    def load(self, form: Struct, offset: int) -> tuple[Any, ...]:
        """Read one structure."""
        ledger = self.ledger
        ledger.ring_reads += 1
        ledger.ring_bytes += form.size
        return form.unpack_from(self.ram, offset)

    def store(self, form: Struct, offset: int, *values: int) -> None:
        """Write one structure."""
        ledger = self.ledger
        ledger.ring_writes += 1
        ledger.ring_bytes += form.size
        form.pack_into(self.ram, offset, *values)


def load_header(ledger: Ledger, parts: Sequence[memoryview], length: int) -> bytes:
    """Look at the first `length` bytes of a buffer, however the driver cut it up (2.7.4.1).

    `length` is the device's number, never the guest's. Returns fewer bytes if the buffer
    is shorter. One read a part.
    """
    header = b""
    for part in parts:
        piece = bytes(part[: length - len(header)])
        ledger.ring_reads += 1
        ledger.ring_bytes += len(piece)
        header += piece
        if len(header) == length:
            break
    return header


def store_header(ledger: Ledger, parts: Sequence[memoryview], header: bytes) -> None:
    """Write a header to the beginning of a buffer that has room for it. One write a part."""
    start = 0
    for part in parts:
        piece = header[start : start + len(part)]
        part[: len(piece)] = piece
        ledger.ring_writes += 1
        ledger.ring_bytes += len(piece)
        start += len(piece)
        if start == len(header):
            break


def skip(parts: Sequence[memoryview], count: int) -> list[memoryview]:
    """The buffer without its first `count` bytes: windows on the same RAM, no copy."""
    rest = []
    for part in parts:
        if count >= len(part):
            count -= len(part)
        else:
            rest.append(part[count:] if count else part)
            count = 0
    return rest
