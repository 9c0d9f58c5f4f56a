"""Editing, completion and history on a terminal, by Python's own readline where there is one.

A screen reader and any terminal can follow it: it writes lines, and never moves about the screen.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from toyvisor.ui.prompt.completion import DELIMITERS, candidates
from toyvisor.ui.prompt.desk import Desk

MOST_REMEMBERED = 1000


def history_file() -> Path:
    """Where the lines of earlier sessions are: below XDG_STATE_HOME."""
    base = os.environ.get("XDG_STATE_HOME", "").strip()
    folder = Path(base) if base else Path(os.path.expanduser("~/.local/state"))
    return folder / "toyvisor" / "step_history"


@contextlib.contextmanager
def editing(desk: Desk) -> Iterator[None]:
    """input() completes and remembers, until the context ends."""
    try:
        import readline
    except ImportError:  # not on Windows
        yield
        return
    readline.set_completer(_Completer(desk, readline))
    readline.set_completer_delims(DELIMITERS)
    is_libedit = "libedit" in (readline.__doc__ or "")
    readline.parse_and_bind("bind ^I rl_complete" if is_libedit else "tab: complete")
    readline.set_history_length(MOST_REMEMBERED)
    path = history_file()
    with contextlib.suppress(OSError, ValueError):  # none yet, or not to be read
        readline.read_history_file(path)
    try:
        yield
    finally:
        readline.set_completer(None)
        with contextlib.suppress(OSError, ValueError):  # a home that can't be written to
            path.parent.mkdir(parents=True, exist_ok=True)
            readline.write_history_file(path)


class _Completer:
    """readline asks for one candidate after the other."""

    def __init__(self, desk: Desk, readline: ModuleType) -> None:
        self._desk = desk
        self._readline = readline
        self._found: list[str] = []

    def __call__(self, word: str, number: int) -> str | None:
        if number == 0:
            before = self._readline.get_line_buffer()[: self._readline.get_begidx()]
            self._found = candidates(self._desk, before, word)
        if number >= len(self._found):
            return None
        only = len(self._found) == 1 and not self._found[0].endswith(":")
        return self._found[number] + (" " if only else "")
