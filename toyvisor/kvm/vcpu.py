"""A virtual CPU: `run()` is ioctl(KVM_RUN).

An exit is first KVM's own affair (kernel devices, CPUID, hypercalls): a lightweight exit,
and back into the guest. What KVM can't finish is written into `kvm_run`, which KVM and
QEMU share, and run() returns. A load or an IN is completed at the next run(), with the
data that QEMU left in `kvm_run`.

Linux: arch/x86/kvm/x86.c, vcpu_enter_guest() and kvm_arch_vcpu_ioctl_run().
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Sequence

from toyvisor.cpu.exit_door import AT_BOUNDARY, KernelHalf, VmExit
from toyvisor.cpu.registers import CONTROL, GENERAL
from toyvisor.cpu.world_switch import Cpu
from toyvisor.errors import UsageError
from toyvisor.exit_reasons import ExitReason
from toyvisor.kvm import special_registers
from toyvisor.kvm.api import (
    DR6_SINGLE_STEP,
    DR7_FIXED,
    EXIT_OFFSET,
    IO_LAYOUT,
    KVM_EXIT_IO_IN,
    KVM_EXIT_IO_OUT,
    MMIO_DATA_OFFSET,
    MMIO_LAYOUT,
    PIO_DATA_OFFSET,
    VCPU_MMAP_SIZE,
    InternalError,
    KvmExit,
    KvmRegs,
    KvmRun,
    KvmSregs,
    emulation_failure,
)
from toyvisor.kvm.cpuid import CpuidRegisters, cpuid
from toyvisor.kvm.event_injection import EventInjection
from toyvisor.kvm.exceptions import (
    explain_delivery_outside_ram,
    explain_emulation_failure,
    explain_triple_fault,
)
from toyvisor.kvm.host_kernel import BareKernel, HostKernel
from toyvisor.kvm.hypercalls import read_hypercall
from toyvisor.kvm.io_bus import KvmIoBus
from toyvisor.kvm.vcpu_block import VcpuBlock
from toyvisor.kvm.vcpu_time import VcpuTime
from toyvisor.kvm.vcpu_trace import VcpuTrace
from toyvisor.memory import GuestMemory
from toyvisor.modes import CpuMode
from toyvisor.trace.events import (
    KVM_CPUID,
    KVM_HYPERCALL,
    KVM_VCPU_WAKEUP,
    VM_ENTRY,
)
from toyvisor.trace.exit_records import (
    KVM_RUN,
    MMIO_EXIT,
    PIO_EXIT,
)
from toyvisor.trace.ledger import Ledger

_IO, _MMIO = int(KvmExit.IO), int(KvmExit.MMIO)
_HLT, _SHUTDOWN, _INTR = int(KvmExit.HLT), int(KvmExit.SHUTDOWN), int(KvmExit.INTR)
_DEBUG, _DEBUG_EXCEPTION = int(KvmExit.DEBUG), 1
_EPT_VIOLATION = int(ExitReason.EPT_VIOLATION)

_MODES = {mode.bits: mode for mode in CpuMode}


class Vcpu:
    """A vCPU's file descriptor, with its `kvm_run` mapped."""

    def __init__(
        self,
        vcpu_id: int,
        memory: GuestMemory,
        ledger: Ledger,
        pio_bus: KvmIoBus,
        mmio_bus: KvmIoBus,
        host: HostKernel | None = None,
    ) -> None:
        self.id = vcpu_id
        self.kvm_run = KvmRun(mmap.mmap(-1, VCPU_MMAP_SIZE))
        #: KVM_CAP_EXIT_HYPERCALL
        self.exit_hypercalls = 0
        #: Why KVM_EXIT_SHUTDOWN or KVM_EXIT_INTERNAL_ERROR: for people, not in the ABI.
        self.explanation = ""
        #: It sleeps in HLT for good: nothing can wake it, and run() gave up.
        self.asleep = False
        #: What waits to be injected.
        self.events = EventInjection(ledger)
        self._host: HostKernel = host if host is not None else BareKernel()
        #: Deadline, time slice and timers.
        self.timing = VcpuTime(self._host.timers)
        self._block = VcpuBlock(self._host, self.timing, self.events)
        self._memory = memory
        self._ledger = ledger
        self._trace = ledger.trace
        self._told = VcpuTrace(ledger)
        self._kernel = KernelHalf(
            mmio_bus.read, mmio_bus.write, pio_bus.read, pio_bus.write, self._emulate_cpuid
        )
        self._buses = mmio_bus, pio_bus
        self._is_traced = False
        #: KVM_GUESTDBG_SINGLESTEP, and whether an instruction is under way.
        self._is_stepping = self._in_step = False
        self._cpu: Cpu | None = None
        self._sregs = KvmSregs()
        #: The exit that run() has to finish before it enters the guest: a load or an IN.
        self._complete: VmExit | None = None
        self._handlers: dict[int, Callable[[VmExit], int | None]] = {
            ExitReason.EPT_VIOLATION: self._handle_ept,
            ExitReason.EPT_MISCONFIG: self._handle_ept,
            ExitReason.IO_INSTRUCTION: self._handle_io,
            ExitReason.HLT: self._handle_hlt,
            ExitReason.VMCALL: self._handle_vmcall,
            ExitReason.TRIPLE_FAULT: self._handle_triple_fault,
            ExitReason.TASK_SWITCH: self._handle_task_switch,
            ExitReason.PREEMPTION_TIMER: self._handle_timer,
            ExitReason.INTERRUPT_WINDOW: self._handle_window,
            ExitReason.NMI_WINDOW: self._handle_window,
            AT_BOUNDARY: self._at_boundary,
        }

    # ioctls ---------------------------------------------------------------------------

    def run(self) -> None:
        """KVM_RUN: run the guest until userspace is needed; `kvm_run` says what for."""
        reply: int | None = self._completion() if self._complete is not None else 0
        trace = self._trace
        cpu = self.cpu
        if trace.enabled:
            if self.events.requested:
                self._told.run_without_entry(self._complete, reply)
                if not self.asleep:
                    self._reenter()
            elif self._complete is None:
                trace.append((trace.now, trace.thread, KVM_RUN.name))
            else:
                self._told.run(self._complete, reply)
        self._complete = None
        if trace.enabled is not self._is_traced:
            self._watch_exits(cpu, watched=trace.enabled)
        if self._is_stepping and not self._in_step:
            self._in_step = True
            self.timing.begin_step()
        if self.asleep:
            self.asleep = False
            reply = self._halt()
        enter = cpu.enter
        handlers = self._handlers
        events = self.events
        while reply is not None:
            if events.requested:
                events.prepare(cpu)
            exit_ = enter(reply)
            reply = handlers[exit_[0]](exit_)

    def get_regs(self) -> KvmRegs:
        """KVM_GET_REGS."""
        return KvmRegs(*self.cpu.registers.general())

    def set_regs(self, regs: KvmRegs) -> None:
        """KVM_SET_REGS. Raises UsageError while an MMIO or port exit waits for its answer."""
        if self._complete is not None:
            raise UsageError("registers can't be set before the pending access is completed")
        self.cpu.registers.set_general(tuple(getattr(regs, name) for name in GENERAL))

    def get_sregs(self) -> KvmSregs:
        """KVM_GET_SREGS: as set, with control registers and selectors as they are now."""
        special_registers.renew(self._sregs, self.cpu.registers)
        return self._sregs

    def set_sregs(self, sregs: KvmSregs) -> None:
        """KVM_SET_SREGS, before the first run: this chooses the processor's mode."""
        if self._cpu is not None:
            raise UsageError("the toy KVM takes special registers before the first KVM_RUN only")
        self._sregs = sregs
        bits = special_registers.code_bits(sregs)
        self._cpu = self._create_cpu(bits)
        special_registers.load(self._cpu.registers, sregs, bits)

    def set_guest_debug(self, *, single_step: bool) -> None:
        """KVM_SET_GUEST_DEBUG: run() returns KVM_EXIT_DEBUG behind each instruction, or not."""
        self._is_stepping = single_step
        if not single_step and self._in_step:
            self._in_step = False
            self.timing.cancel_step()

    def complete(self) -> bool:
        """Nothing to do: the toy finishes an instruction that has exited in its next step."""
        return False

    def nmi(self) -> None:
        """KVM_NMI: a non-maskable interrupt."""
        self.events.nmi()

    @property
    def deadline(self) -> int:
        """When the guest's time is over, in its instructions: run() returns KVM_EXIT_INTR."""
        return self.timing.deadline

    @deadline.setter
    def deadline(self, instructions: int) -> None:
        self.timing.deadline = instructions

    def kick(self) -> None:
        """Out of the guest, for good: run() returns KVM_EXIT_INTR from now on."""
        self.timing.deadline = 0

    @property
    def time(self) -> int:
        """The machine's time."""
        return self.timing.now

    @property
    def time_is_up(self) -> str:
        """What to say of a guest that did not end."""
        return f"the guest was still running after {self.deadline:,} instructions"

    @property
    def slice_is_over(self) -> bool:
        """After KVM_EXIT_INTR: whether only its turn is over, and it may go on."""
        return self.timing.slice_is_over and not self.asleep

    def begin_slice(self, instructions: int | None) -> None:
        """Let it run so long before others have the processor; None: as long as it likes."""
        self.timing.slice_end = None if instructions is None else self.instructions + instructions

    def shorten_slice(self, instructions: int) -> None:
        """As begin_slice(), if it may run as long as it likes."""
        if self.timing.slice_end is None:
            self.begin_slice(instructions)

    @property
    def interrupted_at(self) -> int | None:
        """RIP where the last interrupt came in, if there was one."""
        return self.events.interrupted_at

    @property
    def vectors(self) -> int:
        """The vectors of all interrupts so far, a bit for each."""
        return self.events.vectors

    @property
    def instructions(self) -> int:
        """Guest instructions executed so far."""
        return self.cpu.now()

    #: The guest runs in run() only, and whoever asks anything asks outside of it.
    is_in_guest = False

    def linear_rip(self) -> int:
        """The linear address of the present instruction."""
        return self.cpu.view.rip()

    @property
    def ran_on(self) -> bool:
        """Whether the guest came to its present instruction without a jump."""
        return self.cpu.clock.fell_through_to(self.cpu.view.rip())

    def last_branch_from(self) -> int:
        """The linear address of the instruction that led to the present code."""
        return self.cpu.last_branch_from()

    @property
    def cpu(self) -> Cpu:
        """The processor; one fresh from reset (real mode) if nobody set special registers."""
        if self._cpu is None:
            self._cpu = self._create_cpu(16)
        return self._cpu

    def close(self) -> None:
        """Close the file descriptor."""
        if self._cpu is not None:
            self._cpu.close()

    # Exit handlers: None returns to userspace, a number answers and re-enters ------------

    def _handle_ept(self, exit_: VmExit) -> int | None:
        reason, gpa, size, is_write, *value = exit_
        if not size:
            return self._handle_failure(gpa, is_write)
        run = self.kvm_run
        ledger = self._ledger
        MMIO_LAYOUT.pack_into(run.mapping, EXIT_OFFSET, gpa, 0, size, is_write)
        if is_write:
            ledger.store(ledger.guest_to_kvm, run.mapping, MMIO_DATA_OFFSET, value[0], size)
        else:
            self._complete = exit_
        if self._trace.enabled:
            trace, rip = self._trace, self._told.rip
            trace.append(
                (trace.now, trace.thread, MMIO_EXIT.name, reason, rip, gpa, size, is_write,
                 value[0], ledger.guest_to_kvm.name)
            )  # fmt: skip
        run.fields.exit_reason = _MMIO
        ledger.userspace[_MMIO] += 1
        return None

    def _handle_io(self, exit_: VmExit) -> int | None:
        reason, port, size, is_write, value, count = exit_
        run = self.kvm_run
        ledger = self._ledger
        direction = KVM_EXIT_IO_OUT if is_write else KVM_EXIT_IO_IN
        IO_LAYOUT.pack_into(run.mapping, EXIT_OFFSET, direction, size, port, count, PIO_DATA_OFFSET)
        if is_write:
            ledger.store(ledger.guest_to_kvm, run.mapping, PIO_DATA_OFFSET, value, size)
        else:
            self._complete = exit_
        if self._trace.enabled:
            hop = ledger.guest_to_kvm.name
            self._trace.emit(
                PIO_EXIT, reason, self._told.rip, port, size, is_write, value, count, hop
            )
        run.fields.exit_reason = _IO
        ledger.userspace[_IO] += 1
        return None

    def _handle_hlt(self, exit_: VmExit) -> int | None:
        """kvm_emulate_halt(): userspace finds RIP behind the HLT; the exit was at it.

        With the interrupt controllers in the kernel, the vCPU sleeps in the kernel, too.
        """
        self._told.rip -= 1
        if self.events.irqchip is None:
            return self._return(_HLT, exit_[0])
        self._told.exit(exit_[0])
        return self._halt()

    def _halt(self) -> int | None:
        """kvm_vcpu_halt(): asleep until an interrupt comes. None: none ever will."""
        cpu, start = self.cpu, self.timing.now
        if not self._block.block(cpu):
            self.asleep = True
            self.explanation = self._block.why(cpu)
            self.kvm_run.fields.exit_reason = _INTR
            return None
        if self._trace.enabled:
            self._trace.emit(KVM_VCPU_WAKEUP, self.timing.now - start)
        return self._reenter()

    def _watch_exits(self, cpu: Cpu, *, watched: bool) -> None:
        """Somebody begins or ends to trace."""
        self._is_traced = watched
        cpu.door.on_exit = self._told.note_exit if watched else None
        cpu.door.kernel = self._traced_kernel() if watched else self._kernel

    def _traced_kernel(self) -> KernelHalf:
        from toyvisor.kvm.lightweight import TracedBuses

        traced = TracedBuses(*self._buses, self._told, self._tell_entry)
        return KernelHalf(
            traced.mmio_read, traced.mmio_write, traced.pio_read, traced.pio_write,
            self._emulate_cpuid,
        )  # fmt: skip

    def _handle_timer(self, exit_: VmExit) -> int | None:
        """The preemption timer: a timer of the kernel's, or the end of a time slice."""
        self._told.exit(exit_[0])  # before what the timers do
        was_a_timer = self.timing.limit_reached()
        if self.timing.end_step():
            return self._stepped()
        if was_a_timer:
            return self._reenter()
        return self._return(_INTR, None)

    def _stepped(self) -> int | None:
        """kvm_vcpu_do_singlestep(): behind an instruction, as the processor's trap flag has it."""
        self._in_step = False
        debug = self.kvm_run.debug
        debug.exception, debug.pc = _DEBUG_EXCEPTION, self.cpu.view.rip()
        debug.dr6, debug.dr7 = DR6_SINGLE_STEP, DR7_FIXED
        return self._return(_DEBUG, None)

    def _handle_window(self, exit_: VmExit) -> int | None:
        """The guest can take an interrupt now: prepare() injects it."""
        self._told.exit(exit_[0])
        return self._reenter()

    def _reenter(self) -> int:
        """Back into the guest after an exit that KVM has finished, with what it can inject."""
        if self.events.requested:
            self.events.prepare(self.cpu)
        if self._trace.enabled:
            self._tell_entry()
        return 0

    def _tell_entry(self) -> None:
        """Into the guest; but an event that is injected behind the present instruction comes first.

        What stands between the two is not the guest running, as KVM sees it.
        """
        self._told.owes_entry = self.events.requested and self.cpu.boundary.armed
        if not self._told.owes_entry:
            self._trace.emit(VM_ENTRY)

    def _at_boundary(self, _exit: VmExit) -> int:
        """Not an exit: the guest stands where an event can be injected."""
        if self.events.requested:
            self.events.prepare(self.cpu)
        if self._trace.enabled and self._told.owes_entry:
            self._tell_entry()
        return 0

    def _handle_vmcall(self, exit_: VmExit) -> int | None:
        """kvm_emulate_hypercall(): most end in the kernel."""
        call = read_hypercall(self.cpu)
        if call.goes_to_userspace(self.exit_hypercalls):
            hypercall = self.kvm_run.hypercall
            hypercall.nr, hypercall.ret, hypercall.flags = call.nr, 0, int(call.bits == 64)
            hypercall.args[:] = [*call.args[:3], 0, 0, 0]
            self._complete = exit_
            return self._return(int(KvmExit.HYPERCALL), exit_[0])
        self._told.answered(exit_[0], KVM_HYPERCALL, call.nr, *call.args, call.answer)
        return call.answer & call.mask

    def _handle_triple_fault(self, exit_: VmExit) -> int | None:
        registers = self.cpu.registers
        cr2 = registers.read_special(CONTROL["cr2"])
        code = self.cpu.view.read(self.cpu.view.rip(), 2)
        self.explanation = explain_triple_fault(
            exit_[1], code, registers.idt(), cr2, self.cpu.failed_deliveries,
            self.events.irq_of(exit_[1]),
        )  # fmt: skip
        return self._return(_SHUTDOWN, exit_[0])

    def _handle_task_switch(self, exit_: VmExit) -> int | None:
        self.explanation = f"{exit_[1]}: this processor does not switch tasks"
        return self._internal_error(InternalError.EMULATION, emulation_failure(b""), exit_[0])

    def _handle_failure(self, gpa: int, why: str) -> int | None:
        """An EPT violation that is no load or store of the guest's."""
        view = self.cpu.view
        if why == "delivery":
            registers = self.cpu.registers
            self.explanation = explain_delivery_outside_ram(
                gpa, registers.idt(), registers.gdt(), registers.read("rsp")
            )
            return self._internal_error(InternalError.DELIVERY_EV, [0, _EPT_VIOLATION, gpa], 48)
        self.explanation = explain_emulation_failure(gpa, why, ran_on=self.ran_on)
        return self._internal_error(
            InternalError.EMULATION, emulation_failure(view.read(view.rip(), 15)), _EPT_VIOLATION
        )

    def _emulate_cpuid(self, leaf: int, subleaf: int) -> CpuidRegisters:
        values = cpuid(leaf)
        self._told.answered(int(ExitReason.CPUID), KVM_CPUID, leaf, subleaf, *values)
        return values

    # Helpers ------------------------------------------------------------------------------

    def _return(self, reason: int, vmx_reason: int | None) -> int | None:
        """Leave for userspace. `vmx_reason` None: the exit has been told already."""
        self.kvm_run.fields.exit_reason = reason
        self._ledger.userspace[reason] += 1
        self._told.userspace_exit(vmx_reason, reason)
        return None

    def _internal_error(
        self, suberror: InternalError, data: Sequence[int], vmx_reason: int
    ) -> int | None:
        internal = self.kvm_run.internal
        internal.suberror = suberror
        internal.ndata = len(data)
        internal.data[: len(data)] = data
        return self._return(int(KvmExit.INTERNAL_ERROR), vmx_reason)

    def _completion(self) -> int:
        """complete_userspace_io(): fetch what QEMU answered, for the waiting instruction."""
        assert self._complete is not None
        mapping, ledger = self.kvm_run.mapping, self._ledger
        reason, *rest = self._complete
        if reason == ExitReason.VMCALL:
            return int(self.kvm_run.hypercall.ret)
        size: int = rest[1]
        if reason != ExitReason.IO_INSTRUCTION:
            return ledger.load(ledger.kvm_to_guest, mapping, MMIO_DATA_OFFSET, size)
        count: int = rest[4]
        if count == 1:
            return ledger.load(ledger.kvm_to_guest, mapping, PIO_DATA_OFFSET, size)
        elements = bytearray(size * count)
        data = memoryview(mapping)[PIO_DATA_OFFSET : PIO_DATA_OFFSET + size * count]
        ledger.copy(ledger.kvm_to_guest, elements, 0, data)
        return int.from_bytes(elements, "little")

    def _create_cpu(self, bits: int) -> Cpu:
        cpu = Cpu(bits, self._memory, self._ledger.exits, self._kernel, _instruction_lengths)
        cpu.registers.write("rflags", 2)
        self._memory.on_code_written = cpu.code_changed
        self.events.attach(cpu)
        self.timing.attach(cpu)
        return cpu


def _instruction_lengths(code: bytes, address: int, bits: int) -> list[int]:
    from toyvisor.guest.disassembler import instruction_lengths  # only if somebody asks

    return instruction_lengths(code, address, _MODES[bits])
