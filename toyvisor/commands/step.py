"""`toyvisor step PROGRAM`."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from toyvisor.commands.machine_options import device_options, whole_input
from toyvisor.commands.output import check_writable
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
    if arguments.record is not None:
        from toyvisor.ui.demo.recording import kind_of

        kind_of(arguments.record)
        check_writable(arguments.record, program.path)
    return (_prompt if is_plain(arguments) else _full_screen)(arguments, program)


def _prompt(arguments: argparse.Namespace, program: Program) -> int:
    from toyvisor.ui.prompt.talking import Talk

    with make_session(arguments, program) as session:
        status = Talk(session).run(arguments.commands)
        _record(session, arguments.record)
        return status


def _full_screen(arguments: argparse.Namespace, program: Program) -> int:
    from toyvisor.ui.stepper.app import run_stepper

    status = run_stepper(
        lambda: make_session(arguments, program),
        presenter=arguments.presenter, light=arguments.light,
    )  # fmt: skip
    if arguments.record is not None:  # the same run again: the screen's is gone with its thread
        with make_session(arguments, program) as session:
            _record(session, arguments.record)
    return status


def _record(session: Session, path: str | None) -> None:
    """Keep the run, if somebody wants it; a picture is of where the session stands."""
    if path is not None:
        from toyvisor.ui.demo.recording import record_run

        session.should_stop = None
        record_run(session, path)


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
