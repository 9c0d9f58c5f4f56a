"""`toyvisor run PROGRAM`."""

from __future__ import annotations

import argparse
import json
import sys

from toyvisor.commands.output import abandon_output, check_writable, write_bytes, write_lines
from toyvisor.errors import InputError, UsageError
from toyvisor.guest.program import Program, load_program
from toyvisor.host.console import Console
from toyvisor.host.net import open_net
from toyvisor.qemu.machine import Machine
from toyvisor.qemu.result import RunResult, collect, source_place
from toyvisor.qemu.vcpu_thread import Outcome

MISTAKES_SHOWN = 8


def main(arguments: argparse.Namespace) -> int:
    """Run a program to its end; its console as it comes, then the summary."""
    if arguments.accel == "kvm":
        raise UsageError(
            "--accel kvm is not there yet", hint="leave it out: the toy KVM runs everywhere"
        )
    if arguments.json and arguments.trace == "-":
        raise UsageError(
            "--json and --trace - both want standard output", hint="keep the trace in a file"
        )
    program = load_program(arguments.program)
    check_writable(arguments.trace, program.path)
    quiet = arguments.json or arguments.trace == "-"
    if arguments.net is not None and not has_card(program):
        raise UsageError(f"--net: {program.name} has no network card")
    net_option = arguments.net if arguments.net is not None else default_net(program)
    console = Console(on_output=None if quiet else write_bytes)
    with (
        open_net(net_option) as net,
        Machine(program, net, trace=arguments.trace is not None, console=console) as machine,
    ):
        try:
            ending = machine.run(arguments.max_instructions)
        except KeyboardInterrupt:
            print(f"\n{_where(machine)}", file=sys.stderr)
            raise
        result = collect(machine, ending)
        if arguments.trace is not None:
            from toyvisor.trace.jsonl import to_jsonl

            write_lines(arguments.trace, to_jsonl(machine.trace))
    try:
        if arguments.json:
            print(json.dumps(result.to_json(), indent=2))
        elif not quiet:
            _summarise(result, program, console)
        sys.stdout.flush()
    except BrokenPipeError:  # nobody reads it, and yet the run went as it went
        abandon_output()
    if machine.trace.is_full:
        print(
            f"the trace is full: it ends after {machine.trace.LIMIT:,} records, before the run did",
            file=sys.stderr,
        )
    complain(result)
    return result.exit_status


def _where(machine: Machine) -> str:
    """Where Ctrl-C met the guest."""
    place = source_place(machine, machine.vcpu.linear_rip())
    return (
        f"{place}: stopped after {machine.vcpu.instructions:,} instructions "
        f"and {machine.ledger.total_exits:,} exits"
    )


def _summarise(result: RunResult, program: Program, console: Console) -> None:
    from toyvisor.ui.summary import print_summary

    if console.output and not console.output.endswith(b"\n"):
        print()
    print_summary(result, program)


def complain(result: RunResult) -> None:
    """Say on standard error what went wrong, a line each."""
    shown = result.mistakes[:MISTAKES_SHOWN]
    for mistake in shown:
        print(mistake, file=sys.stderr)
    if result.mistakes_count > len(shown):
        print(f"... and {result.mistakes_count - len(shown):,} more guest errors", file=sys.stderr)
    if result.outcome is not Outcome.HALTED:
        print(f"{result.location}: {result.outcome}: {result.explanation}", file=sys.stderr)


def has_card(program: Program) -> bool:
    """Whether the program's machine has a device that sends packets."""
    return any(device.type.endswith(("-net", "-nic")) for device in program.spec.devices)


def default_net(program: Program) -> str | None:
    """What a program with a network card sends if nobody says: the shipped capture."""
    if not has_card(program):
        return None
    from toyvisor.guest.library import guest_programs_dir

    capture = guest_programs_dir() / "captures" / "ordinary.pcap"
    if not capture.is_file():
        raise InputError(f"the shipped capture is missing: {capture}")
    return f"pcap:{capture},"
