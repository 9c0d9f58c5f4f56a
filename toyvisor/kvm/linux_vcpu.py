"""A virtual CPU of Linux's KVM: `run()` is ioctl(KVM_RUN), and this time it really is.

While the guest runs, the thread is in the kernel, and the others of the host have the processor.
A signal gets it out again (QEMU: SIG_IPI, qemu_cpu_kick), and `immediate_exit` keeps it out
if the signal came a moment before the system call (Documentation/virt/kvm/api.rst).

With the interrupt controllers in the kernel, a guest in HLT sleeps there, and KVM_RUN returns only
for an interrupt. Whether one will ever come nobody can say in general; `look()` says it where it
can: a guest that has slept for longer than the slowest timer takes, while nobody on the host
has anything to do, sleeps for good.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import signal
import threading
import time
from collections.abc import Mapping
from typing import Any, Protocol

from toyvisor.errors import MachineError
from toyvisor.kvm import ioctls
from toyvisor.kvm.api import KVM_EXIT_IO_OUT, KvmExit, KvmRegs, KvmRun, KvmSregs
from toyvisor.kvm.cpuid import CpuidRegisters
from toyvisor.kvm.exceptions import explain_sleep
from toyvisor.kvm.linux_stats import Stats
from toyvisor.modes import RFLAGS_IF
from toyvisor.trace.events import IOCTL, KVM_MMIO, KVM_PIO, KVM_USERSPACE_EXIT
from toyvisor.trace.ledger import Ledger

#: The signal that gets a thread out of KVM_RUN (QEMU: SIG_IPI).
SIG_IPI = signal.SIGUSR1

#: Longer than the PIT's longest period (65536 ticks at 1.193182 MHz: 55 ms), in seconds, and long
#: enough for a busy host to be late with it.
_LONG = 0.15
#: What userspace answers or takes note of, and need not be explained.
_SERVED = {
    KvmExit.MMIO, KvmExit.IO, KvmExit.HLT, KvmExit.HYPERCALL, KvmExit.INTR, KvmExit.DEBUG,
}  # fmt: skip
_SET_BY_USERSPACE = ("cs", "ds", "es", "fs", "gs", "ss", "gdt", "idt", "cr0", "cr3", "cr4", "efer")


class RealHost(Protocol):
    """What a vCPU needs of the host around it, in real time."""

    def enter_guest(self) -> None:
        """This thread goes into the kernel: the others may have what it had."""
        ...

    def leave_guest(self) -> None:
        """It is back, and waits for its turn."""
        ...

    def now(self) -> int:
        """The machine's time."""
        ...

    @property
    def has_runnable(self) -> bool:
        """Whether somebody has something to do."""
        ...

    @property
    def is_idle(self) -> bool:
        """Whether nobody has, and nothing is to come from outside."""
        ...


class AloneOnTheHost:
    """A host with nobody else."""

    has_runnable = False
    is_idle = True

    def enter_guest(self) -> None:
        """Nobody waits."""

    def leave_guest(self) -> None:
        """Nobody was there."""

    def now(self) -> int:
        """It does not pass."""
        return 0


