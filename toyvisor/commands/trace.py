"""`toyvisor trace FILE --to text|jsonl`."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from toyvisor.commands.output import check_writable, write_lines
from toyvisor.trace.jsonl import read_jsonl, to_dict, to_line
from toyvisor.trace.text import to_text

_SUFFIXES = (".jsonl", ".json")


def main(arguments: argparse.Namespace) -> int:
    """Read a kept stream, or run a program for its stream, and print it."""
    check_writable(arguments.output, arguments.file)
    status = 0
    events: Iterable[dict[str, Any]]
    if _is_stream(Path(arguments.file)):
        events = read_jsonl(Path(arguments.file))
    else:
        events, status = _run(arguments.file)
    form = to_text if arguments.to == "text" else to_line
    write_lines(arguments.output, (f"{form(event)}\n" for event in events))
    return status


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


def _run(name: str) -> tuple[Iterator[dict[str, Any]], int]:
    from toyvisor.commands.run import complain, default_net
    from toyvisor.guest.program import load_program
    from toyvisor.host.net import open_net
    from toyvisor.qemu.machine import Machine
    from toyvisor.qemu.result import collect

    program = load_program(name)
    with open_net(default_net(program)) as net, Machine(program, net, trace=True) as machine:
        result = collect(machine, machine.run())
        complain(result)
        return map(to_dict, machine.trace), result.exit_status
