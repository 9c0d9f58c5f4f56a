"""The command line: one parser, one place where errors become exit statuses.

Everything heavy is imported by the command that needs it, so that `--help`, a wrong
option or shell completion answer at once.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from toyvisor import __version__
from toyvisor.errors import ToyvisorError

EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

_DESCRIPTION = """\
Toyvisor is a glass-box hypervisor: a real x86 guest, a KVM, a QEMU and a host kernel that
you can read, with every vmexit and every copied byte counted."""

_EPILOG = """\
examples:
  toyvisor run hello_serial                 run a shipped program
  toyvisor run my.s --trace run.jsonl       run your own and keep the event stream
  toyvisor run virtio_net_tx --net pcap:in.pcap,out.pcap
  toyvisor compare                          the experiment: full virtualization or virtio?

exit status:
  0  the guest halted as it should          2  bad usage or bad input
  1  the guest failed                     124  its instruction budget was spent
                                          130  interrupted (Ctrl-C)
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    parser = build_parser()
    try:
        arguments = parser.parse_args(argv)
        command: Callable[[argparse.Namespace], int] = importlib.import_module(
            f"toyvisor.commands.{arguments.command}"
        ).main
        status = command(arguments)
        sys.stdout.flush()
    except ToyvisorError as error:
        print(_as_message(error), file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our pipe has seen enough (head): not an error, but say nothing more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status


def _as_message(error: ToyvisorError) -> str:
    text = str(error)
    return text if not text.startswith("error:") else f"toyvisor: {text}"


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="toyvisor",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=_formatter(),
    )
    parser.add_argument("--version", action="version", version=f"toyvisor {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for add in (
        _add_run,
        _add_compare,
        _add_asm,
        _add_disasm,
        _add_programs,
        _add_trace,
        _add_doctor,
        _add_bench,
        _add_completion,
    ):
        add(commands)
    return parser


def _formatter() -> Any:
    """Coloured help where it will be seen, plain argparse (and its quick start) elsewhere."""
    if "-h" in sys.argv or "--help" in sys.argv:
        from rich_argparse import RawDescriptionRichHelpFormatter

        return RawDescriptionRichHelpFormatter
    return argparse.RawDescriptionHelpFormatter


def _command(commands: Any, name: str, summary: str, epilog: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=epilog,
        formatter_class=_formatter(),
    )
    return parser


def _program(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "program", metavar="PROGRAM", help="a .s file, or the name of a shipped program"
    )


def _whole(low: int, high: int) -> Callable[[str], int]:
    """An argparse type: a whole number in a range, with a message that says so."""

    def convert(text: str) -> int:
        try:
            number = int(text.replace("_", ""), 0)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        if not low <= number <= high:
            raise argparse.ArgumentTypeError(f"{number} is not between {low} and {high}")
        return number

    return convert


