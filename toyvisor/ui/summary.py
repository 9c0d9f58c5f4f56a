"""The summary after `toyvisor run`: what the program cost, in words a student understands."""

from __future__ import annotations

import sys

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from toyvisor.guest.program import Program
from toyvisor.qemu.result import RunResult
from toyvisor.qemu.vcpu_thread import JUST_HLT, Outcome

#: A space at which no line is broken (to Rich a no-break space is one like any other).
_GLUE = "\ue000"
_REASONS = {
    "mmio": "load or store where there is no RAM: a device's registers",
    "io": "IN or OUT: a device's ports",
    "hlt": "HLT: the guest sleeps, or has nothing more to do",
    "cpuid": "CPUID: KVM makes up the answer",
    "hypercall": "VMCALL: the guest calls the hypervisor",
    "shutdown": "triple fault: the processor gives up",
    "timer": "a timer of KVM's expired, or the guest's time is up",
    "interrupt-window": "interrupts are on again: one waits",
    "nmi-window": "an NMI can come in again: one waits",
    "task-switch": "a task gate: KVM would have to switch tasks",
    "intr": "a signal: the guest's time is up",
    "internal-error": "KVM could not emulate the instruction",
}
_HOPS = {
    "guest->kvm": "KVM takes the stored value into kvm_run",
    "kvm->qemu": "QEMU takes it out of kvm_run, for the device",
    "qemu->host": "a system call hands it to the host kernel",
    "host->qemu": "the host kernel hands it to QEMU",
    "qemu->kvm": "QEMU puts the device's answer into kvm_run",
    "kvm->guest": "KVM puts the answer into the guest's register",
    "qemu->qemu": "QEMU hands a frame to the card's own buffer",
    "qemu->guest": "QEMU writes a frame into the guest's RAM (DMA)",
    "guest->host": "vhost takes a frame from the guest's RAM",
    "host->guest": "vhost writes a frame into the guest's RAM",
}
_OUTCOMES = {
    Outcome.HALTED: ("halted", "green"),
    Outcome.SHUTDOWN: ("shut down (triple fault)", "red"),
    Outcome.INTERNAL_ERROR: ("KVM internal error", "red"),
    Outcome.BUDGET: ("instruction budget spent", "yellow"),
    Outcome.INTERRUPTED: ("stopped by Ctrl-C", "yellow"),
}
_EXPECTED = {
    "halt": Outcome.HALTED,
    "shutdown": Outcome.SHUTDOWN,
    "internal-error": Outcome.INTERNAL_ERROR,
    "budget": Outcome.BUDGET,
}


def print_summary(result: RunResult, program: Program) -> None:
    """Print the whole summary to standard output; a blank line parts it from errors."""
    console = Console(highlight=False)
    with console.capture() as capture:
        for part in _parts(result, program):
            console.print(part)
        if result.mistakes or result.outcome is not Outcome.HALTED:
            console.print()
    # Rich pads lines to the width of their table.
    lines = capture.get().replace(_GLUE, " ").splitlines()
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in lines))


def _parts(result: RunResult, program: Program) -> list[RenderableType]:
    parts: list[RenderableType] = ["", _headline(result, program)]
    if result.outcome is Outcome.HALTED and result.explanation != JUST_HLT:
        parts.append(Text(result.explanation[0].upper() + result.explanation[1:]))
    parts += _exits(result)
    if result.copies:
        parts += _copies(result)
    facts = _facts(result)
    return [*parts, "", *facts] if facts else parts


def _facts(result: RunResult) -> list[RenderableType]:
    """What takes a line each."""
    facts: list[RenderableType] = []
    if result.ring_reads or result.ring_writes:
        facts.append(
            f"[bold]Virtqueue[/]: {result.ring_reads:,} loads and {result.ring_writes:,} stores "
            f"in RAM ({result.ring_bytes:,} bytes), no exit and no copy"
        )
    if result.syscalls:
        calls = ", ".join(f"{name}{_GLUE}{n:,}" for name, n in sorted(result.syscalls.items()))
        facts.append(
            f"[bold]System calls by QEMU[/]: ioctl(KVM_RUN){_GLUE}{result.userspace_exits:,}, "
            f"{calls}"
        )
    if result.injected or result.suppressed:
        unwanted = f"; {_counted(result.suppressed, 'notification')} that the driver did not want"
        facts.append(
            f"[bold]Interrupts[/]: {result.injected:,} injected by KVM"
            + (unwanted if result.suppressed else "")
        )
    if result.context_switches:
        facts.append(
            f"[bold]Context switches[/] between the host's threads: {result.context_switches:,}"
        )
    if result.received or result.dropped:
        total = sum(map(len, result.received))
        lost = f", {result.dropped:,} dropped by the full tap" if result.dropped else ""
        facts.append(f"[bold]Packets received[/]: {len(result.received):,} ({total:,} bytes){lost}")
    if result.sent:
        total = sum(map(len, result.sent))
        count = f"{len(result.sent):,}"
        if result.frames_given and len(result.sent) != result.frames_given:
            count += f" of the {result.frames_given:,} that were given"
        facts.append(f"[bold]Packets sent[/]: {count} ({total:,} bytes)")
    return facts


def _headline(result: RunResult, program: Program) -> Text:
    words, colour = _OUTCOMES[result.outcome]
    if result.outcome is Outcome.BUDGET and result.instructions is None:
        words = "time limit reached"
    text = Text(f"{result.program}: ") + Text(words, style=f"bold {colour}")
    if result.instructions is None:
        text += Text(", on Linux's KVM")
    else:
        text += Text(f" after {_counted(result.instructions, 'instruction')}")
    meant = _EXPECTED[program.spec.expect]
    if result.outcome is not meant and program.spec.expect != "halt":
        text += Text(f", but its machine block expects: {program.spec.expect}")
    elif result.outcome is meant and meant is not Outcome.HALTED:
        text += Text(", as it is meant to")
    if result.mistakes_count:
        errors = _counted(result.mistakes_count, "guest error")
        text += Text(", with ") + Text(errors, style="bold red")
    return text


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="")
    for number, column in enumerate(columns):
        # Styled by itself, without its padding, which is cut off at the end of a line.
        table.add_column(Text(column, style="dim"), justify="right" if number else "left")
    table.add_column("", overflow="fold")
    return table


def _exits(result: RunResult) -> list[RenderableType]:
    heading = (
        f"\n[bold]Vmexits: {result.total_exits:,}[/], of which {result.userspace_exits:,} "
        f"went to QEMU and {result.lightweight_exits:,} ended in KVM"
    )
    table = _table("reason", "exits")
    for name, count in sorted(result.exits_by_reason.items(), key=lambda item: -item[1]):
        table.add_row(name, f"{count:,}", _REASONS.get(name, ""))
    return [heading, table] if result.exits_by_reason else [heading]


def _copies(result: RunResult) -> list[RenderableType]:
    table = _table("hop", "copies", "bytes")
    for name, (count, size) in result.copies_by_hop.items():
        table.add_row(name, f"{count:,}", f"{size:,}", _HOPS[name])
    return [f"\n[bold]Copies: {result.copies:,}[/] ({result.bytes_copied:,} bytes)", table]
