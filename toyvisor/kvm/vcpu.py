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

from toyvisor.cpu.clock import FOREVER
from toyvisor.cpu.exit_door import KernelHalf, VmExit
from toyvisor.cpu.registers import CONTROL, GENERAL, MSR_EFER, SEGMENTS
from toyvisor.cpu.world_switch import Cpu
from toyvisor.errors import UsageError
from toyvisor.exit_reasons import ExitReason
from toyvisor.kvm.api import (
    EXIT_OFFSET,
    IO_LAYOUT,
    KVM_ENOSYS,
    KVM_EPERM,
    KVM_EXIT_IO_IN,
    KVM_EXIT_IO_OUT,
    MMIO_DATA_OFFSET,
    MMIO_LAYOUT,
    PIO_DATA_OFFSET,
    VCPU_MMAP_SIZE,
    Hypercall,
    InternalError,
    KvmExit,
    KvmRegs,
    KvmRun,
    KvmSregs,
    emulation_failure,
)
from toyvisor.kvm.cpuid import CpuidRegisters, cpuid
from toyvisor.kvm.exceptions import exception_name, explain_triple_fault
from toyvisor.kvm.io_bus import KvmIoBus
from toyvisor.memory import GuestMemory
from toyvisor.modes import CR0_PE, EFER_LMA, CpuMode
from toyvisor.trace.events import (
    KVM_CPUID,
    KVM_HYPERCALL,
    KVM_USERSPACE_EXIT,
    VM_ENTRY,
    VM_EXIT,
)
from toyvisor.trace.exit_records import (
    KVM_RUN,
    KVM_RUN_MMIO_READ,
    KVM_RUN_PIO_READ,
    MMIO_EXIT,
    PIO_EXIT,
)
from toyvisor.trace.ledger import Ledger