def _add_run(commands: Any) -> None:
    parser = _command(
        commands,
        "run",
        "run a guest program and count what it cost",
        """\
examples:
  toyvisor run add
  toyvisor run virtio_net_tx --net pcap:in.pcap,out.pcap
  toyvisor run spin --max-instructions 1000000; echo $?      124
  toyvisor run mmio_nic_tx --json | python -m json.tool""",
    )
    _program(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object, nothing else")
    parser.add_argument(
        "--trace", metavar="FILE", help="write the event stream as JSON lines (- for stdout)"
    )
    parser.add_argument(
        "--net",
        metavar="pcap:IN,OUT",
        help="frames the guest is to send, and where to keep what it sent; either may be empty",
    )
    parser.add_argument(
        "--max-instructions",
        metavar="N",
        type=_whole(1, 10**15),
        default=10_000_000,
        help="stop the guest after so many instructions (default: 10,000,000)",
    )
    parser.add_argument(
        "--accel",
        choices=("toy", "kvm"),
        default="toy",
        help="toy: this project's KVM over Unicorn; kvm: Linux's (not there yet)",
    )


def _add_compare(commands: Any) -> None:
    parser = _command(
        commands,
        "compare",
        "the experiment: the same packets by full virtualization and by virtio",
        """\
examples:
  toyvisor compare
  toyvisor compare --size 64 1500 --batch 1 32 --packets 100
  toyvisor compare --svg figure.svg --csv > figures.csv
  toyvisor compare --print-costs > my.toml; toyvisor compare --costs my.toml""",
    )
    parser.add_argument(
        "--packets", metavar="N", type=_whole(1, 4000), default=64, help="packets (default: 64)"
    )
    parser.add_argument(
        "--size",
        metavar="BYTES",
        nargs="+",
        type=_whole(14, 1514),
        default=[64, 256, 1024, 1500],
        help="bytes in a frame (default: 64 256 1024 1500)",
    )
    parser.add_argument(
        "--batch",
        metavar="N",
        nargs="+",
        type=_whole(1, 4000),
        default=[1, 8, 64],
        help="packets for each kick of virtio (default: 1 8 64)",
    )
    parser.add_argument("--costs", metavar="FILE", help="your own cost table (TOML)")
    parser.add_argument(
        "--print-costs", action="store_true", help="print the cost table, with its sources"
    )
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print one JSON object")
    output.add_argument("--csv", action="store_true", help="print comma-separated values")
    parser.add_argument("--svg", metavar="FILE", help="also write a figure")


def _add_asm(commands: Any) -> None:
    parser = _command(
        commands,
        "asm",
        "assemble a file",
        """\
examples:
  toyvisor asm hello_serial --listing
  toyvisor asm boot.s --mode real --origin 0x7c00 -o boot.bin""",
    )
    parser.add_argument("file", metavar="FILE", help="a .s file, or the name of a shipped program")
    parser.add_argument("-o", "--output", metavar="BIN", help="write the flat binary there")
    parser.add_argument("--listing", action="store_true", help="print addresses, bytes and source")
    _mode_and_origin(parser)


def _add_disasm(commands: Any) -> None:
    parser = _command(
        commands,
        "disasm",
        "disassemble a flat binary, or a program's own code",
        """\
examples:
  toyvisor disasm add
  toyvisor disasm boot.bin --mode real --origin 0x7c00""",
    )
    parser.add_argument("file", metavar="FILE", help="a binary, a .s file, or a shipped program")
    _mode_and_origin(parser)


def _mode_and_origin(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--mode",
        choices=("real", "protected", "long"),
        help="16-, 32- or 64-bit code (default: what the file's machine block says, else long)",
    )
    parser.add_argument(
        "--origin",
        metavar="ADDRESS",
        type=_whole(0, (1 << 64) - 1),
        help="address of the first byte (default: the machine block's)",
    )


def _add_programs(commands: Any) -> None:
    parser = _command(
        commands,
        "programs",
        "list the shipped guest programs",
        "examples:\n  toyvisor programs\n  toyvisor programs hello_serial > mine.s",
    )
    parser.add_argument("name", metavar="NAME", nargs="?", help="print this program's source")
    parser.add_argument("--json", action="store_true", help="print a JSON array")


def _add_trace(commands: Any) -> None:
    parser = _command(
        commands,
        "trace",
        "show an event stream that `run --trace` kept, or a program's",
        """\
examples:
  toyvisor trace run.jsonl --to text
  toyvisor trace virtio_net_tx --to text | less""",
    )
    parser.add_argument("file", metavar="FILE", help="a .jsonl file, or a program to run")
    parser.add_argument(
        "--to", choices=("text", "jsonl"), default="text", help="form of the output"
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="write there, not to stdout")


def _add_doctor(commands: Any) -> None:
    parser = _command(
        commands,
        "doctor",
        "check that this machine has what Toyvisor needs",
        "examples:\n  toyvisor doctor",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _add_bench(commands: Any) -> None:
    parser = _command(
        commands,
        "bench",
        "time Toyvisor's own parts against a bare Unicorn script",
        "examples:\n  toyvisor bench\n  toyvisor bench --json",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--seconds",
        metavar="S",
        type=_whole(1, 600),
        default=20,
        help="about how long to measure (default: 20)",
    )


def _add_completion(commands: Any) -> None:
    parser = _command(
        commands,
        "completion",
        "print a completion script for your shell",
        'examples:\n  eval "$(toyvisor completion bash)"',
    )
    parser.add_argument("shell", choices=("bash", "zsh", "tcsh"), help="which shell")


if __name__ == "__main__":
    sys.exit(main())
