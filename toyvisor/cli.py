"""The command line: one table of commands, one place where errors become exit statuses.

Everything heavy is imported by the command that needs it, and only the parser of the
command that was named is built, so that a small program runs, and a wrong option or shell
completion answers, at once.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, NoReturn

from toyvisor import __version__
from toyvisor.commands.output import abandon_output
from toyvisor.errors import InputError, MachineError, ToyvisorError, UsageError

EXIT_INTERRUPTED = 130

_DESCRIPTION = """\
Toyvisor is a glass-box hypervisor: a real x86 guest, a KVM, a QEMU and a host kernel that
you can read, with every vmexit and every copied byte counted."""

_EPILOG = """\
examples:
  toyvisor run hello_serial                 run a shipped program
  toyvisor run my.s --trace run.jsonl       run your own and keep the event stream
  toyvisor run virtio_net_tx --net pcap:,sent.pcap
  toyvisor compare                          the experiment: full virtualization or virtio?

exit status:
  0  the guest halted as it should          2  bad usage or bad input
  1  the guest failed                     124  its instruction budget was spent
                                          130  interrupted (Ctrl-C)
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status. What a person can cause is never a traceback."""
    _prepare_streams()
    status = 0
    try:
        arguments = _parse(list(sys.argv[1:] if argv is None else argv))
        with _quick_ctrl_c():
            command = importlib.import_module(f"toyvisor.commands.{arguments.command}")
        status = command.main(arguments)
        sys.stdout.flush()
    except ToyvisorError as error:
        return _fail(error)
    except ModuleNotFoundError as error:
        return _fail(_missing_package(error))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except SystemExit as done:  # --help and --version
        return int(done.code or 0)
    except BrokenPipeError:
        # The reader of our pipe has seen enough (head): not an error, but say nothing more.
        abandon_output()
    except OSError as error:
        abandon_output()
        where = error.filename or "standard output"
        return _fail(InputError(f"{where}: {error.strerror or error}"))
    return status


@contextmanager
def _quick_ctrl_c() -> Iterator[None]:
    """While modules load there is nothing to tidy up, and an exception may come out mangled."""

    def leave(_number: int, _frame: object) -> None:
        os.write(2, b"interrupted\n")
        os._exit(EXIT_INTERRUPTED)

    try:
        before = signal.signal(signal.SIGINT, leave)
    except ValueError:  # not the main thread: no signal comes here
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _fail(error: ToyvisorError) -> int:
    text = str(error)
    print(f"toyvisor: {text}" if text.startswith("error:") else text, file=sys.stderr)
    return error.exit_status


def _missing_package(error: ModuleNotFoundError) -> MachineError:
    package = (error.name or "").partition(".")[0]
    if package in ("", "toyvisor"):
        raise error
    return MachineError(
        f"the {package} package is not installed", hint="`toyvisor doctor` says what is missing"
    )


def _prepare_streams() -> None:
    """Standard streams that were closed lead nowhere; odd file names print as escapes."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif getattr(stream, "errors", None) == "strict" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


# Parsing --------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    """argparse, with errors in one line as all others are, and no abbreviated options."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, hint=f"`{self.prog} --help`")


def _parse(argv: list[str]) -> argparse.Namespace:
    """The arguments; building only the parser of the command, if there is one."""
    name = argv[0] if argv else ""
    if name in COMMANDS:
        parser = _fill(_Parser(prog=f"toyvisor {name}", **_about(name, argv)), name)
        return parser.parse_args(argv[1:], argparse.Namespace(command=name))
    if argv and not name.startswith("-"):
        raise _unknown_command(name)
    return build_parser(argv).parse_args(argv)


def _unknown_command(name: str) -> UsageError:
    import difflib

    from toyvisor.guest.library import SUFFIXES, shipped_programs

    close = difflib.get_close_matches(name, COMMANDS, 1)
    hint = f"did you mean {close[0]}?" if close else "`toyvisor --help` lists them"
    if name.endswith(SUFFIXES) or name in [program.name for program in shipped_programs()]:
        hint = f"did you mean `toyvisor run {name}`?"
    return UsageError(f"there is no command {name!r}", hint=hint)


