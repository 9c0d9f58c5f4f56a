"""Guest RAM, as everyone outside the guest shares it.

QEMU allocates it with mmap(), KVM maps it into the guest as memory slots, devices and the
vhost worker reach it by DMA. There is one copy of the bytes; everybody holds a view.

A guest-given address is checked here and only here, before anything is read, written or
allocated: `view()` either returns exactly the bytes asked for or raises.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct

from toyvisor.errors import GuestError

_U16, _U32, _U64 = Struct("<H"), Struct("<I"), Struct("<Q")
PAGE_SIZE = 4096


class GuestMemoryError(GuestError):
    """A guest-given span is not wholly inside one block of RAM."""

    def __init__(self, address: int, length: int) -> None:
        super().__init__(
            f"{length} bytes at {address:#x} are not wholly inside the guest's RAM",
            rule="memory.range",
        )
        self.address = address
        self.length = length


class GuestMemory:
    """The RAM blocks of one machine, by guest-physical address (GPA)."""

    __slots__ = ("_blocks", "code_pages", "on_code_written")

    def __init__(self) -> None:
        self._blocks: list[tuple[int, int, memoryview]] = []
        #: Pages (GPA >> 12) that the processor has translated code from.
        self.code_pages: set[int] = set()
        #: Called when a device may have written to one of them: they are to be translated anew.
        self.on_code_written: Callable[[], None] | None = None

    def add(self, base: int, ram: memoryview) -> None:
        """Add a block: `ram` (a writable byte view) appears at `base`."""
        self._blocks.append((base, base + len(ram), ram))
        self._blocks.sort(key=lambda block: block[0])

    @property
    def blocks(self) -> list[tuple[int, int, memoryview]]:
        """(first GPA, GPA after the last, bytes), sorted."""
        return self._blocks

    def contains(self, address: int, length: int) -> bool:
        """Whether `length` bytes from `address` lie inside one block of RAM."""
        for start, end, _ in self._blocks:  # noqa: SIM110 (any() costs twice as much)
            if start <= address and address + length <= end:
                return True
        return False

    def view(self, address: int, length: int) -> memoryview:
        """A writable window on guest RAM; no copy. Raises GuestMemoryError."""
        for start, end, ram in self._blocks:
            if start <= address and address + length <= end:
                return ram[address - start : address - start + length]
        raise GuestMemoryError(address, length)

    def dma_view(self, address: int, length: int) -> memoryview:
        """The window that a device is to write to. Raises GuestMemoryError."""
        found = self.view(address, length)
        pages = range(address >> 12, (address + length - 1 >> 12) + 1)
        few, many = (pages, self.code_pages) if len(pages) < len(self.code_pages) else (
            self.code_pages, pages
        )  # fmt: skip
        if self.on_code_written is not None and any(page in many for page in few):
            self.on_code_written()
        return found

    def read_u16(self, address: int) -> int:
        """Load a little-endian u16."""
        return int(_U16.unpack(self.view(address, 2))[0])

    def read_u32(self, address: int) -> int:
        """Load a little-endian u32."""
        return int(_U32.unpack(self.view(address, 4))[0])

    def read_u64(self, address: int) -> int:
        """Load a little-endian u64."""
        for start, end, ram in self._blocks:
            if start <= address and address + 8 <= end:
                value: int = _U64.unpack_from(ram, address - start)[0]
                return value
        raise GuestMemoryError(address, 8)

    def write_u16(self, address: int, value: int) -> None:
        """Store a little-endian u16."""
        _U16.pack_into(self.view(address, 2), 0, value)

    def write_u32(self, address: int, value: int) -> None:
        """Store a little-endian u32."""
        _U32.pack_into(self.view(address, 4), 0, value)

    def write_u64(self, address: int, value: int) -> None:
        """Store a little-endian u64."""
        _U64.pack_into(self.view(address, 8), 0, value)
