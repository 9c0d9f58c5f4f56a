"""What Linux's KVM counts of its own accord: exits, injections, emulations, sleeps.

Userspace sees an exit only if KVM_RUN returns. The others Linux counts by itself, and has a file
for the counters since 5.14: a header, a descriptor for each counter, and the data.
Source: Documentation/virt/kvm/api.rst, 4.133 KVM_GET_STATS_FD.
"""

from __future__ import annotations

import os
from struct import Struct, unpack

_HEADER = Struct("<6I")  # flags, name_size, num_desc, id_offset, desc_offset, data_offset
_DESCRIPTOR = Struct("<IhHII")  # flags, exponent, size, offset, bucket_size; then the name


class Stats:
    """The counters of one vCPU, by name: "exits", "mmio_exits", "irq_injections", ..."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        _, name_size, count, _, descriptors, self._data = _HEADER.unpack(
            os.pread(fd, _HEADER.size, 0)
        )
        size = _DESCRIPTOR.size + name_size
        table = os.pread(fd, size * count, descriptors)
        self._offsets: dict[str, int] = {}
        for at in range(0, len(table), size):
            _, _, numbers, offset, _ = _DESCRIPTOR.unpack_from(table, at)
            name = table[at + _DESCRIPTOR.size : at + size].rstrip(b"\0").decode()
            if numbers == 1:  # not a histogram
                self._offsets[name] = offset

    def read(self, name: str) -> int | None:
        """One counter; None if this kernel has none of that name."""
        offset = self._offsets.get(name)
        if offset is None:
            return None
        number: int = unpack("<Q", os.pread(self._fd, 8, self._data + offset))[0]
        return number

    def counted(self) -> dict[str, int]:
        """All counters that are not 0."""
        return {name: value for name in self._offsets if (value := self.read(name))}

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)
