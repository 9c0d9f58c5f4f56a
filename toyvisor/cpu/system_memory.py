"""Memory as the processor itself reaches it: tables and stacks, by linear address."""

from __future__ import annotations

from collections.abc import Iterator

from toyvisor.cpu.events import GP, PF, OutsideRamError, ProcessorFault
from toyvisor.cpu.guest_view import GuestView
from toyvisor.cpu.paging import PageFault, PagingRegisters, access, is_canonical
from toyvisor.memory import PAGE_SIZE, GuestMemory


class SystemMemory:
    """Accesses that no instruction makes. Supervisor's, unless `user` (a frame at level 3).

    Raises ProcessorFault for a page fault, whose address is then in `cr2`, OutsideRamError.
    """

    __slots__ = ("_mask", "_memory", "_pages", "_paging", "_view", "cr2")

    def __init__(
        self, memory: GuestMemory, view: GuestView, paging: PagingRegisters, *, is_long: bool
    ) -> None:
        self._memory = memory
        self._view = view
        self._paging = paging
        self._mask = (1 << 64) - 1 if is_long else 0xFFFF_FFFF
        self.cr2: int | None = None
        self._pages: dict[tuple[int, bool, bool], int] = {}

    def load(self, linear: int, size: int) -> bytes:
        """Read `size` bytes."""
        parts = self._parts(linear, size, write=False, user=False)
        return b"".join(bytes(part) for _, part in parts)

    def store(self, linear: int, data: bytes, *, user: bool = False) -> None:
        """Write `data`; nothing is written if part of it can't be."""
        parts = list(self._parts(linear, len(data), write=True, user=user))
        done = 0
        for gpa, part in parts:
            part[:] = data[done : done + len(part)]
            done += len(part)
            if self._view.holds_code(gpa, len(part)) and self._memory.on_code_written is not None:
                self._memory.on_code_written()

    def _parts(
        self, linear: int, size: int, *, write: bool, user: bool
    ) -> Iterator[tuple[int, memoryview]]:
        while size:
            linear &= self._mask
            if not is_canonical(linear):
                raise ProcessorFault(GP, 0, f"the address {linear:#x} is not canonical")
            length = min(size, PAGE_SIZE - (linear & 0xFFF))
            gpa = self._translate(linear, write=write, user=user)
            if not self._memory.contains(gpa, length):
                raise OutsideRamError(gpa)
            yield gpa, self._memory.view(gpa, length)
            linear, size = linear + length, size - length

    def _translate(self, linear: int, *, write: bool, user: bool) -> int:
        """Walk the page tables; once for each page, as one delivery changes no mapping."""
        key = (linear >> 12, write, user)
        page = self._pages.get(key)
        if page is None:
            try:
                gpa = access(self._memory, linear, self._paging, write=write, user=user)
            except PageFault as fault:
                self.cr2 = fault.linear
                what = "writing" if write else "reading"
                why = f"page fault {what} {fault.linear:#x}"
                if fault.table is not None:
                    why += f", whose page table at {fault.table:#x} is outside RAM"
                raise ProcessorFault(PF, fault.error_code, why) from None
            page = self._pages[key] = gpa & ~0xFFF
        return page | linear & 0xFFF
