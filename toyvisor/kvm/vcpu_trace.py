"""What a vCPU tells the trace of its entries and exits."""

from __future__ import annotations

from toyvisor.cpu.exit_door import VmExit
from toyvisor.exit_reasons import ExitReason
from toyvisor.trace.events import (
    KVM_USERSPACE_EXIT,
    VM_ENTRY,
    VM_EXIT,
    Event,
    EventKind,
    Trace,
    spelled_out,
)
from toyvisor.trace.exit_records import KVM_RUN, KVM_RUN_MMIO_READ, KVM_RUN_PIO_READ
from toyvisor.trace.ledger import Ledger


class VcpuTrace:
    """One vCPU's part of the stream. All but note_exit() are called while it is enabled."""

    __slots__ = ("_hop", "owes_entry", "rip", "trace")

    def __init__(self, ledger: Ledger) -> None:
        self.trace: Trace = ledger.trace
        self._hop = ledger.kvm_to_guest.name
        #: RIP at the last exit, if somebody traces.
        self.rip = 0
        #: The guest goes on, but is told to have been entered when an event is injected.
        self.owes_entry = False

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
        self.trace.append(self._run(pending, reply))

    def run_without_entry(self, pending: VmExit | None, reply: int | None) -> None:
        """The same one by one, since something is injected before the entry."""
        for event in spelled_out(self._run(pending, reply)):
            if event[2] is not VM_ENTRY:
                self.trace.emit(*event[2:])

    def _run(self, pending: VmExit | None, reply: int | None) -> Event:
        now, thread = self.trace.now, self.trace.thread
        if pending is None or pending[0] == ExitReason.VMCALL:
            return (now, thread, KVM_RUN.name)
        if pending[0] == ExitReason.IO_INSTRUCTION:
            _, port, size, _, _, count = pending
            return (now, thread, KVM_RUN_PIO_READ.name, port, size, count, reply, self._hop)
        _, gpa, size, *_ = pending
        return (now, thread, KVM_RUN_MMIO_READ.name, gpa, size, reply, self._hop)
