"""The world switch: into the guest, and out at the next exit.

The guest runs in a greenlet of its own. A callback of Unicorn in the middle of an
instruction *is* the vmexit: it switches to the host's greenlet with what happened, and
stays suspended until the next entry brings the answer. The instruction is never
restarted, and its successor has not begun.

Why the state is exact at an exit: Unicorn synchronises RIP and the lazily computed flags
before it calls a memory hook or a port hook (`cpu_restore_state` in cputlb.c and ioport.c,
2.1.4). That holds as long as no code hook and no instruction count is in use; both
corrupt RFLAGS when they meet an exit, so time is counted in blocks (clock.py).

A memory hook sees an access whole (8 bytes are one access, at its own width). What follows
it are Unicorn's *pieces* (at most 4 bytes, and bytewise across a page's end): they are
served from the answer to the exit, or, where the access runs on into another device page,
become a second exit, as KVM splits an access at a page's end (x86.c,
emulator_read_write).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import c_int, c_void_p
from dataclasses import dataclass
from typing import Any

from greenlet import GreenletExit, getcurrent, greenlet

from toyvisor.cpu.clock import Clock, InstructionLengths
from toyvisor.cpu.paging import translate
from toyvisor.cpu.registers import CONTROL, MSR_EFER, SEGMENTS, Registers
from toyvisor.cpu.unicorn_abi import (
    UC_ARCH_X86,
    UC_HOOK_INSN,
    UC_HOOK_INSN_INVALID,
    UC_HOOK_INTR,
    UC_HOOK_MEM_READ,
    UC_HOOK_MEM_WRITE,
    UC_MEM_WRITE,
    UC_MODE,
    UC_PROT_ALL,
    InHook,
    Instruction,
    InstructionHook,
    InterruptHook,
    MemoryHook,
    MmioRead,
    MmioWrite,
    OutHook,
    UnicornError,
    add_hook,
    check,
    forget_all_blocks,
    forget_block,
    library,
)
from toyvisor.cpu.vmx import ExitReason
from toyvisor.memory import PAGE_SIZE, GuestMemory

#: An exit: (reason, ...). Memory: (reason, gpa, size, is_write, value). Ports:
#: (reason, port, size, is_write, value, count). Others: (reason, detail).
VmExit = tuple[Any, ...]

#: Guest-physical addresses end here (52 bits, the architecture's most).
PHYSICAL_END = 1 << 52

_EPT_VIOLATION = int(ExitReason.EPT_VIOLATION)
_EPT_MISCONFIG = int(ExitReason.EPT_MISCONFIG)
_IO_INSTRUCTION = int(ExitReason.IO_INSTRUCTION)
_CPUID = int(ExitReason.CPUID)
_HLT = int(ExitReason.HLT)
_VMCALL = int(ExitReason.VMCALL)
_TRIPLE_FAULT = int(ExitReason.TRIPLE_FAULT)
_PREEMPTION_TIMER = int(ExitReason.PREEMPTION_TIMER)
_NOWHERE = (1 << 64) - 1  # "run until": an address that no instruction has
_INS_OPCODES = (0x6C, 0x6D)
_PREFIXES = frozenset((0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65, 0x66, 0x67, 0xF0, 0xF2, 0xF3))
_HYPERCALLS = (b"\x0f\x01\xc1", b"\x0f\x01\xd9")  # vmcall, vmmcall
_UD = 6


@dataclass(slots=True)
class KernelHalf:
    """What KVM does about an exit before anybody thinks of returning to userspace.

    The world switch asks in the middle of the exit; a None or False means "not mine", and
    the vCPU leaves for userspace.
    """

    #: A load from a guest-physical address without memory: (gpa, size) -> data.
    mmio_read: Callable[[int, int], int | None]
    #: A store to one: (gpa, size, value) -> done.
    mmio_write: Callable[[int, int, int], bool]
    #: IN: (port, size) -> data.
    pio_read: Callable[[int, int], int | None]
    #: OUT: (port, size, value) -> done.
    pio_write: Callable[[int, int, int], bool]
    #: CPUID: (leaf, subleaf) -> eax, ebx, ecx, edx.
    cpuid: Callable[[int, int], tuple[int, int, int, int]]


class Cpu:
    """One virtual processor: its registers, its clock, and the switch between worlds.

    `bits` is the width of its first code: 16 starts in real mode, 32 in flat protected
    mode, 64 in 64-bit mode. Not to be shared between threads.
    """

    def __init__(
        self,
        bits: int,
        memory: GuestMemory,
        exits: list[int],
        kernel: KernelHalf,
        lengths: InstructionLengths,
    ) -> None:
        self.bits = bits
        self._memory = memory
        self._exits = exits
        self._kernel = kernel
        self._lengths = lengths
        #: Called at each exit, while it is wanted, with RIP and the time.
        self.on_exit: Callable[[int, int], None] | None = None

        self._engine = c_void_p()
        check(library.uc_open(UC_ARCH_X86, UC_MODE[bits], ctypes.byref(self._engine)), "to start")
        self.registers = Registers(self._engine, bits)
        self._keep: list[object] = []  # callbacks and buffers that C points to
        self._map_guest_physical()
        self._add_hooks()
        self.clock = Clock(self._engine, self.read_linear, lengths)
        self._blocks_with_ins = self.clock.blocks_with_ins

        self._known_pages: set[int] = set()
        # The access announced by the memory hook: where it is, its size (if unaligned), its
        # data, how many pieces will follow, and how many of its bytes lie beyond the page's
        # end, with the data to be written there.
        self._is_write = False
        self._gpa = self._size = self._data = self._pieces = 0
        self._beyond = self._beyond_value = 0
        # REP INS: input read ahead; INS to a device: whether IN has been done.
        self._read_ahead: list[int] = []
        self._ins_done = False
        self._straddled: int | None = None
        self._vmcall = False
        self._failure: BaseException | None = None
        self._closing = False
        self._host = getcurrent()
        self._to_host = self._host.switch
        self._guest = greenlet(self._run)
        #: VM entry: `enter(reply)` runs the guest until its next exit and returns that.
        #: `reply` answers the last exit: the data of a load or an IN.
        self.enter: Callable[[int], VmExit] = self._guest.switch

    # Set-up ------------------------------------------------------------------------

    def _map_guest_physical(self) -> None:
        """RAM is memory; all the rest, to the end of physical space, exits."""
        free_from = 0
        for start, end, ram in self._memory.blocks:
            if start > free_from:
                self._map_exits(free_from, start)
            buffer = (ctypes.c_char * len(ram)).from_buffer(ram)
            self._keep.append(buffer)
            check(
                library.uc_mem_map_ptr(self._engine, start, len(ram), UC_PROT_ALL, buffer),
                "mapping RAM",
            )
            free_from = end
        self._map_exits(free_from, PHYSICAL_END)

    def _map_exits(self, start: int, end: int) -> None:
        def read(_engine: int, offset: int, _size: int) -> int:
            return self._read_piece(start + offset)

        def write(_engine: int, offset: int, size: int, value: int) -> None:
            if self._pieces:
                self._pieces -= 1
            else:
                self._unannounced(start + offset)

        pieces = MmioRead(read), MmioWrite(write)
        check(
            library.uc_mmio_map(self._engine, start, end - start, pieces[0], None, pieces[1], None),
            "mapping device space",
        )
        hook = MemoryHook(self._memory_access)
        add_hook(self._engine, UC_HOOK_MEM_READ | UC_HOOK_MEM_WRITE, hook, start, end - 1)
        self._keep += [*pieces, hook]

    def _add_hooks(self) -> None:
        def on_instruction(callback: object, instruction: Instruction) -> None:
            add_hook(self._engine, UC_HOOK_INSN, callback, 1, 0, c_int(instruction))
            self._keep.append(callback)

        on_instruction(OutHook(self._out), Instruction.OUT)
        on_instruction(InHook(self._in), Instruction.IN)
        on_instruction(InstructionHook(self._cpuid), Instruction.CPUID)
        on_instruction(InstructionHook(self._rdtsc), Instruction.RDTSC)
        on_instruction(InstructionHook(self._rdtsc), Instruction.RDTSCP)
        for kind, hook in (
            (UC_HOOK_INTR, InterruptHook(self._interrupt)),
            (UC_HOOK_INSN_INVALID, InstructionHook(self._invalid)),
        ):
            add_hook(self._engine, kind, hook, 1, 0)
            self._keep.append(hook)

    # Entering and leaving ------------------------------------------------------------

    def _run(self, _first_reply: int) -> None:
        """The guest's greenlet: run, find out why Unicorn stopped, leave with that."""
        while not self._closing:
            error = 0
            if self._failure is None and self._straddled is None:  # else _run_straight's
                error = library.uc_emu_start(self._engine, self.linear_rip(), _NOWHERE, 0, 0)
            if self._closing:
                return
            if self._failure is not None:
                failure, self._failure = self._failure, None
                self._host.throw(failure)
            elif self.clock.refused is not None:
                self._finish_slice(*self.clock.refused)
            elif self._straddled is not None:
                gpa, self._straddled = self._straddled, None
                self._leave((_EPT_VIOLATION, gpa, 0, "straddle"))
            elif self._vmcall:
                self._hypercall()
            elif error:
                self._fetch_failed(error)
            else:
                self._leave((_HLT,))

    def _hypercall(self) -> None:
        self._vmcall = False
        self.registers.write("rax", self._leave((_VMCALL,)))
        self.registers.write("rip", self.registers.rip() + 3)

    def _leave(self, exit_: VmExit) -> int:
        """Count the exit and leave for userspace; comes back at the next entry."""
        self._exits[exit_[0]] += 1
        if self.on_exit is not None:
            self.on_exit(*self.moment())
        reply: int = self._to_host(exit_)
        return reply

    def _finish_slice(self, address: int, size: int, count: int) -> None:
        """Run what is left of the time slice: the first instructions of a block."""
        clock = self.clock
        clock.refused = None
        clock.leave_block()
        left = clock.limit - clock.with_block
        if 0 < left < count:
            code = self.read_linear(address, size)
            if not self._run_straight(address, sum(self._lengths(code, address)[:left])):
                return
        self._leave((_PREEMPTION_TIMER,))

    def _run_straight(self, address: int, length: int) -> bool:
        """Run `length` bytes of code without a branch; False if it ended before, otherwise."""
        forget_block(self._engine, address, address + length)
        self.clock.cut(address, length)
        library.uc_emu_start(self._engine, address, address + length, 0, 0)
        if self._failure is not None or self._straddled is not None:
            return False  # the loop in _run takes it up
        return self.linear_rip() == address + length

    def _fetch_failed(self, error: int) -> None:
        """The guest runs where there is no RAM.

        Unicorn finds out when it translates, before the instructions that lead there have
        run: those first.
        """
        if error not in (UnicornError.FETCH_UNMAPPED, UnicornError.FETCH_PROT):
            raise AssertionError(f"unicorn stopped with error {error}")
        rip = self.linear_rip()
        length = sum(self._lengths(self.read_linear(rip, PAGE_SIZE), rip))
        if length and self._run_straight(rip, length):
            return
        if self._failure is None and self._straddled is None:
            self._leave((_EPT_VIOLATION, self.linear_rip(), 0, "fetch"))

    def _fail(self, failure: BaseException) -> None:
        """Keep what a callback raised until we are out of C, where it can be raised."""
        if not isinstance(failure, GreenletExit):
            self._failure = failure
        library.uc_emu_stop(self._engine)

    def close(self) -> None:
        """End the guest's greenlet and free the engine."""
        if self._closing:
            return
        self._closing = True
        for _ in range(16):  # a suspended instruction may still have accesses to make
            if self._guest.dead or not self._guest:
                break
            library.uc_emu_stop(self._engine)
            self.enter(0)
        if self._guest.dead or not self._guest:
            library.uc_close(self._engine)
            self._keep.clear()

    # Memory that is not there --------------------------------------------------------

    def _memory_access(self, _engine: int, access: int, gpa: int, size: int, value: int) -> None:
        """The guest loads or stores where there is no RAM: the EPT exit."""
        try:
            self._is_write = is_write = access == UC_MEM_WRITE
            self._gpa = gpa
            if gpa & (size - 1):
                size, value = self._unaligned(gpa, size, value)
            else:
                self._pieces = 2 if size == 8 else 1
                self._beyond = 0
            if is_write and self._blocks_with_ins and self._is_ins_probe(value):
                return
            self._exit(gpa, size, value)
        except BaseException as failure:
            self._fail(failure)

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

    def _exit(self, gpa: int, size: int, value: int) -> None:
        """One EPT exit: KVM's kernel half first, else userspace."""
        page = gpa >> 12
        if page in self._known_pages:
            reason = _EPT_MISCONFIG
        else:
            self._known_pages.add(page)
            reason = _EPT_VIOLATION
        self._exits[reason] += 1
        if self.on_exit is not None:
            self.on_exit(*self.moment())
        if self._is_write:
            if not self._kernel.mmio_write(gpa, size, value):
                self._to_host((reason, gpa, size, True, value))
            return
        data = self._kernel.mmio_read(gpa, size)
        self._data = self._to_host((reason, gpa, size, False, 0)) if data is None else data

    def _unannounced(self, gpa: int) -> bool:
        """A piece of an access that no hook announced; False: it can't be carried out."""
        try:
            if self._beyond and not gpa & 0xFFF:
                self._continue_beyond(gpa)
                return True
            # It began in RAM, which is not watched.
            if self._straddled is None:
                self._straddled = gpa
            library.uc_emu_stop(self._engine)
        except BaseException as failure:
            self._fail(failure)
        return False

    def _continue_beyond(self, gpa: int) -> None:
        """The access runs on into another device page: its second exit."""
        size, self._beyond = self._beyond, 0
        self._gpa = gpa
        self._pieces = self._unaligned_pieces(size, crosses=True) - 1
        self._exit(gpa, size, self._beyond_value)

    def _read_piece(self, gpa: int) -> int:
        """Unicorn fetches (part of) the data of a load; it may ask for bytes around it."""
        if self._pieces:
            self._pieces -= 1
        elif not self._unannounced(gpa):
            return 0
        shift = 8 * (gpa - self._gpa)
        return self._data >> shift if shift >= 0 else self._data << -shift

    # Ports -------------------------------------------------------------------------

    def _out(self, _engine: int, port: int, size: int, value: int) -> None:
        try:
            self._exits[_IO_INSTRUCTION] += 1
            if self.on_exit is not None:
                self.on_exit(*self.moment())
            if not self._kernel.pio_write(port, size, value):
                self._to_host((_IO_INSTRUCTION, port, size, True, value, 1))
        except BaseException as failure:
            self._fail(failure)

    def _in(self, _engine: int, port: int, size: int) -> int:
        try:
            self._ins_done = True
            if self._read_ahead:
                return self._read_ahead.pop(0)
            self._exits[_IO_INSTRUCTION] += 1
            if self.on_exit is not None:
                self.on_exit(*self.moment())
            answer = self._kernel.pio_read(port, size)
            if answer is not None:
                return answer
            count = self._ins_count(size)
            data: int = self._to_host((_IO_INSTRUCTION, port, size, False, 0, count))
            if count == 1:
                return data
            mask = (1 << 8 * size) - 1
            self._read_ahead = [data >> 8 * size * i & mask for i in range(1, count)]
            return data & mask
        except BaseException as failure:
            self._fail(failure)
            return 0

    def _ins_count(self, size: int) -> int:
        """How many elements KVM reads ahead for REP INS: to the page's end, 1 KiB at most.

        Linux: arch/x86/kvm/emulate.c, pio_in_emulated().
        """
        prefixes = self._ins_prefixes()
        if prefixes is None or not ({0xF2, 0xF3} & prefixes):
            return 1
        address_bits = 32 if (0x67 in prefixes) != (self.bits == 32) else self.bits
        if self.bits == 16 and 0x67 not in prefixes:
            address_bits = 16
        mask = (1 << address_bits) - 1
        count = self.registers.read("rcx") & mask
        in_page = self.registers.read("rdi") & 0xFFF
        if self.registers.read("rflags") & 0x400:  # DF: downwards
            room = in_page // size
        else:
            room = (PAGE_SIZE - in_page) // size
        return max(1, min(room, 1024 // size, count))

    def _ins_prefixes(self) -> set[int] | None:
        """The prefixes of the instruction at RIP if it is INS, else None."""
        state = self.clock.state
        if (state.block, state.block_size) not in self.clock.blocks_with_ins:
            return None
        prefixes: set[int] = set()
        for byte in self.read_linear(self.linear_rip(), 15):
            if byte in _INS_OPCODES:
                return prefixes
            if byte not in _PREFIXES and not (self.bits == 64 and byte & 0xF0 == 0x40):
                return None
            prefixes.add(byte)
        return None

    def _is_ins_probe(self, value: int) -> bool:
        """INS stores a zero first, to fault before it reads the port: not an access.

        Unicorn: translate.c, gen_ins().
        """
        done, self._ins_done = self._ins_done, False
        return value == 0 and not done and self._ins_prefixes() is not None

    # Instructions that exit -------------------------------------------------------------

    def _cpuid(self, _engine: int) -> int:
        """CPUID always exits; KVM answers it by itself."""
        try:
            self._exits[_CPUID] += 1
            registers = self.registers
            leaf, subleaf = registers.read("rax"), registers.read("rcx")
            leaf, subleaf = leaf & 0xFFFFFFFF, subleaf & 0xFFFFFFFF
            if self.on_exit is not None:
                self.on_exit(*self.moment())
            values = self._kernel.cpuid(leaf, subleaf)
            for name, value in zip(("rax", "rbx", "rcx", "rdx"), values, strict=True):
                registers.write(name, value)
        except BaseException as failure:
            self._fail(failure)
        return 1

    def _rdtsc(self, _engine: int) -> int:
        """RDTSC does not exit; the time-stamp counter counts guest instructions."""
        try:
            now = self.now()
            self.registers.write("rax", now & 0xFFFFFFFF)
            self.registers.write("rdx", now >> 32)
        except BaseException as failure:
            self._fail(failure)
        return 1

    def _invalid(self, _engine: int) -> int:
        """An instruction the processor does not execute: VMCALL exits, others are #UD."""
        try:
            rip = self.linear_rip()
            if self.read_linear(rip, 3) in _HYPERCALLS:
                # To be finished outside of Unicorn: once a callback has written RIP, Unicorn
                # no longer synchronises it at later exits.
                self._vmcall = True
                library.uc_emu_stop(self._engine)
            else:
                self._exception(_UD)
        except BaseException as failure:
            self._fail(failure)
        return 1

    def _interrupt(self, _engine: int, vector: int) -> None:
        """An exception or INT n."""
        try:
            self._exception(vector)
        except BaseException as failure:
            self._fail(failure)

    def _exception(self, vector: int) -> None:
        """Deliver through the IDT; what it can't deliver becomes #GP, #DF, triple fault.

        Intel SDM vol. 3, 7.15 (interrupt 8). Delivery itself is not there yet.
        """
        _base, limit = self.registers.idt()
        entry = {16: 4, 32: 8, 64: 16}[self.bits]
        if entry * (vector + 1) - 1 <= limit:
            self._to_host((int(ExitReason.EXCEPTION_NMI), vector))
        else:
            self._leave((_TRIPLE_FAULT, vector))

    # Looking at the guest ------------------------------------------------------------------

    def linear_rip(self) -> int:
        """RIP as a linear address (CS base added in real mode)."""
        if self.bits == 16:
            return self.registers.rip() + 16 * self.registers.read_special(SEGMENTS["cs"])
        return self.registers.rip()

    def translate(self, linear: int) -> int | None:
        """The guest-physical address behind a linear one; None if it is not mapped."""
        special = self.registers.read_special
        return translate(
            self._memory,
            linear,
            special(CONTROL["cr0"]),
            special(CONTROL["cr3"]),
            special(CONTROL["cr4"]),
            self.registers.read_msr(MSR_EFER),
        )

    def read_linear(self, address: int, size: int) -> bytes:
        """Guest RAM at a linear address, as the guest maps it; up to the first gap."""
        found = b""
        while len(found) < size:
            at = address + len(found)
            physical = self.translate(at)
            length = min(size - len(found), PAGE_SIZE - (at & 0xFFF))
            if physical is None or not self._memory.contains(physical, length):
                break
            found += bytes(self._memory.view(physical, length))
        return found

    def now(self) -> int:
        """Guest instructions executed before the present one."""
        return self.clock.before(self.linear_rip())

    def moment(self) -> tuple[int, int]:
        """Where the guest stands and what time it is: (linear RIP, instructions)."""
        rip = self.linear_rip() if self.bits == 16 else self.registers.rip()
        return rip, self.clock.before(rip)

    def last_branch_from(self) -> int:
        """Where the guest came from: the last instruction of the last block.

        What a processor keeps in MSR_LASTBRANCH_FROM_IP (SDM vol. 3, 18.4).
        """
        state = self.clock.state
        lengths = self._lengths(self.read_linear(state.block, state.block_size), state.block)
        return int(state.block) + sum(lengths[:-1])

    def code_changed(self) -> None:
        """Somebody outside the guest wrote to its code: translate it anew."""
        forget_all_blocks(self._engine)
