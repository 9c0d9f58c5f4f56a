"""Loads and stores where there is no RAM: EPT exits.

Unicorn's memory hook announces an access whole (8 bytes are one access, at its own width),
with RIP and flags synchronised. What follows are its *pieces* (at most 4 bytes, and bytewise
across a page's end): they are served from the answer to the exit, or, where the access
runs on into another device page, become a second exit, as KVM splits an access at a
page's end (arch/x86/kvm/x86.c, emulator_read_write()).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from ctypes import c_void_p

from toyvisor.cpu.exit_door import IN_MEMORY_ACCESS, ExitDoor
from toyvisor.cpu.string_input import StringInput
from toyvisor.cpu.unicorn_abi import (
    UC_HOOK_MEM_READ,
    UC_HOOK_MEM_WRITE,
    UC_MEM_WRITE,
    MemoryHook,
    MmioRead,
    MmioWrite,
    add_hook,
    check,
    forget_translations,
    library,
)
from toyvisor.exit_reasons import ExitReason
from toyvisor.memory import PAGE_SIZE

_EPT_VIOLATION = int(ExitReason.EPT_VIOLATION)
_EPT_MISCONFIG = int(ExitReason.EPT_MISCONFIG)


class MemoryExits:
    """Makes every access outside RAM an exit."""

    def __init__(
        self, engine: c_void_p, door: ExitDoor, ins: StringInput, *, has_ins: object
    ) -> None:
        self._engine = engine
        self._door = door
        self._ins = ins
        #: Truthy once the guest has run code that may hold an INS instruction.
        self._has_ins = has_ins
        self._keep: list[object] = []  # callbacks that C points to
        # Pages that KVM has found to be devices: it marks them, so that the processor says
        # EPT misconfiguration at once (mmu.c, mark_mmio_spte()).
        self._known_pages: set[int] = set()
        # The access in hand: its direction, where it is, its size (if unaligned), its data,
        # how many pieces will follow, and how many of its bytes lie beyond the page's end,
        # with the data to be written there.
        self._is_write = False
        self._gpa = self._size = self._data = self._pieces = 0
        self._beyond = self._beyond_value = 0
        self._is_probe = False  # not an access at all: INS trying its destination
        #: Where an access that began in RAM ran into a device; it was not carried out.
        self.straddled: int | None = None
        self.watches_ram = False
        self._watched: list[tuple[int, int]] = []  # of RAM; a hook stays once it is there
        #: Whether exits are logged: only where interrupts can come.
        self.logs = False
        #: The last exits, (gpa, size, is_write, data): an instruction that was given up is
        #: run again, and its accesses are answered from here. The longest makes 64.
        self._log: deque[tuple[int, int, bool, int]] = deque(maxlen=80)
        self._next_in_log = -1
        #: The instruction in hand is to be given up at its access (cancel()).
        self.cancelling = False
        #: An instruction that was given up runs again.
        self.replaying = False
        # It was given up as it ran from RAM into a device; and the access in hand does so.
        self._straddles = self._began_in_ram = False
        #: Called before an exit that such an instruction makes for the first time.
        self.before_new_exit: Callable[[], None] = lambda: None

    def cover(self, start: int, end: int) -> None:
        """Guest-physical addresses start..end-1 have no RAM behind them."""

        def read(_engine: int, offset: int, _size: int) -> int:
            return self._read_piece(start + offset)

        def write(_engine: int, offset: int, _size: int, _value: int) -> None:
            if self._pieces:
                self._pieces -= 1
            else:
                self._unannounced(start + offset)

        pieces = MmioRead(read), MmioWrite(write)
        check(
            library.uc_mmio_map(self._engine, start, end - start, pieces[0], None, pieces[1], None),
            "mapping device space",
        )
        hook = MemoryHook(self._access)
        add_hook(self._engine, UC_HOOK_MEM_READ | UC_HOOK_MEM_WRITE, hook, start, end - 1)
        self._keep += [*pieces, hook]

    def watch_ram(self, start: int, end: int) -> None:
        """From now on be told of accesses that begin in RAM, too, to see where they end.

        That slows down every access; so only for a guest that has made one across the border.
        """
        self.watches_ram = True
        if (start, end) in self._watched:
            return
        self._watched.append((start, end))
        hook = MemoryHook(self._ram_access)
        add_hook(self._engine, UC_HOOK_MEM_READ | UC_HOOK_MEM_WRITE, hook, start, end - 1)
        self._keep.append(hook)
        forget_translations(self._engine)

    @property
    def held_by_unicorn(self) -> tuple[object, ...]:
        """What the engine keeps for good, whatever the processor goes back to."""
        return self._keep, self._watched

    def _ram_access(self, _engine: int, access: int, gpa: int, size: int, value: int) -> None:
        if self.watches_ram and (gpa & 0xFFF) + size > PAGE_SIZE:
            try:
                self._is_write = is_write = access == UC_MEM_WRITE
                self._is_probe = is_write and bool(self._has_ins) and self._ins.is_probe(value)
                self._gpa = gpa
                self._began_in_ram = True
                self._unaligned(gpa, size, value)
                self._pieces = 0
            except BaseException as failure:
                self._door.fail(failure)

    def _access(self, _engine: int, access: int, gpa: int, size: int, value: int) -> None:
        """Unicorn announces an access."""
        try:
            self._is_write = is_write = access == UC_MEM_WRITE
            self._gpa = gpa
            if gpa & (size - 1):
                self._began_in_ram = False
                size, value = self._unaligned(gpa, size, value)
            else:
                self._pieces = 2 if size == 8 else 1
                self._beyond = 0
            self._is_probe = is_write and bool(self._has_ins) and self._ins.is_probe(value)
            if not self._is_probe:
                self._exit(gpa, size, value)
        except BaseException as failure:
            self._door.fail(failure)

    def _exit(self, gpa: int, size: int, value: int) -> None:
        """One exit: KVM's kernel half first, else userspace."""
        logs = self.logs
        if self.replaying:
            if self._recall(gpa, size):
                return
            self.before_new_exit()
        page = gpa >> 12
        if page in self._known_pages:
            reason = _EPT_MISCONFIG
        else:
            self._known_pages.add(page)
            reason = _EPT_VIOLATION
        door = self._door
        door.access = IN_MEMORY_ACCESS
        door.note(reason)
        if self._is_write:
            if not door.kernel.mmio_write(gpa, size, value):
                door.to_host((reason, gpa, size, True, value))
            if logs:
                self._log.append((gpa, size, True, 0))
            return
        data = door.kernel.mmio_read(gpa, size)
        self._data = door.to_host((reason, gpa, size, False, 0)) if data is None else data
        if logs:
            self._log.append((gpa, size, False, self._data))

    # An instruction given up and run again (instruction_boundary.py) -----------------------

    def cancel(self) -> None:
        """The instruction in hand is given up once its access is answered."""
        self.cancelling = True

    def begin_replay(self) -> None:
        """The instruction that was given up runs again."""
        self.cancelling = False
        self.replaying = True
        self._next_in_log = -1

    def remember_load(self) -> None:
        """The next replay is of an instruction that may have loaded from a device: the last load.

        Where nothing is logged, since no interrupt can come, that is all there is to answer. If
        it was another instruction's, this one does not ask for it: it has made all its accesses
        once, so it would have been the last itself.
        """
        self._straddles = True
        if not self.logs:
            self._log.clear()
            if not self._is_write:
                self._log.append((self._gpa, 0, False, self._data))

    def end_replay(self) -> None:
        """It is done."""
        self.replaying = self._straddles = False

    def _recall(self, gpa: int, size: int) -> bool:
        """Answer an access that the instruction has made before; False if it is a new one.

        Which exits were the instruction's own is found by its first access: the last one
        like it. (`lock neg` reads twice in Unicorn: the same answer again.)
        """
        log, access = self._log, (gpa, size if self.logs else 0, self._is_write)
        if self._next_in_log < 0:
            found = [n for n, entry in enumerate(log) if entry[:3] == access]
            self._next_in_log = found[-1] if found else len(log)
        place = self._next_in_log
        if place >= len(log) or log[place][:3] != access:
            place -= 1
            if place < 0 or place + 1 >= len(log) or log[place][:3] != access:
                self._next_in_log = len(log)
                return False
        self._data = log[place][3]
        self._next_in_log = place + 1
        return True

    def _unaligned(self, gpa: int, size: int, value: int) -> tuple[int, int]:
        """An unaligned access: the part in this page, (size, value), and what will follow."""
        self._size = size
        in_page = min(size, PAGE_SIZE - (gpa & 0xFFF))
        self._beyond = size - in_page
        self._beyond_value = value >> 8 * in_page
        self._pieces = self._unaligned_pieces(in_page, crosses=self._beyond != 0)
        return in_page, value & (1 << 8 * in_page) - 1

    def _unaligned_pieces(self, in_page: int, *, crosses: bool) -> int:
        """Pieces an unaligned access makes in one page.

        Unicorn: cputlb.c, do_unaligned_access. A store goes byte by byte; a load fetches the
        one or two aligned units around it, each in pieces of at most 4 bytes.
        """
        if self._is_write:
            return in_page
        units = 1 if crosses else 2
        return units * (2 if self._size == 8 else 1)

    def _read_piece(self, gpa: int) -> int:
        """Unicorn fetches (part of) the data of a load; it may ask for bytes around it."""
        if self._pieces:
            self._pieces -= 1
        elif not self._unannounced(gpa):
            return 0
        shift = 8 * (gpa - self._gpa)
        return self._data >> shift if shift >= 0 else self._data << -shift

    def _unannounced(self, gpa: int) -> bool:
        """A piece that no hook announced; False: the access can't be carried out."""
        try:
            if self._beyond and gpa == (self._gpa | 0xFFF) + 1:
                self._continue_beyond(gpa)
                return True
            # It began in RAM, which is not watched yet.
            if self.straddled is None:
                self.straddled = gpa
            library.uc_emu_stop(self._engine)
        except BaseException as failure:
            self._door.fail(failure)
        return False

    def _continue_beyond(self, gpa: int) -> None:
        """The access runs on into another device page: its second exit."""
        size, self._beyond = self._beyond, 0
        self._gpa = gpa
        self._pieces = self._unaligned_pieces(size, crosses=True) - 1
        if self._is_probe:
            return
        replaying = self.replaying
        if replaying and self._straddles and self._began_in_ram:
            # It was not carried out before; what is remembered is another one (remember_load()).
            self.before_new_exit()
            self.replaying = False
        self._exit(gpa, size, self._beyond_value)
        self.replaying = replaying
