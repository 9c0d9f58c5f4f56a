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
from collections.abc import Callable, Iterable, Sequence
from ctypes import c_void_p
from typing import TYPE_CHECKING

from greenlet import getcurrent, greenlet

from toyvisor.cpu.clock import Clock, InstructionLengths
from toyvisor.cpu.events import (
    DB,
    PF,
    Event,
    EventType,
    OutsideRamError,
    TripleFault,
    UnsupportedDelivery,
)
from toyvisor.cpu.exit_door import AT_BOUNDARY, BETWEEN, ExitDoor, KernelHalf, VmExit
from toyvisor.cpu.guest_view import GuestView
from toyvisor.cpu.instruction_boundary import InstructionBoundary
from toyvisor.cpu.instruction_exits import InstructionExits
from toyvisor.cpu.memory_exits import MemoryExits
from toyvisor.cpu.port_exits import PortExits
from toyvisor.cpu.processor_state import HF2_NMI, ProcessorState
from toyvisor.cpu.registers import CONTROL, SEGMENTS, Registers
from toyvisor.cpu.repeats import counter_bits, is_iret
from toyvisor.cpu.string_input import StringInput
from toyvisor.cpu.unicorn_abi import (
    UC_ARCH_X86,
    UC_MODE,
    UC_PROT_ALL,
    UnicornError,
    check,
    forget_all_blocks,
    forget_block,
    forget_translations,
    library,
    set_cpu_model,
    set_exits,
    use_exits,
)
from toyvisor.cpu.write_watch import WriteWatch
from toyvisor.exit_reasons import ExitReason
from toyvisor.memory import PAGE_SIZE, GuestMemory
from toyvisor.modes import RFLAGS_IF, RFLAGS_RF

if TYPE_CHECKING:
    from toyvisor.cpu.event_delivery import EventDelivery

#: Guest-physical addresses end here (52 bits, the architecture's most).
PHYSICAL_END = 1 << 52

