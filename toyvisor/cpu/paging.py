"""From linear to guest-physical addresses, by reading the guest's own page tables.

Intel SDM vol. 3, chapter 5 (paging): 32-bit, PAE and 4-level. Nothing is changed: no
accessed bits, no TLB. Unicorn has a function for this too, but calling it in the middle
of an exit can evict the very TLB entry that the suspended access stands on.
"""

from __future__ import annotations

from toyvisor.memory import GuestMemory
from toyvisor.modes import CR0_PG, EFER_LMA

_PRESENT, _LARGE = 1 << 0, 1 << 7
_ADDRESS = 0x000F_FFFF_FFFF_F000
CR4_PSE, CR4_PAE = 1 << 4, 1 << 5


def translate(
    memory: GuestMemory, linear: int, cr0: int, cr3: int, cr4: int, efer: int
) -> int | None:
    """The guest-physical address of `linear`; None if the page is not there."""
    if not cr0 & CR0_PG:
        return linear & 0xFFFF_FFFF if not efer & EFER_LMA else linear
    if efer & EFER_LMA:
        return _walk(memory, linear, cr3 & _ADDRESS, (39, 30, 21, 12))
    if cr4 & CR4_PAE:
        return _walk(memory, linear & 0xFFFF_FFFF, cr3 & 0xFFFF_FFE0, (30, 21, 12))
    return _walk_32(memory, linear & 0xFFFF_FFFF, cr3 & 0xFFFF_F000, cr4)


def _walk(memory: GuestMemory, linear: int, table: int, shifts: tuple[int, ...]) -> int | None:
    """Tables of 512 eight-byte entries; a large page ends the walk early."""
    for shift in shifts:
        place = table + 8 * (linear >> shift & 0x1FF)
        if not memory.contains(place, 8):
            return None
        entry = memory.read_u64(place)
        if not entry & _PRESENT:
            return None
        if shift == 12 or (entry & _LARGE and shift in (21, 30)):
            offset = (1 << shift) - 1
            return entry & _ADDRESS & ~offset | linear & offset
        table = entry & _ADDRESS
    raise AssertionError("the last level always ends the walk")


def _walk_32(memory: GuestMemory, linear: int, table: int, cr4: int) -> int | None:
    """Two levels of 1024 four-byte entries."""
    place = table + 4 * (linear >> 22)
    if not memory.contains(place, 4):
        return None
    directory = memory.read_u32(place)
    if not directory & _PRESENT:
        return None
    if directory & _LARGE and cr4 & CR4_PSE:
        high = (directory >> 13 & 0xFF) << 32  # PSE-36
        return high | directory & 0xFFC0_0000 | linear & 0x3F_FFFF
    place = (directory & 0xFFFF_F000) + 4 * (linear >> 12 & 0x3FF)
    if not memory.contains(place, 4):
        return None
    entry = memory.read_u32(place)
    if not entry & _PRESENT:
        return None
    return entry & 0xFFFF_F000 | linear & 0xFFF
