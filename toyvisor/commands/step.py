"""`toyvisor step PROGRAM`."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from toyvisor.commands.machine_options import device_options, whole_input
from toyvisor.commands.run import frames_for, has_card
from toyvisor.errors import UsageError
from toyvisor.guest.program import Program, load_program
from toyvisor.host.net import open_net
from toyvisor.qemu.accel import DEFAULT_BUDGET

if TYPE_CHECKING:
    from toyvisor.debug.session import Session


def main(arguments: argparse.Namespace) -> int:
    """Walk through a run: on the full screen, or line by line."""
    program = load_program(arguments.program)
    if arguments.net is not None and not has_card(program):
        raise UsageError(f"--net: {program.name} has no network card")
    _check_net(arguments.net)
    if not is_plain(arguments):
        return _full_screen(arguments, program)
    from toyvisor.ui.prompt.talking import Talk

    with make_session(arguments, program) as session:
        return Talk(session).run(arguments.commands)


def _full_screen(arguments: argparse.Namespace, program: Program) -> int:
    from toyvisor.ui.stepper.app import run_stepper

    return run_stepper(lambda: make_session(arguments, program))


def is_plain(arguments: argparse.Namespace) -> bool:
    """A prompt was asked for, or there is no terminal for a screen."""
    if arguments.plain or arguments.commands is not None:
        return True
    streams = (sys.stdin, sys.stdout)
    return any(stream is None or not stream.isatty() for stream in streams)


def make_session(arguments: argparse.Namespace, program: Program) -> Session:
    """The session that the options describe."""
    from toyvisor.debug.session import Session

    return Session(
        program, open_net(frames_for(program, arguments.net)),
        options=device_options(arguments.device, program),
        console_input=whole_input(arguments.input, program),
        max_instructions=arguments.max_instructions or DEFAULT_BUDGET,
    )  # fmt: skip


def _check_net(option: str | None) -> None:
    """Only frames to come in: a run that is walked back and forth would write a capture twice."""
    if option is None:
        return
    kind, _, rest = option.partition(":")
    if kind == "tap":
        raise UsageError(
            "--net tap: what comes from a real network can't be walked back through",
            hint="--net pcap:IN,",
        )
    if kind == "pcap" and rest.partition(",")[2]:
        raise UsageError(
            f"--net {option}: the stepper keeps no capture of what is sent",
            hint="`info packets` shows it; `toyvisor run --net` keeps it",
        )
