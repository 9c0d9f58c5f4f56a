"""`toyvisor run PROGRAM`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from toyvisor.commands.output import abandon_output, check_writable, write_bytes, write_lines
from toyvisor.errors import UsageError
from toyvisor.guest.program import Program, load_program
from toyvisor.host.console import Console
from toyvisor.host.net import open_net
from toyvisor.qemu.accel import DEFAULT_BUDGET, DEFAULT_SECONDS, AccelName
from toyvisor.qemu.machine import Machine
from toyvisor.qemu.result import RunResult, collect, source_place
from toyvisor.qemu.vcpu_thread import Ending, Outcome

if TYPE_CHECKING:
    from toyvisor.host.tun import TunTap

MISTAKES_SHOWN = 8
NO_BUDGET = 10**15


def main(arguments: argparse.Namespace) -> int:
    """Run a program to its end; its console as it comes, then the summary."""
    if arguments.json and arguments.trace == "-":
        raise UsageError(
            "--json and --trace - both want standard output", hint="keep the trace in a file"
        )
    program = load_program(arguments.program)
    check_writable(arguments.trace, program.path)
    quiet = arguments.json or arguments.trace == "-"
    if arguments.net is not None and not has_card(program):
        raise UsageError(f"--net: {program.name} has no network card")
    if arguments.accel == "both":
        from toyvisor.commands.run_both import main as run_both

        return run_both(arguments, program)
    if arguments.single_step:
        raise UsageError("--single-step compares two KVMs", hint="--accel both")
    accel = AccelName(arguments.accel)
    check_limits(arguments, accel)
    net_option = frames_for(program, arguments.net)
    console, options = console_for(arguments, program, None if quiet else write_bytes)
    with (
        open_net(net_option) as net,
        Machine(
            program, net, trace=arguments.trace is not None, console=console, options=options,
            accel=accel,
        ) as machine,
    ):  # fmt: skip
        ending = _run(machine, arguments)
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


def check_limits(arguments: argparse.Namespace, accel: AccelName) -> None:
    """Raise UsageError for a limit in what this KVM does not count."""
    if accel is AccelName.TOY and arguments.max_seconds is not None:
        raise UsageError(
            "--max-seconds: the toy's time is counted in guest instructions",
            hint="--max-instructions N",
        )
    if accel is AccelName.KVM and arguments.max_instructions is not None:
        raise UsageError(
            "--max-instructions: Linux's KVM does not count guest instructions",
            hint="--max-seconds S",
        )


def _run(machine: Machine, arguments: argparse.Namespace) -> Ending:
    """To its end; or, where a real network is at the other side, until Ctrl-C."""
    taps = machine.net.real_files
    if taps:
        _tell_of(taps[0])
    budget = arguments.max_instructions or (NO_BUDGET if taps else DEFAULT_BUDGET)
    seconds = arguments.max_seconds or (None if taps else DEFAULT_SECONDS)
    try:
        return machine.run(budget, seconds)
    except KeyboardInterrupt:
        if not taps:
            print(f"\n{_where(machine)}", file=sys.stderr)
            raise
        print(file=sys.stderr)  # behind the terminal's ^C
        return Ending(Outcome.INTERRUPTED, "Ctrl-C was pressed")


def _tell_of(tap: TunTap) -> None:
    if tap.is_new:
        print(
            f"there was no {tap.name}: made it, up and without an address, until the run ends",
            file=sys.stderr,
        )
    if sys.stderr.isatty():
        print(f"waiting for frames on {tap.name} (Ctrl-C ends)", file=sys.stderr)


def console_for(
    arguments: argparse.Namespace,
    program: Program,
    on_output: Callable[[bytearray], None] | None = None,
) -> tuple[Console, dict[str, dict[str, Any]]]:
    """The console, and what the command line changes of the program's machine; seldom anything."""
    console = Console(on_output=on_output)
    if not arguments.device and arguments.input is None:
        return console, {}
    from toyvisor.commands.machine_options import device_options, open_input

    console.input = open_input(arguments.input, program)
    return console, device_options(arguments.device, program)


def _where(machine: Machine) -> str:
    """Where Ctrl-C met the guest."""
    place = source_place(machine, machine.vcpu.linear_rip())
    instructions, ledger = machine.vcpu.instructions, machine.ledger
    if instructions is None:
        return f"{place}: stopped after {ledger.userspace_exits:,} exits to QEMU"
    return f"{place}: stopped after {instructions:,} instructions and {ledger.total_exits:,} exits"


def _summarise(result: RunResult, program: Program, console: Console) -> None:
    from toyvisor.ui.summary import print_summary

    if console.output and not console.output.endswith(b"\n"):
        print()
    print_summary(result, program)


def complain(result: RunResult) -> None:
    """Say on standard error what went wrong, a line each."""
    shown = result.mistakes[:MISTAKES_SHOWN]
    for mistake in shown:
        print(_folded(str(mistake)), file=sys.stderr)
    if result.mistakes_count > len(shown):
        print(f"... and {result.mistakes_count - len(shown):,} more guest errors", file=sys.stderr)
    if result.outcome not in (Outcome.HALTED, Outcome.INTERRUPTED):
        print(
            _folded(f"{result.location}: {result.outcome}: {result.explanation}"), file=sys.stderr
        )


def _folded(text: str) -> str:
    """In a terminal, broken between words; elsewhere a line is for a program to read."""
    if not sys.stderr.isatty():
        return text
    import shutil
    import textwrap

    return textwrap.fill(
        text, shutil.get_terminal_size().columns - 1, subsequent_indent="    ",
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def has_card(program: Program) -> bool:
    """Whether the program's machine has a device that sends packets."""
    return any(device.type.endswith(("-net", "-nic")) for device in program.spec.devices)


def frames_for(program: Program, option: str | None) -> str | None:
    """--net with what it leaves open: what comes in is in the program's own capture."""
    if option is None:
        return default_net(program)
    if program.spec.frames != "table" and option.startswith("pcap:,"):
        return f"{default_net(program)}{option.removeprefix('pcap:,')}"
    return option


def default_net(program: Program) -> str | None:
    """The frames of a program with a network card if nobody says: its block's capture.

    It lies beside the program, or in the shipped `captures`.
    """
    if not has_card(program):
        return None
    from toyvisor.guest.library import guest_programs_dir

    name = program.spec.capture
    for folder in (program.path.parent, guest_programs_dir() / "captures"):
        if (folder / name).is_file():
            return f"pcap:{folder / name},"
    raise program.spec.key_error(
        "capture", f"no capture {name!r} beside the program, nor among the shipped ones",
        "--net pcap:IN,OUT names any file",
    )  # fmt: skip
