"""Linux's KVM for tests: Toyvisor's own client (toyvisor/kvm/linux.py), and a time limit."""

from __future__ import annotations

import mmap
import signal
import threading

from toyvisor.kvm import linux
from toyvisor.kvm.api import KvmExit, KvmRegs, KvmRun, KvmSregs
from toyvisor.kvm.cpuid import CpuidRegisters
from toyvisor.trace.ledger import Ledger


class TimeIsUpError(Exception):
    """The guest did not come out of KVM_RUN in time."""


def why_not() -> str | None:
    """Why Linux's KVM can't be used here; None if it can."""
    if threading.current_thread() is not threading.main_thread():
        return "the time limit needs the main thread"
    return linux.why_not()


class LinuxVm:
    """One VM with one vCPU in Linux's KVM, with the same methods as the toy's Vcpu."""

    def __init__(
        self, memory: dict[int, mmap.mmap], *, exit_hypercalls: int = 0, irqchip: bool = False
    ) -> None:
        self._vm = linux.LinuxKvm(Ledger()).create_vm()
        self._vm.exit_hypercalls = exit_hypercalls
        if irqchip:
            self._vm.create_irqchip()
        for slot, (base, ram) in enumerate(memory.items()):
            self._vm.set_user_memory_region(slot, base, memoryview(ram))
        self.linux_vcpu = self._vm.create_vcpu()
        self.vm, self.vcpu = self._vm.fd, self.linux_vcpu.fd

    @property
    def kvm_run(self) -> KvmRun:
        """What KVM and userspace share."""
        return self.linux_vcpu.kvm_run

    def set_cpuid(self, leaves: dict[int, CpuidRegisters]) -> None:
        """KVM_SET_CPUID2."""
        self.linux_vcpu.set_cpuid2(leaves)

    def set_sregs(self, wanted: KvmSregs) -> None:
        """KVM_SET_SREGS."""
        self.linux_vcpu.set_sregs(wanted)

    def set_regs(self, regs: KvmRegs) -> None:
        """KVM_SET_REGS."""
        self.linux_vcpu.set_regs(regs)

    def get_regs(self) -> KvmRegs:
        """KVM_GET_REGS."""
        return self.linux_vcpu.get_regs()

    def get_sregs(self) -> KvmSregs:
        """KVM_GET_SREGS."""
        return self.linux_vcpu.get_sregs()

    def irq_line(self, gsi: int, level: int) -> None:
        """KVM_IRQ_LINE."""
        self._vm.irq_line(gsi, level)

    def nmi(self) -> None:
        """KVM_NMI."""
        self.linux_vcpu.nmi()

    def run(self) -> None:
        """KVM_RUN. Raises TimeIsUpError if a time limit ends it."""
        self.linux_vcpu.run()
        if self.kvm_run.exit_reason == KvmExit.INTR:
            raise TimeIsUpError

    def close(self) -> None:
        """The VM is gone."""
        self._vm.close()


class TimeLimit:
    """Ends KVM_RUN after `seconds`: a signal interrupts it, immediate_exit keeps it out."""

    def __init__(self, vm: LinuxVm, seconds: float) -> None:
        self._vcpu = vm.linux_vcpu
        self._seconds = seconds

    def __enter__(self) -> None:
        self._before = signal.signal(signal.SIGALRM, lambda *_: self._vcpu.kick())
        signal.setitimer(signal.ITIMER_REAL, self._seconds)

    def __exit__(self, *_exc: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._before)