_EPT_VIOLATION = int(ExitReason.EPT_VIOLATION)
_HLT = int(ExitReason.HLT)
_TASK_SWITCH = int(ExitReason.TASK_SWITCH)
_TRIPLE_FAULT = int(ExitReason.TRIPLE_FAULT)
_PREEMPTION_TIMER = int(ExitReason.PREEMPTION_TIMER)
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
        use_exits(engine)
        self.registers = Registers(engine, bits)
        self.registers.reset_fpu()
        if bits == 16:
            self._enter_real_mode()
        self.state = ProcessorState(engine, self.registers)
        self.view = GuestView(bits, self.registers, self.state, memory)
        self.clock = Clock(engine, self.view, lengths)
        self._host = getcurrent()
        self.door = ExitDoor(engine, kernel, exits, self.moment, self._host.switch)
        self.clock.fail = self.door.fail
        ins = StringInput(self.registers, self.view, self.clock)
        self._memory_exits = MemoryExits(engine, self.door, ins, has_ins=self.clock.blocks_with_ins)
        self._port_exits = PortExits(engine, self.door, ins)
        self.boundary = InstructionBoundary(
            engine, self.registers, self.state, self.view, self.clock, self.door,
            self._memory_exits,
        )  # fmt: skip
        self._instruction_exits = InstructionExits(
            engine, self.door, self.registers, self.state, self.view, self.boundary, self.time
        )
        self._delivery: EventDelivery | None = None
        self._window: Callable[[], int] | None = None
        self._injection: Event | None = None
        self._cr2 = 0  # when the guest was last entered
        self._last_fault = -1  # when there was one, in instructions
        #: What RF in an interrupt's frame depends on (_resume_flag).
        self._is_between_rounds = self._is_behind_iret = False
        self._code_is_stale = False
        #: For a debugger: called where the guest stands between two instructions, before it goes
        #: on. That is so at `clock.debug_stop`, at `clock.breakpoints`, and now and then besides.
        self.on_boundary: Callable[[], None] | None = None
        #: Interrupts and exceptions that have been delivered.
        self.deliveries = 0
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
            if self.boundary.armed and not self._interrupted():
                self._reached_boundary()
            if self._injection is not None:
                event, self._injection = self._injection, None
                self._deliver(event, resume_flag=self._resume_flag())
            if self.on_boundary is not None and not self._interrupted() and not self.clock.refused:
                self.on_boundary()
            if self._closing:
                break
            if not self._interrupted() and self.clock.refused is None:  # else by _run_straight
                self._is_between_rounds = self._is_behind_iret = False
                self._cr2 = self.registers.read_special(CONTROL["cr2"])
                error = library.uc_emu_start(self._engine, self.registers.rip(), 0, 0, 0)
                self.door.access = BETWEEN
            if not self._closing:
                self._stopped(error)

    def _interrupted(self) -> bool:
        """Whether an instruction could not be carried out."""
        return (
            self.door.failure is not None
            or self._memory_exits.straddled is not None
            or self._memory_exits.cancelling
            or self._instruction_exits.event is not None
        )

    def _stopped(self, error: int) -> None:
        door = self.door
        event, straddled = self._instruction_exits.event, self._memory_exits.straddled
        if door.failure is not None:
            failure, door.failure = door.failure, None
            self._host.throw(failure)
        elif event is not None and (straddled is None or event.vector == PF):
            self._deliver_raised(event)
        elif straddled is not None:
            self._straddled(straddled)
        elif self._memory_exits.cancelling:
            self._replay()
        elif self.clock.refused is not None:
            self._refused(*self.clock.refused)
        elif self._instruction_exits.on_hypercall:
            self._instruction_exits.finish_hypercall()
        elif self.boundary.at_port:
            pass  # behind an IN or OUT: see _reached_boundary()
        elif error:
            self._fetch_failed(error)
        else:
            door.leave((_HLT,))

    def _reached_boundary(self) -> None:
        """The guest stands between two instructions, as somebody asked it to."""
        if self.clock.refused is None and self.boundary.at_port:
            self.clock.abandon_block(self.view.rip())
        self.clock.refused = None
        self._settle()
        self.boundary.disarm()
        self._forget_code()
        self.door.to_host((AT_BOUNDARY,))

    def _leave_block(self) -> None:
        """The guest stands before a block. Is it one more round of a repeated instruction?"""
        if self.clock.state.block_size:
            rip, last = self.view.rip(), self.clock.last_instruction()
            self._is_between_rounds = self._stays_at(rip)
            self._is_behind_iret = last != rip and is_iret(self.view.read(last, 15))
            self.clock.leave_block()

    def _stays_at(self, rip: int) -> bool:
        """Whether the instruction just executed is repeated, and one more round comes."""
        return self.clock.last_instruction() == rip and self._counter_bits(rip) is not None

    def _resume_flag(self) -> bool:
        """RF, as a processor has it here (SDM vol. 3, 18.3.1.1).

        Every instruction but IRET clears it; in Unicorn only some of those that end a block do.
        """
        if self._is_behind_iret:
            return bool(self.registers.read("rflags") & RFLAGS_RF)
        return self._is_between_rounds

    def _counter_bits(self, rip: int) -> int | None:
        return counter_bits(self.view.read(rip, 15), self.view.code_bits())

    def _settle(self) -> None:
        """Stand where a processor would.

        After the last round of a repeated instruction Unicorn comes back to it once more, to
        find the count at zero. A processor is done with it.
        """
        self._leave_block()
        if not self._is_between_rounds:
            return
        rip = self.view.rip()
        if self.registers.read("rcx") & (1 << (self._counter_bits(rip) or 64)) - 1 == 0:
            self.clock.may_refuse = False
            self._run_straight(rip, self._length_at(rip))
            self.clock.may_refuse = True
            self._leave_block()

    def _replay(self) -> None:
        """Run an instruction that was given up in the middle, once more and alone."""
        rip = self.view.rip()
        self.clock.abandon_block(rip)
        self._memory_exits.begin_replay()
        self.clock.may_refuse = False
        self.boundary.begin_step()
        library.uc_emu_start(self._engine, self.registers.rip(), 0, 0, 0)
        self.boundary.end_step()
        self.door.access = BETWEEN
        self.clock.may_refuse = True
        self._memory_exits.end_replay()

    def _length_at(self, rip: int) -> int:
        return self._lengths(self.view.read(rip, 15), rip, self.view.code_bits())[0]

    def _refused(self, address: int, size: int, count: int) -> None:
        """The guest stands before a block: time is up, or an interrupt can come in."""
        if self.boundary.armed:
            return  # that is where it was to stop
        reason = self._window() if self._window is not None else 0
        if reason:
            self._leave_for_window(reason)
        else:
            self._finish_slice(address, size, count)

    def _leave_for_window(self, reason: int) -> None:
        self.close_window()
        self.clock.refused = None
        self._settle()
        self.door.leave((reason,))

    def _deliver_raised(self, event: Event) -> None:
        """An exception or INT n: not an exit, but the processor's own work.

        Page tables outside RAM look like an access that runs out of it; what is read there is
        zero, and so the page is not present.
        """
        self._instruction_exits.event = self._memory_exits.straddled = None
        if event.vector == PF and self._ran_ahead():
            return
        self.boundary.clear_breakpoint()
        if event.type is EventType.PRIVILEGED_SOFTWARE_EXCEPTION:
            # Unknown to Unicorn, which has left RIP at it.
            self.registers.write("rip", self.registers.rip() + event.length)
        rip = self.view.rip()
        between_rounds = event.vector == DB and self._stays_at(rip)
        self.clock.abandon_block(rip)
        self._memory_exits.cancelling = False
        self._deliver(event, resume_flag=between_rounds)
        self._let_time_pass()

    def _let_time_pass(self) -> None:
        """A handler whose first instruction faults costs an instruction, executed or not.

        For a guest can do that for ever, and its time has to come to an end.
        """
        clock = self.clock
        if clock.with_block == self._last_fault:
            clock.add_one()
            if clock.with_block >= clock.limit:
                self.door.leave((_PREEMPTION_TIMER,))
        self._last_fault = clock.with_block

    def _ran_ahead(self) -> bool:
        """Whether a page fault is not due yet, for it is a fetch's, of a block not begun.

        Unicorn translates to the end of a block, and takes the fault at its beginning. First
        come the interrupts that can come in there, and the instructions that lead to the page.
        """
        rip, block = self.view.rip(), self.clock.state
        if block.block <= rip < block.block + block.block_size:
            return False  # begun: it is a load's or a store's
        to_page = self.registers.read_special(CONTROL["cr2"]) - rip
        code = self.view.read(rip, to_page) if 0 < to_page <= PAGE_SIZE else b""
        length = sum(self._lengths(code, rip, self.view.code_bits()))
        reason = self._window() if self._window is not None else 0
        if not (length or self.boundary.armed or reason):
            return False
        self.state.load()
        self.state.exception.old_exception = -1
        self.state.store()
        self.registers.write_special(CONTROL["cr2"], self._cr2)
        if not self.boundary.armed:
            if reason:
                self._leave_for_window(reason)
            else:
                self._run_straight(rip, length)
        return True

    def _straddled(self, gpa: int) -> None:
        """An access that began in RAM ended in a device; it will be tried again, watched.

        What the instruction has loaded from a device before, it is given again.
        """
        memory_exits = self._memory_exits
        memory_exits.straddled = self._instruction_exits.event = None
        memory_exits.cancelling = False
        if memory_exits.watches_ram:
            self.clock.abandon_block(self.view.rip())
            self.door.leave((_EPT_VIOLATION, gpa, 0, "straddle"))
            return
        for start, end, _ in self._memory.blocks:
            memory_exits.watch_ram(start, end)
        memory_exits.remember_load()
        self._replay()

    def _finish_slice(self, address: int, size: int, count: int) -> None:
        """Run what is left of the time slice: the first instructions of a block."""
        clock = self.clock
        clock.refused = None
        self._leave_block()
        left = clock.limit - clock.with_block
        lengths = clock.lengths(address, size, count)
        debugged = clock.instructions_to_stop(address, lengths)
        if clock.with_block + count <= clock.limit or debugged < min(left, len(lengths)):
            self._stop_for_debugger(address, lengths[:debugged], size)
            return
        can_cut = 0 < left < len(lengths)
        if can_cut and not self._run_straight(address, sum(lengths[:left])):
            if clock.refused is None:
                return  # it ended otherwise
            clock.refused = None  # no instruction ends there after all: end the slice early
            can_cut = False
        # The limit may have been raised at an exit meanwhile.
        if clock.with_block >= clock.limit or not can_cut:
            self.door.leave((_PREEMPTION_TIMER,))

    def _stop_for_debugger(self, address: int, lengths: Sequence[int], size: int) -> None:
        """Run the first instructions of a block, up to where a debugger wants to look."""
        clock = self.clock
        if lengths and not self._run_straight(address, sum(lengths)) and clock.refused is not None:
            # No instruction ends there after all, as the disassembler does not know one of the
            # block: behind the block, then.
            clock.refused = None
            clock.may_refuse = False
            self._run_straight(address, size)
            clock.may_refuse = True

    def _run_straight(self, address: int, length: int) -> bool:
        """Run `length` bytes of code without a branch; False if it ended before, otherwise."""
        forget_block(self._engine, address, address + length)
        self.clock.cut(address, length)
        self._is_between_rounds = self._is_behind_iret = False
        set_exits(self._engine, address + length)
        library.uc_emu_start(self._engine, self.registers.rip(), 0, 0, 0)
        set_exits(self._engine)
        self.door.access = BETWEEN
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

    # Events --------------------------------------------------------------------------------

    def inject(self, event: Event) -> None:
        """VM-entry event injection: the next entry delivers `event` first.

        Only where the guest stands between two instructions. What can't be delivered leaves
        as a triple fault, or, where a table or a stack has no RAM behind it, as an EPT
        violation.
        """
        self._injection = event

    @property
    def is_injecting(self) -> bool:
        """Whether an event waits for the next entry."""
        return self._injection is not None

    def _deliver(self, event: Event, *, resume_flag: bool) -> None:
        leave_with: VmExit | None = None
        delivery = self._event_delivery()
        try:
            delivery.deliver(event, resume_flag=resume_flag)
        except TripleFault:
            leave_with = (_TRIPLE_FAULT, event.vector)
        except OutsideRamError as outside:
            leave_with = (_EPT_VIOLATION, outside.gpa, 0, "delivery")
        except UnsupportedDelivery as unsupported:
            leave_with = (_TASK_SWITCH, str(unsupported))
        self.deliveries += 1
        if event.length and delivery.failures:
            self.clock.take_back_one()  # INT n that could not be delivered was not executed
        if leave_with is not None:
            self.door.leave(leave_with)

    def _event_delivery(self) -> EventDelivery:
        """Made when it is first needed: most small guests have no interrupts and no faults."""
        if self._delivery is None:
            from toyvisor.cpu.event_delivery import EventDelivery

            self._delivery = EventDelivery(self.registers, self.state, self.view, self._memory)
        return self._delivery

    @property
    def failed_deliveries(self) -> list[tuple[Event, str]]:
        """Of the last delivery: what could not be delivered, and why."""
        return self._delivery.failures if self._delivery is not None else []

    @property
    def interrupts_are_on(self) -> bool:
        """IF."""
        return bool(self.registers.read("rflags") & RFLAGS_IF)

    def can_be_interrupted(self) -> bool:
        """Whether an external interrupt is taken here: IF, and no shadow of STI or SS."""
        if not self.interrupts_are_on:
            return False
        self.state.load()
        return not self.state.in_shadow

    def can_take_nmi(self) -> bool:
        """Whether an NMI is taken here: no handler of one runs, and no shadow."""
        return not self.in_nmi and not self.state.in_shadow

    @property
    def in_nmi(self) -> bool:
        """Whether NMIs are blocked: one was delivered, or will be, and no IRET came since."""
        if self._injection is not None and self._injection.type is EventType.NMI:
            return True
        self.state.load()
        return bool(self.state.front.hflags2 & HF2_NMI)

    @property
    def in_instruction(self) -> bool:
        """Whether the guest is in the middle of an instruction, at its exit."""
        return self.door.access != BETWEEN

    def open_window(self, reason: Callable[[], int]) -> None:
        """Ask `reason` between any two blocks; leave with it as soon as it is not 0."""
        self._window = reason
        if not self.boundary.armed:
            self.clock.watch = reason

    def close_window(self) -> None:
        """No such exit is wanted any more."""
        self._window = None
        if not self.boundary.armed:
            self.clock.watch = None

    def enable_interrupts(self) -> None:
        """Interrupts may come: be able to stop behind an exit (instruction_boundary.py)."""
        self._memory_exits.logs = True
        if not self.in_instruction:
            self.boundary.break_on_ports()

    def close(self) -> None:
        """End the guest's greenlet and free the engine."""
        if self._closing:
            return
        self._closing = True
        if self._guest:  # suspended in the middle of an instruction: let that come to its end
            self.door.to_host = self._stop_again
            self._stop_again(None)
            self.enter(0)
        self.state.close()
        library.uc_close(self._engine)
        self._buffers.clear()

    def _stop_again(self, _exit: VmExit | None) -> int:
        """Nobody listens any more: a guest that loops must not go on for ever."""
        self.clock.limit = 0
        library.uc_emu_stop(self._engine)
        return 0

    # Looking at it -------------------------------------------------------------------------

    def now(self) -> int:
        """Guest instructions executed before the present one."""
        return self.clock.before(self.view.rip())

    def time(self) -> int:
        """Guest time: instructions, and what the guest has slept through."""
        return self.now() + self.clock.idle

    def moment(self) -> tuple[int, int]:
        """Where the guest stands and what time it is: (linear RIP, instructions)."""
        rip = self.view.rip() if self.bits == 16 else self.registers.rip()
        return rip, self.clock.before(rip)

    def last_branch_from(self) -> int:
        """Where the guest came from: the last instruction of the last block.

        What a processor keeps in MSR_LASTBRANCH_FROM_IP (SDM vol. 3, 18.4).
        """
        return self.clock.last_instruction()

    # For checkpoints -------------------------------------------------------------------------

    @property
    def held_by_unicorn(self) -> tuple[object, ...]:
        """Objects that C points to: they stay, whatever the processor goes back to."""
        return self._buffers, *self._memory_exits.held_by_unicorn

    def watch_writes(self, spans: Iterable[tuple[int, int]]) -> WriteWatch:
        """Notice stores to some bytes of RAM, until it is closed."""
        return WriteWatch(self._engine, spans)

    def saved(self) -> bytes:
        """The processor where it stands, between two instructions."""
        return self.state.saved()

    def put_back(self, processor: bytes) -> None:
        """Make the processor what it was at saved(). RAM may be another one, too."""
        self.state.put_back(processor)
        self.clock.forget_blocks()
        forget_translations(self._engine)

    def code_changed(self) -> None:
        """Somebody outside the guest wrote to its code: translate it anew.

        Not in the middle of an instruction, whose translation is still in use.
        """
        self._code_is_stale = True
        if self.in_instruction:
            self.boundary.arm()
        else:
            self._forget_code()

    def _forget_code(self) -> None:
        if self._code_is_stale:
            self._code_is_stale = False
            forget_all_blocks(self._engine)