class LinuxVcpu:
    """A vCPU's file descriptor `fd`, with its `kvm_run` of `mmap_size` bytes mapped."""

    #: Its turn is never over: the host's other threads run beside it.
    slice_is_over = False
    #: Nobody counts guest instructions here, nor where interrupts came in or jumps went out.
    instructions = None
    interrupted_at = None
    vectors = 0
    ran_on = False

    def __init__(
        self, fd: int, mmap_size: int, ledger: Ledger, host: RealHost, *, has_stats: bool
    ) -> None:
        self.fd = fd
        self.kvm_run = KvmRun(mmap.mmap(fd, mmap_size))
        self.stats = Stats(fcntl.ioctl(fd, ioctls.GET_STATS_FD, 0)) if has_stats else None
        self.asleep = False
        self.explanation = ""
        #: How long it may run, in words, for whoever kicks it when that time is over.
        self.time_is_up = "the guest was still running when its time was up"
        #: Whether it runs at this moment: then its registers can't be read.
        self.is_in_guest = False
        #: How often it came out by itself, not because somebody looked.
        self.returns = 0
        self._ledger = ledger
        self._trace = ledger.trace
        self._host = host
        self._thread: int | None = None
        self._is_stopped = False
        self._is_looked_at = False
        #: Its halt_exits, and since when it has slept, as far as somebody looked.
        self._slept_at: tuple[int, float] = (-1, 0.0)

    # ioctls ---------------------------------------------------------------------------

    def run(self) -> None:
        """KVM_RUN: run the guest until userspace is needed; `kvm_run` says what for.

        Raises MachineError if the kernel refuses to run it.
        """
        fields, ledger = self.kvm_run.fields, self._ledger
        if self._trace.enabled:
            self._trace.now = self._host.now()
            self._trace.emit(IOCTL, "KVM_RUN")
        while not self._is_stopped:
            came_out_by_itself = self._enter()
            if self._is_looked_at:
                self._is_looked_at = False
                if not self._is_stopped:
                    fields.immediate_exit = 0
                if not came_out_by_itself and self._sleeps_for_good():
                    fields.exit_reason = KvmExit.INTR
                    return
            if came_out_by_itself:
                break
        else:
            fields.exit_reason = KvmExit.INTR
        reason = self.kvm_run.exit_reason
        if reason not in _SERVED:
            self.explanation = self._explain()
        if reason < len(ledger.userspace):
            ledger.userspace[reason] += 1
        if self._trace.enabled:
            self._trace.now = self._host.now()
            self._tell_access(reason)
            self._trace.emit(KVM_USERSPACE_EXIT, reason)

    def _tell_access(self, reason: int) -> None:
        """What KVM decoded: as far as userspace sees it, in kvm_run."""
        if reason == KvmExit.MMIO:
            mmio = self.kvm_run.mmio
            value = int.from_bytes(bytes(mmio.data)[: mmio.len], "little") if mmio.is_write else 0
            way = "write" if mmio.is_write else "unsatisfied-read"
            self._trace.emit(KVM_MMIO, way, mmio.len, mmio.phys_addr, value)
        elif reason == KvmExit.IO and self.kvm_run.io.direction == KVM_EXIT_IO_OUT:
            io = self.kvm_run.io
            data = self.kvm_run.mapping[io.data_offset : io.data_offset + io.size]
            value = int.from_bytes(data, "little")
            self._trace.emit(KVM_PIO, "write", io.port, io.size, io.count, value)

    def _enter(self) -> bool:
        """One system call; False if a signal ended it."""
        host = self._host
        self._thread = threading.get_ident()
        self.is_in_guest = True
        host.enter_guest()
        try:
            fcntl.ioctl(self.fd, ioctls.RUN, 0)
        except InterruptedError:
            return False
        except OSError as error:
            raise MachineError(f"KVM_RUN: {error.strerror}") from None
        finally:
            host.leave_guest()
            self.is_in_guest = False
        self.returns += 1
        return True

    def complete(self) -> bool:
        """Finish the instruction whose exit userspace has answered, and run no further.

        True if that was a step (set_guest_debug), which `kvm_run` then says.
        """
        self.kvm_run.fields.immediate_exit = 1
        came_out_by_itself = self._enter()
        self.kvm_run.fields.immediate_exit = 0
        return came_out_by_itself and self.kvm_run.exit_reason == KvmExit.DEBUG

    def get_regs(self) -> KvmRegs:
        """KVM_GET_REGS."""
        regs = KvmRegs()
        self._ioctl(ioctls.GET_REGS, regs, "KVM_GET_REGS")
        return regs

    def set_regs(self, regs: KvmRegs) -> None:
        """KVM_SET_REGS."""
        self._ioctl(ioctls.SET_REGS, regs, "KVM_SET_REGS")

    def get_sregs(self) -> KvmSregs:
        """KVM_GET_SREGS."""
        sregs = KvmSregs()
        self._ioctl(ioctls.GET_SREGS, sregs, "KVM_GET_SREGS")
        return sregs

    def set_sregs(self, sregs: KvmSregs) -> None:
        """KVM_SET_SREGS: segments, tables, control registers; the rest stays as reset left it."""
        present = self.get_sregs()
        for name in _SET_BY_USERSPACE:
            setattr(present, name, getattr(sregs, name))
        self._ioctl(ioctls.SET_SREGS, present, "KVM_SET_SREGS")

    def set_cpuid2(self, leaves: Mapping[int, CpuidRegisters]) -> None:
        """KVM_SET_CPUID2: what CPUID answers, by leaf."""
        table = ioctls.Cpuid2(nent=len(leaves))
        for number, (leaf, values) in enumerate(leaves.items()):
            table.entries[number] = ioctls.CpuidEntry2(leaf, 0, 0, *values)
        self._ioctl(ioctls.SET_CPUID2, table, "KVM_SET_CPUID2")

    def set_guest_debug(self, *, single_step: bool) -> None:
        """KVM_SET_GUEST_DEBUG: run() returns KVM_EXIT_DEBUG behind each instruction, or not."""
        control = (ioctls.GUESTDBG_ENABLE | ioctls.GUESTDBG_SINGLESTEP) if single_step else 0
        self._ioctl(ioctls.SET_GUEST_DEBUG, ioctls.GuestDebug(control), "KVM_SET_GUEST_DEBUG")

    def nmi(self) -> None:
        """KVM_NMI: a non-maskable interrupt."""
        self._ioctl(ioctls.NMI, 0, "KVM_NMI")

    @property
    def mp_state(self) -> int:
        """KVM_GET_MP_STATE: running, or asleep in HLT (ioctls.MP_STATE_*)."""
        state = ioctls.MpState()
        self._ioctl(ioctls.GET_MP_STATE, state, "KVM_GET_MP_STATE")
        return int(state.mp_state)

    def close(self) -> None:
        """Close the file descriptors, and unmap kvm_run, which holds on to one as well."""
        del self.kvm_run
        if self.stats is not None:
            self.stats.close()
        os.close(self.fd)

    def _explain(self) -> str:
        from toyvisor.kvm.linux_explanations import explain

        return explain(self.kvm_run, self.get_regs())

    # Getting it out of the guest ----------------------------------------------------------

    def kick(self) -> None:
        """Out of the guest, for good: run() returns KVM_EXIT_INTR from now on."""
        self._is_stopped = True
        self._get_out()

    def resume(self) -> None:
        """It may run again, after a kick."""
        self._is_stopped = False
        self.kvm_run.fields.immediate_exit = 0

    def look(self) -> None:
        """Out of the guest for a moment, to see whether it sleeps for good."""
        self._is_looked_at = True
        self._get_out()

    def _get_out(self) -> None:
        self.kvm_run.fields.immediate_exit = 1
        if self._thread is not None and self._thread != threading.get_ident():
            signal.pthread_kill(self._thread, SIG_IPI)

    def _sleeps_for_good(self) -> bool:
        """Asleep with nobody to wake it; with interrupts on, for longer than the PIT takes."""
        if self.mp_state != ioctls.MP_STATE_HALTED or self._host.has_runnable:
            self._slept_at = (-1, 0.0)
            return False
        interrupts_are_on = bool(self.get_regs().rflags & RFLAGS_IF)
        if interrupts_are_on and not (self._host.is_idle and self._has_slept_long()):
            return False
        self.asleep = True
        self.explanation = explain_sleep(interrupts_are_on=interrupts_are_on, came_too_early=False)
        return True

    def _has_slept_long(self) -> bool:
        """In one HLT, as the counter says; an old kernel, without it, never says so."""
        halts = self.stats.read("halt_exits") if self.stats is not None else None
        if halts is None:
            return False
        if halts != self._slept_at[0]:
            self._slept_at = (halts, time.monotonic())
        return time.monotonic() - self._slept_at[1] >= _LONG

    # For QEMU, as the toy's vCPU has it ---------------------------------------------------

    def begin_slice(self, instructions: int | None) -> None:
        """Nothing to do: the host's other threads run beside it."""

    def shorten_slice(self, instructions: int) -> None:
        """Nothing to do, either."""

    @property
    def time(self) -> int:
        """The machine's time."""
        return self._host.now()

    def linear_rip(self) -> int:
        """The linear address of the present instruction."""
        return int(self.get_sregs().cs.base + self.get_regs().rip)

    def last_branch_from(self) -> int | None:
        """Nobody knows."""
        return None

    def _ioctl(self, request: int, argument: Any, name: str) -> None:
        try:
            fcntl.ioctl(self.fd, request, argument)
        except OSError as error:
            raise MachineError(f"{name}: {error.strerror}") from None
