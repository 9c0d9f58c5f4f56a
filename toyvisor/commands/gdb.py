"""`toyvisor gdb PROGRAM`."""

from __future__ import annotations

import argparse
import sys

from toyvisor.commands.machine_options import device_options, whole_input
from toyvisor.commands.output import check_writable, write_output
from toyvisor.commands.run import frames_for, has_card
from toyvisor.debug.gdb.server import (
    Address,
    bound_to,
    listen,
    parse_address,
    serve_stdio,
    serve_tcp,
)
from toyvisor.debug.session import Session
from toyvisor.errors import UsageError
from toyvisor.guest.program import Program, load_program
from toyvisor.host.net import open_net
from toyvisor.qemu.accel import DEFAULT_BUDGET


def main(arguments: argparse.Namespace) -> int:
    """Put a program under gdb: wait for it, and answer it until it leaves."""
    address = parse_address(arguments.listen)
    if arguments.stdio and arguments.symbols == "-":
        raise UsageError("--symbols - and --stdio both want standard output")
    if not arguments.stdio:
        _check_address(address, allowed=arguments.allow_remote)
    program = load_program(arguments.program)
    check_writable(arguments.symbols, program.path)
    if arguments.symbols is not None:
        from toyvisor.debug.gdb.symbol_file import symbol_file

        write_output(arguments.symbols, symbol_file(program))
    with (
        open_net(_frames(program, arguments.net)) as net,
        Session(
            program, net, options=device_options(arguments.device, program),
            console_input=whole_input(arguments.input, program),
            max_instructions=arguments.max_instructions or DEFAULT_BUDGET,
        ) as session,
    ):  # fmt: skip
        if arguments.stdio:
            serve_stdio(session)
            return 0
        with listen(address) as listener:
            _tell(f"{program.name} waits for gdb: target remote {bound_to(listener)}")
            serve_tcp(session, listener, _tell, keep=arguments.keep)
    return 0


def _check_address(address: Address, *, allowed: bool) -> None:
    if address.is_loopback:
        return
    if not allowed:
        raise UsageError(
            f"--listen {address}: others could reach it, and gdb's protocol asks for no password",
            hint="--allow-remote if that is meant",
        )
    _tell(f"warning: whoever reaches {address} can read and change the guest")


def _frames(program: Program, option: str | None) -> str | None:
    """What comes in; what goes out is kept nowhere, for it would go out each time anew."""
    if option is not None and not has_card(program):
        raise UsageError(f"--net: {program.name} has no network card")
    if option is not None and option.startswith("pcap:") and option.partition(",")[2]:
        raise UsageError(
            f"--net {option}: a run that can be stepped back keeps no capture",
            hint="`monitor packets` in gdb shows what was sent",
        )
    return frames_for(program, option)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
