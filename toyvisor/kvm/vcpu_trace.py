"""What a vCPU tells the trace of its entries and exits."""

from __future__ import annotations

from toyvisor.cpu.exit_door import VmExit
from toyvisor.exit_reasons import ExitReason
from toyvisor.trace.events import IOCTL, KVM_USERSPACE_EXIT, VM_ENTRY, VM_EXIT, EventKind, Trace
from toyvisor.trace.exit_records import KVM_RUN, KVM_RUN_MMIO_READ, KVM_RUN_PIO_READ
from toyvisor.trace.ledger import Ledger


class VcpuTrace:
    """One vCPU's part of the stream. All but note_exit() are called while it is enabled."""

    __slots__ = ("_hop", "rip", "trace")

    def __init__(self, ledger: Ledger) -> None:
        self.trace: Trace = ledger.trace
        self._hop = ledger.kvm_to_guest.name
        #: RIP at the last exit, if somebody traces.
        self.rip = 0

    def note_exit(self, rip: int, now: int) -> None:
        """At every exit that is traced: where the guest stands, and what time it is."""
        self.rip = rip
        trace = self.trace
        trace.now = now
        if len(trace.records) >= trace.LIMIT and trace.enabled:
            trace.end()

    def exit(self, vmx_reason: int) -> None:
        """An exit that KVM finishes by itself."""
        if self.trace.enabled:
            self.trace.emit(VM_EXIT, vmx_reason, self.rip, 0, 0)

    def userspace_exit(self, vmx_reason: int | None, reason: int) -> None:
        """An exit that goes to userspace (None: it has been told)."""
        if self.trace.enabled:
            if vmx_reason is not None:
                self.trace.emit(VM_EXIT, vmx_reason, self.rip, 0, 0)
            self.trace.emit(KVM_USERSPACE_EXIT, reason)

    def answered(self, vmx_reason: int, kind: EventKind, *fields: int) -> None:
        """An exit that KVM answers by itself, and the way back."""
        if self.trace.enabled:
            self.trace.emit(VM_EXIT, vmx_reason, self.rip, 0, 0)
            self.trace.emit(kind, *fields)
            self.trace.emit(VM_ENTRY)

    def run(self, pending: VmExit | None, reply: int | None) -> None:
        """KVM_RUN: the call, what it completes, and the entry."""
        if pending is None or pending[0] == ExitReason.VMCALL:
            self.trace.emit(KVM_RUN)
        elif pending[0] == ExitReason.IO_INSTRUCTION:
            _, port, size, _, _, count = pending
            self.trace.emit(KVM_RUN_PIO_READ, port, size, count, reply, self._hop)
        else:
            _, gpa, size, *_ = pending
            self.trace.emit(KVM_RUN_MMIO_READ, gpa, size, reply, self._hop)

    def run_without_entry(self, pending: VmExit | None, reply: int | None) -> None:
        """The same one by one, since something is injected before the entry."""
        if pending is None:
            self.trace.emit(IOCTL, "KVM_RUN")
            return
        begin = len(self.trace.records)
        self.run(pending, reply)
        told = [event for event in self.trace.events_from(begin) if event[2] is not VM_ENTRY]
        del self.trace.records[begin:]
        for _, _, kind, *fields in told:
            self.trace.emit(kind, *fields)
