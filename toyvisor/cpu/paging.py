"""From linear to guest-physical addresses, by walking the guest's own page tables.

Intel SDM vol. 3, chapter 5 (paging): 32-bit, PAE and 4-level. `translate()` only looks;
`access()` does what the processor does, with rights, accessed and dirty bits, and a page
fault's error code. Neither fills a TLB. Unicorn has a function for the first too, but
calling it in the middle of an exit can evict the very TLB entry that the suspended access
stands on.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from toyvisor.memory import GuestMemory
from toyvisor.modes import CR0_PG, EFER_LMA

_PRESENT, _WRITABLE, _USER, _ACCESSED, _DIRTY, _LARGE = (1 << n for n in (0, 1, 2, 5, 6, 7))
_ADDRESS = 0x000F_FFFF_FFFF_F000
_PAT_OF_LARGE, _NO_EXECUTE = 1 << 12, 1 << 63
#: Reserved bits: beyond the 40 of a physical address (see CPUID 0x80000008), and in PAE's
#: tables all the rest.
_RESERVED, _RESERVED_IN_PAE = 0x000F_FF00_0000_0000, 0x7FFF_FF00_0000_0000
CR0_WP = 1 << 16
CR4_PSE, CR4_PAE = 1 << 4, 1 << 5
EFER_NXE = 1 << 11

#: A page fault's error code (SDM vol. 3, 5.7).
PF_PRESENT, PF_WRITE, PF_USER, PF_RESERVED = 1 << 0, 1 << 1, 1 << 2, 1 << 3


class PagingRegisters(NamedTuple):
    """The registers that say how addresses are translated."""

    cr0: int
    cr3: int
    cr4: int
    efer: int


class PageFault(Exception):  # noqa: N818 (its name in every manual)
    """The page is not there, or not for this access.

    `table`: where a table entry should be, but there is no RAM.
    """

    def __init__(self, linear: int, error_code: int, table: int | None = None) -> None:
        super().__init__(f"page fault at {linear:#x}, error code {error_code:#x}")
        self.linear = linear
        self.error_code = error_code
        self.table = table


def is_canonical(linear: int) -> bool:
    """Whether bits 63 to 47 of a 64-bit address are alike (SDM vol. 1, 3.3.7.1)."""
    return linear >> 47 in (0, 0x1FFFF)


class _Entry(NamedTuple):
    """One entry on the way: where it lies, its bytes, its value, the page if it is the last."""

    place: int
    size: int
    value: int
    page: int | None  # the guest-physical address of what was looked for
    has_rights: bool = True  # a PAE directory pointer has neither R/W nor U/S
    reserved: int = 0  # bits that must be clear


def translate(memory: GuestMemory, linear: int, paging: PagingRegisters) -> int | None:
    """The guest-physical address of `linear`; None if the page is not there."""
    if not paging.cr0 & CR0_PG:
        return linear & 0xFFFF_FFFF if not paging.efer & EFER_LMA else linear
    for entry in _walk(memory, linear, paging):
        if not entry.value & _PRESENT:
            return None
        if entry.page is not None:
            return entry.page
    raise AssertionError("a walk without an end")


def access(
    memory: GuestMemory, linear: int, paging: PagingRegisters, *, write: bool, user: bool = False
) -> int:
    """The guest-physical address for one access; sets accessed and dirty bits.

    `user`: made at privilege level 3. Raises PageFault with the error code the processor
    would push. A table outside RAM reads as all zeros: not present.
    """
    if not paging.cr0 & CR0_PG:
        return linear & 0xFFFF_FFFF if not paging.efer & EFER_LMA else linear
    asked = PF_WRITE * write | PF_USER * user
    rights = _WRITABLE | _USER
    way: list[_Entry] = []
    for entry in _walk(memory, linear, paging):
        if not entry.value & _PRESENT:
            table = None if memory.contains(entry.place, entry.size) else entry.place
            raise PageFault(linear, asked, table)
        if entry.value & entry.reserved:
            raise PageFault(linear, asked | PF_PRESENT | PF_RESERVED)
        way.append(entry)
        if entry.has_rights:
            rights &= entry.value
        if entry.page is None:
            continue
        refused = user and not rights & _USER
        if write and not rights & _WRITABLE and (user or paging.cr0 & CR0_WP):
            refused = True
        if refused:
            raise PageFault(linear, asked | PF_PRESENT)
        for used in way:
            _mark(memory, used, dirty=write and used is entry)
        return entry.page
    raise AssertionError("a walk without an end")


def _mark(memory: GuestMemory, entry: _Entry, *, dirty: bool) -> None:
    if not entry.has_rights:
        return
    value = entry.value | _ACCESSED | (_DIRTY if dirty else 0)
    if value != entry.value:
        memory.view(entry.place, entry.size)[:] = value.to_bytes(entry.size, "little")


def _walk(memory: GuestMemory, linear: int, paging: PagingRegisters) -> Iterator[_Entry]:
    """The entries from the top to the page. One outside RAM reads as zero: not present."""
    if paging.efer & EFER_LMA:
        reserved = _RESERVED if paging.efer & EFER_NXE else _RESERVED | _NO_EXECUTE
        table = paging.cr3 & _ADDRESS
        return _walk_wide(memory, linear, table, (39, 30, 21, 12), reserved)
    linear &= 0xFFFF_FFFF
    if paging.cr4 & CR4_PAE:
        reserved = _RESERVED_IN_PAE if paging.efer & EFER_NXE else _RESERVED_IN_PAE | _NO_EXECUTE
        return _walk_wide(memory, linear, paging.cr3 & 0xFFFF_FFE0, (30, 21, 12), reserved)
    return _walk_32(memory, linear, paging.cr3 & 0xFFFF_F000, paging.cr4)


def _walk_wide(
    memory: GuestMemory, linear: int, table: int, shifts: tuple[int, ...], reserved: int
) -> Iterator[_Entry]:
    """Tables of 512 eight-byte entries; a large page ends the walk early.

    `reserved`: bits that must be clear in every entry.
    """
    for shift in shifts:
        place = table + 8 * (linear >> shift & 0x1FF)
        value = memory.read_u64(place) if memory.contains(place, 8) else 0
        is_pae_pointer = shift == 30 and len(shifts) == 3
        is_large = value & _LARGE and shift in (21, 30) and not is_pae_pointer
        page, clear = None, reserved
        if shift == 12 or is_large:
            offset = (1 << shift) - 1
            page = value & _ADDRESS & ~offset | linear & offset
            clear |= offset & _ADDRESS & ~_PAT_OF_LARGE
        elif shift == 39:
            clear |= _LARGE
        elif is_pae_pointer:
            clear |= _NO_EXECUTE
        yield _Entry(place, 8, value, page, not is_pae_pointer, clear)
        table = value & _ADDRESS


def _walk_32(memory: GuestMemory, linear: int, table: int, cr4: int) -> Iterator[_Entry]:
    """Two levels of 1024 four-byte entries."""
    place = table + 4 * (linear >> 22)
    directory = memory.read_u32(place) if memory.contains(place, 4) else 0
    if directory & _LARGE and cr4 & CR4_PSE:
        high = (directory >> 13 & 0xFF) << 32  # PSE-36
        page = high | directory & 0xFFC0_0000 | linear & 0x3F_FFFF
        yield _Entry(place, 4, directory, page, reserved=1 << 21)
        return
    yield _Entry(place, 4, directory, None)
    place = (directory & 0xFFFF_F000) + 4 * (linear >> 12 & 0x3FF)
    entry = memory.read_u32(place) if memory.contains(place, 4) else 0
    yield _Entry(place, 4, entry, entry & 0xFFFF_F000 | linear & 0xFFF)
