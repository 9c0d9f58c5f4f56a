"""What a run came to: everything the ledger counted, as one plain object.

`to_json` is the stable form that scripts and graders rely on.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from toyvisor.exit_reasons import ExitReason
from toyvisor.kvm.api import InternalError, KvmExit, KvmRegs
from toyvisor.qemu.accel import AccelName
from toyvisor.qemu.machine import Machine
from toyvisor.qemu.vcpu_thread import Ending, Outcome
from toyvisor.trace.ledger import Ledger

EXIT_HALTED, EXIT_FAILED, EXIT_BUDGET, EXIT_INTERRUPTED = 0, 1, 124, 130
_HLT = b"\xf4"

#: What the vmexits of a VMX reason are called in `exits.by_reason`.
REASON_NAMES = {
    ExitReason.EPT_VIOLATION: "mmio",
    ExitReason.EPT_MISCONFIG: "mmio",
    ExitReason.IO_INSTRUCTION: "io",
    ExitReason.HLT: "hlt",
    ExitReason.CPUID: "cpuid",
    ExitReason.VMCALL: "hypercall",
    ExitReason.TRIPLE_FAULT: "shutdown",
    ExitReason.PREEMPTION_TIMER: "timer",
    ExitReason.INTERRUPT_WINDOW: "interrupt-window",
    ExitReason.NMI_WINDOW: "nmi-window",
    ExitReason.TASK_SWITCH: "task-switch",
}


class GuestMistake(NamedTuple):
    """One thing the guest did wrong, with the place in its source."""

    device: str
    rule: str
    message: str
    hint: str | None
    section: str | None
    location: str

    def __str__(self) -> str:
        text = f"{self.location}: guest error: {self.device}: {self.message}"
        if self.section:
            text += f" [{self.section}]"
        return f"{text} ({self.hint})" if self.hint else text


class RunResult(NamedTuple):
    """The counts of one run. Bytes in bytes, time in guest instructions."""

    program: str
    accel: str
    outcome: Outcome
    explanation: str
    location: str
    #: None where nobody counts them.
    instructions: int | None
    console: str
    vmx_exits: dict[str, int]
    exits_by_reason: dict[str, int]
    #: Vmexits of every kind.
    total_exits: int
    userspace_exits: int
    userspace_by_reason: dict[str, int]
    copies_by_hop: dict[str, tuple[int, int]]
    syscalls: dict[str, int]
    ring_reads: int
    ring_writes: int
    ring_bytes: int
    injected: int
    suppressed: int
    context_switches: int
    sent: list[bytes]
    received: list[bytes]
    #: Frames that came in and found the tap's queue full.
    dropped: int
    registers: dict[str, int]
    mistakes: list[GuestMistake]
    mistakes_count: int
    #: Frames that the program was given to send.
    frames_given: int
    #: What Linux's KVM counted by itself, by its own names; None with the toy's, or if it did not.
    kvm_stats: dict[str, int] | None

    @property
    def lightweight_exits(self) -> int:
        """Vmexits that KVM finished by itself."""
        return self.total_exits - self.userspace_exits

    @property
    def copies(self) -> int:
        """Copies over all hops."""
        return sum(count for count, _ in self.copies_by_hop.values())

    @property
    def bytes_copied(self) -> int:
        """Bytes over all hops."""
        return sum(size for _, size in self.copies_by_hop.values())

    @property
    def exit_status(self) -> int:
        """The command's exit status for this run."""
        if self.outcome is Outcome.BUDGET:
            return EXIT_BUDGET
        if self.outcome is Outcome.INTERRUPTED:
            return EXIT_INTERRUPTED
        if self.outcome is Outcome.HALTED and not self.mistakes_count:
            return EXIT_HALTED
        return EXIT_FAILED

    def to_json(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        found: dict[str, Any] = {
            "program": self.program,
            "accel": self.accel,
            "outcome": str(self.outcome),
            "explanation": self.explanation,
            "location": self.location,
            "instructions": self.instructions,
            "console": self.console,
            "exits": {
                "total": self.total_exits,
                "userspace": self.userspace_exits,
                "lightweight": self.lightweight_exits,
                "by_reason": self.exits_by_reason,
                "by_vmx_reason": self.vmx_exits,
            },
            "copies": {
                "count": self.copies,
                "bytes": self.bytes_copied,
                "by_hop": {
                    hop: {"count": count, "bytes": size}
                    for hop, (count, size) in self.copies_by_hop.items()
                },
            },
            "ring": {
                "reads": self.ring_reads,
                "writes": self.ring_writes,
                "bytes": self.ring_bytes,
            },
            "syscalls": self.syscalls,
            "context_switches": self.context_switches,
            "interrupts": {"injected": self.injected, "suppressed": self.suppressed},
            "packets": {
                "sent": [frame.hex() for frame in self.sent],
                "received": [frame.hex() for frame in self.received],
                "dropped": self.dropped,
            },
            "registers": {name: hex(value) for name, value in self.registers.items()},
            "guest_errors": [
                {
                    "device": mistake.device,
                    "rule": mistake.rule,
                    "section": mistake.section,
                    "message": mistake.message,
                    "hint": mistake.hint,
                    "location": mistake.location,
                }
                for mistake in self.mistakes
            ],
        }
        if self.kvm_stats is not None:
            found["kvm_stats"] = self.kvm_stats
        return found


def collect(machine: Machine, ending: Ending) -> RunResult:
    """Read the counters of a machine that has run."""
    ledger = machine.ledger
    regs = machine.vcpu.get_regs()
    stats = machine.accel.kvm_stats
    if machine.accel.name is AccelName.TOY:
        vmx, by_reason = _exits_by_reason(machine)
        total, injected = sum(vmx.values()), ledger.injected
    else:
        vmx, by_reason = {}, _userspace_exits_by_reason(ledger)
        counted = stats or {}
        total = counted.get("exits", ledger.userspace_exits)
        injected = counted.get("irq_injections", 0)
    return RunResult(
        program=machine.program.name,
        accel=machine.accel.name,
        outcome=ending.outcome,
        explanation=ending.explanation + _hint_of_the_end(machine, ending),
        location=_ending_place(machine, ending),
        instructions=machine.vcpu.instructions,
        console=machine.console.text,
        vmx_exits=vmx,
        exits_by_reason=by_reason,
        total_exits=total,
        userspace_exits=ledger.userspace_exits,
        userspace_by_reason={
            kvm_exit_name(number): count for number, count in enumerate(ledger.userspace) if count
        },
        copies_by_hop={hop.name: (hop.count, hop.bytes) for hop in ledger.hops if hop.count},
        syscalls=dict(ledger.syscalls),
        ring_reads=ledger.ring_reads,
        ring_writes=ledger.ring_writes,
        ring_bytes=ledger.ring_bytes,
        injected=injected,
        suppressed=ledger.suppressed,
        context_switches=ledger.context_switches,
        sent=machine.net.sent,
        received=machine.net.received,
        dropped=machine.net.dropped,
        registers={name: getattr(regs, name) for name, *_ in KvmRegs._fields_},
        mistakes=_mistakes(machine),
        mistakes_count=machine.errors.count,
        frames_given=machine.frames_given,
        kvm_stats=stats,
    )


def _exits_by_reason(machine: Machine) -> tuple[dict[str, int], dict[str, int]]:
    """The toy's vmexits by VMX reason, and by the names for them."""
    ledger = machine.ledger
    by_reason: dict[str, int] = {}
    vmx: dict[str, int] = {}
    for number, count in enumerate(ledger.exits):
        if count:
            reason = ExitReason(number)
            vmx[reason.name] = count
            name = REASON_NAMES[reason]
            by_reason[name] = by_reason.get(name, 0) + count
    suberror = machine.vcpu.kvm_run.internal.suberror
    failed = ledger.userspace[KvmExit.INTERNAL_ERROR] and suberror == InternalError.EMULATION
    if failed and by_reason.get("mmio"):
        # The EPT violation that KVM could not emulate never became an MMIO exit.
        by_reason["internal-error"] = 1
        by_reason["mmio"] -= 1
        if not by_reason["mmio"]:
            del by_reason["mmio"]
    return vmx, by_reason


def _userspace_exits_by_reason(ledger: Ledger) -> dict[str, int]:
    """What QEMU saw of Linux's vmexits: the reason of each of the others only Linux knows."""
    return {
        kvm_exit_name(number).lower().replace("_", "-"): count
        for number, count in enumerate(ledger.userspace)
        if count
    }


def kvm_exit_name(number: int) -> str:
    """KVM_EXIT_*, without the prefix; the bare number of one that is not in KvmExit."""
    return KvmExit(number).name if number in KvmExit.__members__.values() else str(number)


def _ran_past_the_end(machine: Machine, ending: Ending) -> bool:
    """Whether the guest went on behind its last instruction until there was no RAM."""
    assembly = machine.program.assembly
    end = assembly.origin + len(assembly.image)
    vcpu = machine.vcpu
    if ending.outcome is not Outcome.INTERNAL_ERROR or not vcpu.ran_on:
        return False
    came_from = vcpu.last_branch_from()
    return came_from is not None and end <= came_from < vcpu.linear_rip()


def _hint_of_the_end(machine: Machine, ending: Ending) -> str:
    if not _ran_past_the_end(machine, ending):
        return ""
    return "; it ran past the end of its program, through empty memory: is a hlt missing?"


def _ending_place(machine: Machine, ending: Ending) -> str:
    """Where the run ended; if that is no code of the program, where it came from."""
    rip = machine.vcpu.linear_rip()
    if ending.outcome is Outcome.HALTED or _was_asleep(machine, rip):
        return source_place(machine, rip - 1)  # HLT has one byte, and is done
    listing = machine.program.assembly.listing
    if _ran_past_the_end(machine, ending):
        code = [line for line in listing.lines if line.data]
        return source_place(machine, code[-1].address if code else rip)
    if listing.at(rip) is None:
        came_from = machine.vcpu.last_branch_from()
        if came_from is not None and listing.at(came_from) is not None:
            return source_place(machine, came_from)
    return source_place(machine, rip)


def _was_asleep(machine: Machine, rip: int) -> bool:
    """Whether the last interrupt found the guest in HLT; and it is still there."""
    line = machine.program.assembly.listing.at(rip - 1)
    came_here = machine.vcpu.interrupted_at == machine.vcpu.get_regs().rip
    return came_here and line is not None and line.data == _HLT


def source_place(machine: Machine, rip: int) -> str:
    """`file:line` of a guest address, or the address where the program has no source."""
    line = machine.program.assembly.listing.at(rip)
    if line is None:
        return f"guest address {rip:#x}"
    return f"{line.location.file}:{line.location.line} ({rip:#x})"


def _mistakes(machine: Machine) -> list[GuestMistake]:
    found = []
    for (device, error), rip in zip(machine.errors.entries, machine.errors.rips, strict=True):
        place = source_place(machine, rip) if rip is not None else machine.program.name
        found.append(
            GuestMistake(device, error.rule, error.message, error.hint, error.section, place)
        )
    return found
