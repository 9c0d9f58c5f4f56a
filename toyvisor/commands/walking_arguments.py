"""The arguments of the commands that walk through a run: step, gdb, demo."""

from __future__ import annotations

import argparse

from toyvisor.commands.argument_types import device, program, whole


def _recorded_run(parser: argparse.ArgumentParser) -> None:
    """What changes a machine whose run is recorded: nothing of the real world."""
    parser.add_argument(
        "--input", metavar="FILE", help="bytes that come in on the guest's serial line"
    )
    device(parser)
    parser.add_argument(
        "--max-instructions",
        metavar="N",
        type=whole(1, 10**15),
        help="the run ends after so many instructions (default: 10,000,000)",
    )


def step_arguments(parser: argparse.ArgumentParser) -> None:
    """`toyvisor step`."""
    program(parser)
    parser.add_argument(
        "--plain",
        action="store_true",
        help="a prompt, line by line (by itself where there is no terminal)",
    )
    parser.add_argument(
        "--presenter",
        action="store_true",
        help="for the projector: few panes, much room, strong contrast (p changes it)",
    )
    parser.add_argument("--light", action="store_true", help="dark on light (t changes it)")
    parser.add_argument(
        "--record",
        metavar="FILE",
        help="at the end, keep the run: .html a page to click through, .cast for asciinema, .svg a "
        "picture, .txt lines",
    )
    parser.add_argument(
        "-x",
        "--commands",
        metavar="FILE",
        help="do the commands of a file at the prompt; the first error ends it, with status 2",
    )
    parser.add_argument("--net", metavar="NET", help="pcap:IN, : a capture with the guest's frames")
    _recorded_run(parser)


def _speed(text: str) -> float:
    """An argparse type: how many times as fast."""
    try:
        speed = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not 0.05 <= speed <= 100:
        raise argparse.ArgumentTypeError(f"{text} is not between 0.05 and 100")
    return speed


def demo_arguments(parser: argparse.ArgumentParser) -> None:
    """`toyvisor demo`."""
    parser.add_argument(
        "program",
        metavar="PROGRAM",
        nargs="?",
        help="a show of --list, a .s file, or a shipped program (default: one_store)",
    )
    parser.add_argument(
        "--list", action="store_true", help="list the shows that come with Toyvisor"
    )
    parser.add_argument(
        "--script",
        metavar="FILE",
        help="your own show (TOML; default: PROGRAM.demo.toml beside the program, or a shipped "
        "one)",
    )
    parser.add_argument(
        "--speed", metavar="X", type=_speed, default=1.0, help="2 is twice as fast (default: 1)"
    )
    parser.add_argument(
        "--plain", action="store_true", help="captions and events as lines (by itself in a pipe)"
    )
    parser.add_argument(
        "--record",
        metavar="FILE",
        help="do not play, but write FILE: .html a page of the whole run to click through, .cast "
        "for asciinema, .svg the last picture, .txt the lines of --plain",
    )
    parser.add_argument(
        "--size", metavar="COLSxROWS", help="size of what is recorded (default: 100x30)"
    )
    _recorded_run(parser)


def gdb_arguments(parser: argparse.ArgumentParser) -> None:
    """`toyvisor gdb`."""
    program(parser)
    parser.add_argument(
        "--listen",
        metavar="HOST:PORT",
        default="127.0.0.1:1234",
        help="where gdb reaches us (default: 127.0.0.1:1234; port 0: any that is free)",
    )
    parser.add_argument(
        "--allow-remote",
        action="store_true",
        help="let --listen name an address that other machines can reach",
    )
    parser.add_argument(
        "--stdio",
        action="store_true",
        help="speak on standard input and output: for `target remote | toyvisor gdb ...`",
    )
    parser.add_argument(
        "--keep", action="store_true", help="when gdb has left, wait for the next one"
    )
    parser.add_argument(
        "--symbols",
        metavar="FILE",
        help="also write labels and source lines there, as an ELF file for gdb",
    )
    parser.add_argument("--net", metavar="pcap:IN,", help="a capture with the guest's frames")
    _recorded_run(parser)