_IO, _MMIO = int(KvmExit.IO), int(KvmExit.MMIO)
_HLT, _SHUTDOWN, _INTR = int(KvmExit.HLT), int(KvmExit.SHUTDOWN), int(KvmExit.INTR)
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
    ) -> None:
        self.id = vcpu_id
        self.kvm_run = KvmRun(mmap.mmap(-1, VCPU_MMAP_SIZE))
        #: KVM_CAP_EXIT_HYPERCALL
        self.exit_hypercalls = 0
        #: Why KVM_EXIT_SHUTDOWN or KVM_EXIT_INTERNAL_ERROR: for people, not in the ABI.
        self.explanation = ""
        self._memory = memory
        self._ledger = ledger
        self._trace = ledger.trace
        self._kernel = KernelHalf(
            mmio_bus.read, mmio_bus.write, pio_bus.read, pio_bus.write, self._emulate_cpuid
        )
        self._cpu: Cpu | None = None
        self._sregs = KvmSregs()
        #: The exit that run() has to finish before it enters the guest: a load or an IN.
        self._complete: VmExit | None = None
        #: RIP at the last exit, if somebody traces.
        self._rip = 0
        self._deadline = FOREVER
        self._handlers: dict[int, Callable[[VmExit], int | None]] = {
            ExitReason.EPT_VIOLATION: self._handle_ept,
            ExitReason.EPT_MISCONFIG: self._handle_ept,
            ExitReason.IO_INSTRUCTION: self._handle_io,
            ExitReason.HLT: self._handle_hlt,
            ExitReason.VMCALL: self._handle_vmcall,
            ExitReason.TRIPLE_FAULT: self._handle_triple_fault,
            ExitReason.EXCEPTION_NMI: self._handle_exception,
            ExitReason.PREEMPTION_TIMER: lambda exit_: self._return(_INTR, exit_[0]),
        }

    # ioctls ---------------------------------------------------------------------------

    def run(self) -> None:
        """KVM_RUN: run the guest until userspace is needed; `kvm_run` says what for."""
        reply: int | None = self._completion() if self._complete is not None else 0
        trace = self._trace
        if trace.enabled:
            if self._complete is None:
                trace.append((trace.now, trace.thread, KVM_RUN.name))
            else:
                self._trace_completion(self._complete, reply)
        self._complete = None
        cpu = self.cpu
        cpu.door.on_exit = self._note_exit if trace.enabled else None
        enter = cpu.enter
        handlers = self._handlers
        while reply is not None:
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
        sregs = self._sregs
        registers = self.cpu.registers
        for name, number in CONTROL.items():
            setattr(sregs, name, registers.read_special(number))
        for name in ("cs", "ds", "es", "fs", "gs", "ss"):
            getattr(sregs, name).selector = registers.read_special(SEGMENTS[name])
        sregs.idt.base, sregs.idt.limit = registers.idt()
        sregs.gdt.base, sregs.gdt.limit = registers.gdt()
        sregs.efer = registers.read_msr(MSR_EFER)
        return sregs

    def set_sregs(self, sregs: KvmSregs) -> None:
        """KVM_SET_SREGS, before the first run: this chooses the processor's mode."""
        if self._cpu is not None:
            raise UsageError("the toy KVM takes special registers before the first KVM_RUN only")
        self._sregs = sregs
        self._cpu = self._create_cpu(_bits(sregs))
        self._load_sregs(self._cpu, sregs)

    @property
    def deadline(self) -> int:
        """When the time slice ends, in guest instructions: run() returns KVM_EXIT_INTR."""
        return self._deadline

    @deadline.setter
    def deadline(self, instructions: int) -> None:
        self._deadline = instructions
        if self._cpu is not None:
            self._cpu.clock.limit = instructions

    @property
    def instructions(self) -> int:
        """Guest instructions executed so far."""
        return self.cpu.now()

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
            return self._handle_emulation_failure(gpa, is_write)
        run = self.kvm_run
        ledger = self._ledger
        MMIO_LAYOUT.pack_into(run.mapping, EXIT_OFFSET, gpa, 0, size, is_write)
        if is_write:
            ledger.store(ledger.guest_to_kvm, run.mapping, MMIO_DATA_OFFSET, value[0], size)
        else:
            self._complete = exit_
        if self._trace.enabled:
            trace = self._trace
            trace.append(
                (trace.now, trace.thread, MMIO_EXIT.name, reason, self._rip, gpa, size, is_write,
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
            self._trace.emit(PIO_EXIT, reason, self._rip, port, size, is_write, value, count, hop)
        run.fields.exit_reason = _IO
        ledger.userspace[_IO] += 1
        return None

    def _handle_hlt(self, exit_: VmExit) -> int | None:
        """kvm_emulate_halt(): userspace finds RIP behind the HLT; the exit was at it."""
        self._rip -= 1
        return self._return(_HLT, exit_[0])

    def _handle_vmcall(self, exit_: VmExit) -> int | None:
        """kvm_emulate_hypercall(): most end in the kernel."""
        registers = self.cpu.registers
        bits = self.cpu.view.code_bits()
        mask = (1 << (64 if bits == 64 else 32)) - 1
        names = ("rax", "rbx", "rcx", "rdx", "rsi")
        nr, *args = (registers.read(name) & mask for name in names)
        privileged = registers.read_special(SEGMENTS["cs"]) & 3 == 0 or bits == 16
        if nr == Hypercall.MAP_GPA_RANGE and self.exit_hypercalls >> nr & 1 and privileged:
            hypercall = self.kvm_run.hypercall
            hypercall.nr, hypercall.ret, hypercall.flags = nr, 0, int(bits == 64)
            hypercall.args[:] = [*args[:3], 0, 0, 0]
            self._complete = exit_
            return self._return(int(KvmExit.HYPERCALL), exit_[0])
        if not privileged:
            result = -KVM_EPERM
        else:
            result = 0 if nr == Hypercall.VAPIC_POLL_IRQ else -KVM_ENOSYS
        if self._trace.enabled:
            self._trace.emit(VM_EXIT, exit_[0], self._rip, 0, 0)
            self._trace.emit(KVM_HYPERCALL, nr, *args, result)
            self._trace.emit(VM_ENTRY)
        return result & mask

    def _handle_triple_fault(self, exit_: VmExit) -> int | None:
        registers = self.cpu.registers
        cr2 = registers.read_special(CONTROL["cr2"])
        code = self.cpu.view.read(self.cpu.view.rip(), 1)
        self.explanation = explain_triple_fault(exit_[1], code, registers.idt(), cr2)
        return self._return(_SHUTDOWN, exit_[0])

    def _handle_exception(self, exit_: VmExit) -> int | None:
        vector = exit_[1]
        self.explanation = (
            f"{exception_name(vector)}: this KVM does not deliver exceptions through the "
            "guest's IDT yet"
        )
        return self._internal_error(InternalError.DELIVERY_EV, [vector], exit_[0])

    def _handle_emulation_failure(self, gpa: int, why: str) -> int | None:
        if why == "fetch":
            came = "ran on" if self.ran_on else "jumped"
            self.explanation = (
                f"the guest {came} to {gpa:#x}, where there is no RAM to execute from; "
                "KVM can't emulate code that it can't read"
            )
        else:
            self.explanation = (
                f"one access that begins in RAM and ends in a device (at {gpa:#x}); "
                "this KVM does not emulate that"
            )
        code = self.cpu.view.read(self.cpu.view.rip(), 15)
        return self._internal_error(
            InternalError.EMULATION, emulation_failure(code), _EPT_VIOLATION
        )

    def _emulate_cpuid(self, leaf: int, subleaf: int) -> CpuidRegisters:
        values = cpuid(leaf)
        if self._trace.enabled:
            self._trace.emit(VM_EXIT, int(ExitReason.CPUID), self._rip, 0, 0)
            self._trace.emit(KVM_CPUID, leaf, subleaf, *values)
            self._trace.emit(VM_ENTRY)
        return values

    # Helpers ------------------------------------------------------------------------------

    def _return(self, reason: int, vmx_reason: int) -> int | None:
        """Leave for userspace."""
        self.kvm_run.fields.exit_reason = reason
        self._ledger.userspace[reason] += 1
        if self._trace.enabled:
            self._trace.emit(VM_EXIT, vmx_reason, self._rip, 0, 0)
            self._trace.emit(KVM_USERSPACE_EXIT, reason)
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

    # Tracing ------------------------------------------------------------------------------

    def _note_exit(self, rip: int, now: int) -> None:
        """At every exit that is traced: where the guest stands, and what time it is."""
        self._rip = rip
        trace = self._trace
        trace.now = now
        if len(trace.records) >= trace.LIMIT and trace.enabled:
            trace.end()

    def _trace_completion(self, pending: VmExit, reply: int | None) -> None:
        hop = self._ledger.kvm_to_guest.name
        if pending[0] == ExitReason.VMCALL:
            self._trace.emit(KVM_RUN)
        elif pending[0] == ExitReason.IO_INSTRUCTION:
            _, port, size, _, _, count = pending
            self._trace.emit(KVM_RUN_PIO_READ, port, size, count, reply, hop)
        else:
            _, gpa, size, *_ = pending
            self._trace.emit(KVM_RUN_MMIO_READ, gpa, size, reply, hop)

    def _create_cpu(self, bits: int) -> Cpu:
        cpu = Cpu(bits, self._memory, self._ledger.exits, self._kernel, _instruction_lengths)
        cpu.clock.limit = self._deadline
        cpu.registers.write("rflags", 2)
        return cpu

    def _load_sregs(self, cpu: Cpu, sregs: KvmSregs) -> None:
        registers = cpu.registers
        registers.set_gdt(sregs.gdt.base, sregs.gdt.limit)
        registers.set_idt(sregs.idt.base, sregs.idt.limit)
        if cpu.bits == 64:
            registers.write_msr(MSR_EFER, sregs.efer)
        registers.write_special(CONTROL["cr4"], sregs.cr4)
        registers.write_special(CONTROL["cr3"], sregs.cr3)
        registers.write_special(CONTROL["cr0"], sregs.cr0)
        for name in ("cs", "ds", "es", "fs", "gs", "ss"):
            registers.write_special(SEGMENTS[name], getattr(sregs, name).selector)


def _instruction_lengths(code: bytes, address: int, bits: int) -> list[int]:
    from toyvisor.guest.disassembler import instruction_lengths  # only if somebody asks

    return instruction_lengths(code, address, _MODES[bits])


def _bits(sregs: KvmSregs) -> int:
    """Width of the code that these special registers make the processor run."""
    if not sregs.cr0 & CR0_PE:
        return 16
    return 64 if sregs.efer & EFER_LMA else 32
