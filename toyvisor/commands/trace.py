"""`toyvisor trace FILE`: a kept stream, or a program's, in a form that other tools read."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toyvisor.commands.output import check_writable, write_lines, write_output
from toyvisor.errors import InputError, UsageError
from toyvisor.trace.jsonl import read_jsonl, to_dict, to_line

if TYPE_CHECKING:
    from toyvisor.guest.program import Program
    from toyvisor.host.net import NetBackend
    from toyvisor.host.timed_capture import TimedCapture
    from toyvisor.qemu.machine import Machine

_SUFFIXES = (".jsonl", ".json")
#: Options that change how a program runs: nothing for a stream that is there already.
_RUN_OPTIONS = ("net", "input", "device", "max_instructions")

Event = dict[str, Any]


def main(arguments: argparse.Namespace) -> int:
    """Read a kept stream, or run a program for its stream, and print it."""
    path = Path(arguments.file)
    if arguments.costs is not None and arguments.to != "kvm-stat":
        raise UsageError("--costs: only a time has costs", hint="--to kvm-stat")
    check_writable(arguments.output, arguments.file, arguments.costs or "")
    if _is_stream(path):
        _refuse_run_options(arguments)
        write_lines(arguments.output, _lines(arguments, read_jsonl(path)))
        return 0
    return _run(arguments)


def _lines(arguments: argparse.Namespace, events: Iterable[Event]) -> Iterator[str]:
    """The stream in the form that was asked for, with newlines."""
    match arguments.to:
        case "jsonl":
            return (f"{to_line(event)}\n" for event in events)
        case "ftrace":
            from toyvisor.trace.ftrace import to_ftrace

            return to_ftrace(events)
        case "perfetto":
            from toyvisor.trace.perfetto import to_perfetto

            return to_perfetto(events)
        case "kvm-stat":
            return _kvm_stat(events, arguments.costs)
    from toyvisor.trace.text import to_text

    return (f"{to_text(event)}\n" for event in events)


def _kvm_stat(events: Iterable[Event], costs: str | None) -> Iterator[str]:
    from toyvisor.learn.cost_file import read_costs, shipped_costs
    from toyvisor.learn.kvm_stat import exit_times
    from toyvisor.ui.kvm_stat import kvm_stat_lines

    table = read_costs(costs) if costs is not None else shipped_costs()
    return kvm_stat_lines(exit_times(events, table))


def _is_stream(path: Path) -> bool:
    """By its name, or because it begins as JSON lines do."""
    if path.suffix.lower() in _SUFFIXES:
        return True
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(1) == b"{"
    except (OSError, ValueError):
        return False


def _refuse_run_options(arguments: argparse.Namespace) -> None:
    """Raise for what can't be had of a stream: another run, and the packets themselves."""
    for name in _RUN_OPTIONS:
        if getattr(arguments, name):
            option = f"--{name.replace('_', '-')}"
            raise UsageError(f"{option}: {arguments.file} is a kept stream, nothing runs")
    if arguments.to == "pcap":
        raise InputError(
            f"{arguments.file} has no packets: a stream keeps their lengths, not their bytes",
            hint="`toyvisor trace PROGRAM --to pcap` runs the program again",
        )


def _run(arguments: argparse.Namespace) -> int:
    from toyvisor.commands.run import complain, console_for, frames_for
    from toyvisor.guest.program import load_program
    from toyvisor.host.net import open_net
    from toyvisor.qemu.accel import DEFAULT_BUDGET
    from toyvisor.qemu.machine import Machine
    from toyvisor.qemu.result import collect

    program = load_program(arguments.file)
    _check_net(arguments, program)
    console, options = console_for(arguments, program)
    is_capture = arguments.to == "pcap"
    with (
        open_net(frames_for(program, arguments.net)) as net,
        Machine(program, net, trace=not is_capture, console=console, options=options) as machine,
    ):
        capture = _listen(net, machine) if is_capture else None
        result = collect(machine, machine.run(arguments.max_instructions or DEFAULT_BUDGET))
        complain(result)
        if capture is not None:
            write_output(arguments.output, capture.to_pcap())
        else:
            write_lines(arguments.output, _lines(arguments, map(to_dict, machine.trace)))
    return result.exit_status


def _check_net(arguments: argparse.Namespace, program: Program) -> None:
    from toyvisor.commands.run import has_card

    if not has_card(program) and (arguments.net is not None or arguments.to == "pcap"):
        option = "--net" if arguments.net is not None else "--to pcap"
        raise UsageError(f"{option}: {program.name} has no network card")
    if arguments.net is not None and arguments.net.startswith("tap:"):
        raise UsageError(
            "--net tap: a run on a real network has no end by itself",
            hint="keep its stream with `toyvisor run PROGRAM --net tap:NAME --trace FILE`",
        )


def _listen(net: NetBackend, machine: Machine) -> TimedCapture:
    from toyvisor.host.tap import Tap
    from toyvisor.host.timed_capture import TimedCapture

    capture = TimedCapture(lambda: machine.vcpu.time)
    assert isinstance(net.file, Tap)
    capture.attach(net.file)
    return capture