def build_parser(argv: Sequence[str] = ()) -> argparse.ArgumentParser:
    """The whole command line, for its help and for shell completion."""
    parser = _Parser(
        prog="toyvisor",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=_formatter(argv),
    )
    parser.add_argument("--version", action="version", version=f"toyvisor {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        _fill(commands.add_parser(name, help=command.summary, **_about(name, argv)), name)
    return parser


def _about(name: str, argv: Sequence[str]) -> dict[str, Any]:
    summary, epilog, _ = COMMANDS[name]
    return {
        "description": summary[0].upper() + summary[1:] + ".",
        "epilog": epilog,
        "formatter_class": _formatter(argv),
    }


def _fill(parser: argparse.ArgumentParser, name: str) -> argparse.ArgumentParser:
    COMMANDS[name].add_arguments(parser)
    return parser


def _formatter(argv: Sequence[str]) -> Any:
    """Coloured help where it will be seen, plain argparse elsewhere."""
    if "-h" in argv or "--help" in argv:
        try:
            from rich_argparse import RawDescriptionRichHelpFormatter
        except ModuleNotFoundError:
            return argparse.RawDescriptionHelpFormatter
        return RawDescriptionRichHelpFormatter
    # Given a width, argparse does not import shutil to ask the terminal for one.
    return functools.partial(argparse.RawDescriptionHelpFormatter, width=80)


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


# The commands ---------------------------------------------------------------------------


def _run_arguments(parser: argparse.ArgumentParser) -> None:
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


def _compare_arguments(parser: argparse.ArgumentParser) -> None:
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


def _asm_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a .s file, or the name of a shipped program")
    parser.add_argument(
        "-o", "--output", metavar="BIN", help="write the flat binary there (- for stdout)"
    )
    parser.add_argument("--listing", action="store_true", help="print addresses, bytes and source")
    _mode_and_origin(parser)


def _disasm_arguments(parser: argparse.ArgumentParser) -> None:
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


def _programs_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", nargs="?", help="print this program's source")
    parser.add_argument(
        "--json", action="store_true", help="print JSON: an array, or NAME's object"
    )


def _trace_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a .jsonl file, or a program to run")
    parser.add_argument(
        "--to", choices=("text", "jsonl"), default="text", help="form of the output"
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="write there, not to stdout")


def _doctor_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _bench_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print a JSON array, one object a row")
    parser.add_argument(
        "--seconds",
        metavar="S",
        type=_whole(1, 600),
        default=20,
        help="about how long to measure (default: 20)",
    )


def _completion_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=("bash", "zsh", "tcsh"), help="which shell")
    parser.set_defaults(whole_parser=build_parser)


class _Command(NamedTuple):
    """What `--help` says of a command, and what it takes."""

    summary: str
    epilog: str
    add_arguments: Callable[[argparse.ArgumentParser], None]


COMMANDS = {
    "run": _Command(
        "run a guest program and count what it cost",
        """\
examples:
  toyvisor run add
  toyvisor run virtio_net_tx --net pcap:in.pcap,out.pcap     either may be left out
  toyvisor run spin --max-instructions 1000000; echo $?      124
  toyvisor run mmio_nic_tx --json | python -m json.tool""",
        _run_arguments,
    ),
    "compare": _Command(
        "the experiment: the same packets by full virtualization and by virtio",
        """\
examples:
  toyvisor compare
  toyvisor compare --size 64 1500 --batch 1 32 --packets 100
  toyvisor compare --svg figure.svg --csv > figures.csv
  toyvisor compare --print-costs > my.toml; toyvisor compare --costs my.toml""",
        _compare_arguments,
    ),
    "asm": _Command(
        "assemble a file",
        """\
examples:
  toyvisor asm hello_serial --listing
  toyvisor asm add -o - | xxd
  toyvisor asm boot.s --mode real --origin 0x7c00 -o boot.bin""",
        _asm_arguments,
    ),
    "disasm": _Command(
        "disassemble a flat binary, or a program's own code",
        """\
examples:
  toyvisor disasm add
  toyvisor disasm boot.bin --mode real --origin 0x7c00""",
        _disasm_arguments,
    ),
    "programs": _Command(
        "list the shipped guest programs",
        """\
examples:
  toyvisor programs
  toyvisor programs hello_serial > mine.s""",
        _programs_arguments,
    ),
    "trace": _Command(
        "show an event stream that `run --trace` kept, or a program's",
        """\
examples:
  toyvisor trace run.jsonl --to text
  toyvisor trace virtio_net_tx --to text | less""",
        _trace_arguments,
    ),
    "doctor": _Command(
        "check that this machine has what Toyvisor needs",
        """\
examples:
  toyvisor doctor""",
        _doctor_arguments,
    ),
    "bench": _Command(
        "time Toyvisor's own parts against a bare Unicorn script",
        """\
examples:
  toyvisor bench
  toyvisor bench --json""",
        _bench_arguments,
    ),
    "completion": _Command(
        "print a completion script for your shell",
        """\
examples:
  eval "$(toyvisor completion bash)\"""",
        _completion_arguments,
    ),
}


if __name__ == "__main__":
    sys.exit(main())
