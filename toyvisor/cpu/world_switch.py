"""The world switch: into the guest, and out at the next exit.

The guest runs in a greenlet of its own. A callback of Unicorn in the middle of an
instruction *is* the vmexit: it switches to the host's greenlet with what happened, and
stays suspended until the next entry brings the answer. The instruction is never
restarted, and its successor has not begun.

Why the state is exact at an exit: Unicorn synchronises RIP and the lazily computed flags
before it calls a memory hook or a port hook (`cpu_restore_state` in cputlb.c and ioport.c,
2.1.4). That holds as long as no code hook and no instruction count is in use; both
corrupt RFLAGS when they meet an exit, so time is counted in blocks (clock.py).

Where it falls short of that, docs/architecture.md lists under its known limits: SETcc, RCL
and RCR show wrong flags at their own exit (Unicorn has prepared them before the access), and
an instruction that loads from a device and stores into the very block it stands in is
begun twice.

What the exits are: memory_exits.py, port_exits.py, instruction_exits.py.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import c_void_p

from greenlet import getcurrent, greenlet

from toyvisor.cpu.clock import Clock, InstructionLengths
from toyvisor.cpu.exit_door import ExitDoor, KernelHalf, VmExit
from toyvisor.cpu.guest_view import GuestView
from toyvisor.cpu.instruction_exits import InstructionExits
from toyvisor.cpu.memory_exits import MemoryExits
from toyvisor.cpu.port_exits import PortExits
from toyvisor.cpu.registers import CONTROL, SEGMENTS, Registers
from toyvisor.cpu.string_input import StringInput
from toyvisor.cpu.unicorn_abi import (
    UC_ARCH_X86,
    UC_MODE,
    UC_PROT_ALL,
    UnicornError,
    check,
    forget_all_blocks,
    forget_block,
    library,
    set_cpu_model,
)
from toyvisor.exit_reasons import ExitReason
from toyvisor.memory import PAGE_SIZE, GuestMemory

#: Guest-physical addresses end here (52 bits, the architecture's most).
PHYSICAL_END = 1 << 52

_EPT_VIOLATION = int(ExitReason.EPT_VIOLATION)
_HLT = int(ExitReason.HLT)
_PREEMPTION_TIMER = int(ExitReason.PREEMPTION_TIMER)
_NOWHERE = (1 << 64) - 1  # "run until": an address that no instruction has
_CR0_ET = 1 << 4


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
        self._lengths = lengths
        self._engine = engine = c_void_p()
        check(library.uc_open(UC_ARCH_X86, UC_MODE[bits], ctypes.byref(engine)), "to start")
        set_cpu_model(engine)
        self.registers = Registers(engine, bits)
        self.registers.reset_fpu()
        if bits == 16:
            self._enter_real_mode()
        self.view = GuestView(bits, self.registers, memory)
        self.clock = Clock(engine, self.view, lengths)
        self._host = getcurrent()
        self.door = ExitDoor(engine, kernel, exits, self.moment, self._host.switch)
        self.clock.fail = self.door.fail
        ins = StringInput(self.registers, self.view, self.clock)
        self._memory_exits = MemoryExits(engine, self.door, ins, has_ins=self.clock.blocks_with_ins)
        self._port_exits = PortExits(engine, self.door, ins)
        self._instruction_exits = InstructionExits(
            engine, self.door, self.registers, self.view, self.now
        )
        self._buffers: list[object] = []  # RAM that C points to
        self._map_guest_physical()
        self._closing = False
        self._guest = greenlet(self._run)
        #: VM entry: `enter(reply)` runs the guest until its next exit and returns that.
        #: `reply` answers the last exit: the data of a load or an IN.
        self.enter: Callable[[int], VmExit] = self._guest.switch

    def _enter_real_mode(self) -> None:
        """Leave the protected mode that a 32-bit engine starts in.

        Unicorn's own 16-bit engines can't go on where a guest has left real mode.
        """
        self.registers.write_special(CONTROL["cr0"], _CR0_ET)
        for name in ("cs", "ds", "es", "fs", "gs", "ss"):
            self.registers.write_special(SEGMENTS[name], 0)

    def _map_guest_physical(self) -> None:
        """RAM is memory; all the rest, to the end of physical space, exits."""
        free_from = 0
        for start, end, ram in self._memory.blocks:
            if start > free_from:
                self._memory_exits.cover(free_from, start)
            buffer = (ctypes.c_char * len(ram)).from_buffer(ram)
            self._buffers.append(buffer)
            check(
                library.uc_mem_map_ptr(self._engine, start, len(ram), UC_PROT_ALL, buffer),
                "mapping RAM",
            )
            free_from = end
        self._memory_exits.cover(free_from, PHYSICAL_END)

    # The guest's greenlet ----------------------------------------------------------------

    def _run(self, _first_reply: int) -> None:
        """Run, find out why Unicorn stopped, leave with that."""
        while not self._closing:
            error = 0
            if not self._interrupted() and self.clock.refused is None:  # else by _run_straight
                error = library.uc_emu_start(self._engine, self.registers.rip(), _NOWHERE, 0, 0)
            if not self._closing:
                self._stopped(error)

    def _interrupted(self) -> bool:
        """Whether an instruction could not be carried out."""
        return self.door.failure is not None or self._memory_exits.straddled is not None

    def _stopped(self, error: int) -> None:
        door = self.door
        if door.failure is not None:
            failure, door.failure = door.failure, None
            self._host.throw(failure)
        elif self._memory_exits.straddled is not None:
            self._straddled(self._memory_exits.straddled)
        elif self.clock.refused is not None:
            self._finish_slice(*self.clock.refused)
        elif self._instruction_exits.on_hypercall:
            self._instruction_exits.finish_hypercall()
        elif error:
            self._fetch_failed(error)
        else:
            door.leave((_HLT,))

    def _straddled(self, gpa: int) -> None:
        """An access that began in RAM ended in a device; it will be tried again, watched."""
        self._memory_exits.straddled = None
        self.clock.abandon_block(self.view.rip())
        if self._memory_exits.watches_ram:
            self.door.leave((_EPT_VIOLATION, gpa, 0, "straddle"))
            return
        for start, end, _ in self._memory.blocks:
            self._memory_exits.watch_ram(start, end)

    def _finish_slice(self, address: int, size: int, count: int) -> None:
        """Run what is left of the time slice: the first instructions of a block."""
        clock = self.clock
        clock.refused = None
        clock.leave_block()
        left = clock.limit - clock.with_block
        lengths = clock.lengths(address, size, count)
        can_cut = 0 < left < len(lengths)
        if can_cut and not self._run_straight(address, sum(lengths[:left])):
            if clock.refused is None:
                return  # it ended otherwise
            clock.refused = None  # no instruction ends there after all: end the slice early
            can_cut = False
        # The limit may have been raised at an exit meanwhile.
        if clock.with_block >= clock.limit or not can_cut:
            self.door.leave((_PREEMPTION_TIMER,))

    def _run_straight(self, address: int, length: int) -> bool:
        """Run `length` bytes of code without a branch; False if it ended before, otherwise."""
        forget_block(self._engine, address, address + length)
        self.clock.cut(address, length)
        rip = self.registers.rip()
        library.uc_emu_start(self._engine, rip, address + length, 0, 0)
        self.clock.cut(0, 0)
        return not self._interrupted() and self.view.rip() == address + length

    def _fetch_failed(self, error: int) -> None:
        """The guest runs where there is no RAM.

        Unicorn finds out when it translates, before the instructions that lead there have
        run: those first.
        """
        if error not in (UnicornError.FETCH_UNMAPPED, UnicornError.FETCH_PROT):
            raise AssertionError(f"unicorn stopped with error {error}")
        rip = self.view.rip()
        length = sum(self._lengths(self.view.read(rip, PAGE_SIZE), rip, self.view.code_bits()))
        if length and self._run_straight(rip, length):
            return
        if not self._interrupted() and self.clock.refused is None:
            self.door.leave((_EPT_VIOLATION, self.view.rip(), 0, "fetch"))

    def close(self) -> None:
        """End the guest's greenlet and free the engine."""
        if self._closing:
            return
        self._closing = True
        if self._guest:  # suspended in the middle of an instruction: let that come to its end
            self.door.to_host = lambda _exit: 0
            library.uc_emu_stop(self._engine)
            self.enter(0)
        library.uc_close(self._engine)
        self._buffers.clear()

    # Looking at it -------------------------------------------------------------------------

    def now(self) -> int:
        """Guest instructions executed before the present one."""
        return self.clock.before(self.view.rip())

    def moment(self) -> tuple[int, int]:
        """Where the guest stands and what time it is: (linear RIP, instructions)."""
        rip = self.view.rip() if self.bits == 16 else self.registers.rip()
        return rip, self.clock.before(rip)

    def last_branch_from(self) -> int:
        """Where the guest came from: the last instruction of the last block.

        What a processor keeps in MSR_LASTBRANCH_FROM_IP (SDM vol. 3, 18.4).
        """
        return self.clock.last_instruction()

    def code_changed(self) -> None:
        """Somebody outside the guest wrote to its code: translate it anew."""
        forget_all_blocks(self._engine)
