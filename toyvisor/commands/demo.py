"""`toyvisor demo [PROGRAM]`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from toyvisor.commands.output import check_writable
from toyvisor.commands.step import make_session
from toyvisor.errors import InputError, UsageError
from toyvisor.guest.program import Program, load_program
from toyvisor.ui.demo.cards import Card, rehearse
from toyvisor.ui.demo.default_show import default_show
from toyvisor.ui.demo.recording import kind_of, record_run, title_of
from toyvisor.ui.demo.script import Script, read_script, script_of, shipped_scripts

if TYPE_CHECKING:
    from toyvisor.debug.session import Session

DEFAULT = "one_store"
_SIZES = ((80, 24), (400, 200))


def main(arguments: argparse.Namespace) -> int:
    """Play a program, or record what would be played."""
    if arguments.list:
        return _list()
    if arguments.record is not None:
        kind_of(arguments.record)
    size = _size(arguments.size)
    script, program = _find(arguments)
    if arguments.record is not None:
        check_writable(arguments.record, program.path, *_path_of(script))
    arguments.net = None
    if script is not None:
        arguments.device = [*script.device, *arguments.device]
    with make_session(arguments, program) as session:
        cards = default_show(session) if script is None else rehearse(session, script)
        title = script.title if script is not None and script.title else title_of(session)
        if arguments.record is not None:
            record_run(session, arguments.record, cards=cards, title=title, size=size)
        elif arguments.plain or not sys.stdout.isatty():
            _lines(session, cards, title, arguments.speed)
        else:
            _play(session, cards, title, arguments.speed)
    return 0


def _list() -> int:
    """The shipped shows."""
    paths = shipped_scripts()
    width = max(map(len, paths))
    for name, path in paths.items():
        print(f"{name:<{width}}  {read_script(path).title}")
    print("\nAny other program is shown from exit to exit: `toyvisor programs` lists them.")
    return 0


def _find(arguments: argparse.Namespace) -> tuple[Script | None, Program]:
    """The script, if there is one for what was asked for, and the program."""
    name = arguments.program
    if arguments.script is not None:
        script = read_script(Path(arguments.script))
        return script, load_program(name or _program_of(script))
    name = name or DEFAULT
    shipped = shipped_scripts().get(name)
    is_other_machine = bool(arguments.device) or arguments.input is not None
    if shipped is not None and not is_other_machine:
        script = read_script(shipped)
        return script, load_program(_program_of(script))
    program = load_program(name)
    return (None if is_other_machine else script_of(program)), program


def _program_of(script: Script) -> str:
    if not script.program:
        raise InputError(f"{script.name} names no program", hint='program = "one_store"')
    return script.program


def _path_of(script: Script | None) -> list[Path]:
    return [script.path] if script is not None and script.path is not None else []


def _size(text: str | None) -> tuple[int, int]:
    """Columns and rows of a recording."""
    from toyvisor.ui.demo.cast import DEFAULT_SIZE

    if text is None:
        return DEFAULT_SIZE
    columns, _, rows = text.lower().partition("x")
    if not (columns.isdecimal() and rows.isdecimal()):
        raise UsageError(f"--size {text} is no size", hint="--size 80x24")
    (least_columns, least_rows), (most_columns, most_rows) = _SIZES
    if not (least_columns <= int(columns) <= most_columns and least_rows <= int(rows) <= most_rows):
        raise UsageError(
            f"--size {text}: from {least_columns}x{least_rows} to {most_columns}x{most_rows}"
        )
    return int(columns), int(rows)


def _lines(session: Session, cards: Sequence[Card], title: str, speed: float) -> None:
    """Line by line; to a person with time to read, to a pipe at once."""
    from toyvisor.ui.demo.plain import blocks

    is_watched = sys.stdout.isatty()
    print(f"{title}\n")
    for lines, seconds in blocks(session, cards):
        print("\n".join(lines), flush=True)
        if is_watched:
            time.sleep(seconds / speed)


def _play(session: Session, cards: Sequence[Card], title: str, speed: float) -> None:
    from toyvisor.ui.demo.keyboard import NoKeys, keyboard
    from toyvisor.ui.demo.player import Player
    from toyvisor.ui.demo.terminal import Terminal

    with ExitStack() as stack:
        board = keyboard()
        keys = NoKeys() if board is None else stack.enter_context(board)
        stage = stack.enter_context(Terminal())
        Player(session, cards, title, stage, keys, speed=speed).play()
