"""The summary after `toyvisor run`: what the program cost, in words a student understands."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from toyvisor.guest.program import Program
from toyvisor.qemu.result import RunResult
from toyvisor.qemu.vcpu_thread import Outcome

_REASONS = {
    "mmio": "load or store where there is no RAM: a device's registers",
    "io": "IN or OUT: a device's ports",
    "hlt": "HLT: the guest has nothing more to do",
    "cpuid": "CPUID: KVM makes up the answer",
    "hypercall": "VMCALL: the guest calls the hypervisor",
    "shutdown": "triple fault: the processor gives up",
    "intr": "the time slice is spent",
    "exception": "an exception that KVM looked at",
    "internal-error": "KVM could not emulate the instruction",
    "interrupt": "an interrupt for the host",
}
_HOPS = {
    "guest->kvm": "KVM takes the stored value into kvm_run",
    "kvm->qemu": "QEMU takes it out of kvm_run, for the device",
    "qemu->host": "a system call hands it to the host kernel",
    "host->qemu": "the host kernel hands it to QEMU",
    "qemu->kvm": "QEMU puts the device's answer into kvm_run",
    "kvm->guest": "KVM puts the answer into the guest's register",
}
_OUTCOMES = {
    Outcome.HALTED: ("halted", "green"),
    Outcome.SHUTDOWN: ("shut down (triple fault)", "red"),
    Outcome.INTERNAL_ERROR: ("KVM internal error", "red"),
    Outcome.BUDGET: ("stopped: instruction budget spent", "yellow"),
}
_EXPECTED = {
    "halt": Outcome.HALTED,
    "shutdown": Outcome.SHUTDOWN,
    "internal-error": Outcome.INTERNAL_ERROR,
    "budget": Outcome.BUDGET,
}


def print_summary(result: RunResult, program: Program) -> None:
    """Print the whole summary to standard output."""
    console = Console(highlight=False, soft_wrap=False)
    console.print()
    console.print(_headline(result, program))
    _exits(result, console)
    if result.copies:
        _copies(result, console)
    if result.ring_reads or result.ring_writes:
        console.print("\n[bold]Virtqueue in shared memory[/], no exit and no copy:")
        console.print(
            f"QEMU made {result.ring_reads:,} loads and {result.ring_writes:,} stores "
            f"({result.ring_bytes:,} bytes)"
        )
    if result.syscalls:
        calls = ", ".join(f"{name} {n:,}" for name, n in sorted(result.syscalls.items()))
        console.print(
            f"\n[bold]System calls by QEMU[/]: ioctl(KVM_RUN) {result.userspace_exits:,}, {calls}"
        )
    if result.sent:
        total = sum(map(len, result.sent))
        console.print(f"\n[bold]Packets sent: {len(result.sent):,}[/] ({total:,} bytes)")


def _headline(result: RunResult, program: Program) -> Text:
    words, colour = _OUTCOMES[result.outcome]
    text = Text(f"{result.program}: ") + Text(words, style=f"bold {colour}")
    meant = _EXPECTED[program.spec.expect]
    if result.outcome is meant and meant is not Outcome.HALTED:
        text += Text(", as it is meant to")
    return text + Text(f" after {result.instructions:,} guest instructions")


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(columns[0])
    for column in columns[1:]:
        table.add_column(column, justify="right")
    table.add_column("", overflow="fold")
    return table


def _exits(result: RunResult, console: Console) -> None:
    console.print(
        f"\n[bold]Vmexits: {result.total_exits:,}[/], of which {result.userspace_exits:,} "
        f"went to QEMU and {result.lightweight_exits:,} ended in KVM"
    )
    table = _table("reason", "exits")
    for name, count in sorted(result.exits_by_reason.items(), key=lambda item: -item[1]):
        table.add_row(name, f"{count:,}", _REASONS[name])
    console.print(table)


def _copies(result: RunResult, console: Console) -> None:
    console.print(f"\n[bold]Copies: {result.copies:,}[/], {result.bytes_copied:,} bytes in all")
    table = _table("hop", "copies", "bytes")
    for name, (count, size) in result.copies_by_hop.items():
        table.add_row(name, f"{count:,}", f"{size:,}", _HOPS[name])
    console.print(table)
