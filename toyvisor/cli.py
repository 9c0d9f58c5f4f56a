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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from toyvisor import __version__
from toyvisor.commands.arguments import COMMANDS
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
    if os.environ.get("COLUMNS") == "0":  # nobody knows how wide it is; to Rich, nothing fits
        del os.environ["COLUMNS"]


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
    if name == "completion":
        parser.set_defaults(whole_parser=build_parser)
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


if __name__ == "__main__":
    sys.exit(main())
