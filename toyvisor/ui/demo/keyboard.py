"""Single keys of a terminal, with a time limit: what a show that plays by itself needs."""

from __future__ import annotations

import os
import select
import sys
import time
from types import TracebackType
from typing import Any, Protocol

#: What a terminal sends for keys that have a name; ECMA-48 cursor keys, in both modes.
_NAMES = {
    b"\x1b[C": "right", b"\x1bOC": "right", b"\x1b[D": "left", b"\x1bOD": "left",
    b" ": "space", b"q": "q", b"Q": "q", b"\x1b": "q", b"\x03": "q", b"n": "right", b"p": "left",
    b"\r": "right", b"\n": "right", b"\x7f": "left",
}  # fmt: skip
#: A key that sends several bytes sends them at once.
_REST = 0.02


class Keys(Protocol):
    """Where a player's keys come from."""

    can_press: bool

    def wait(self, seconds: float | None) -> str | None:
        """The next key, or None when the time is over. None: for ever."""


class NoKeys:
    """Nobody is at the keyboard: a show plays to its end."""

    can_press = False

    def wait(self, seconds: float | None) -> str | None:
        """Only the time passes."""
        time.sleep(seconds or 0.0)
        return None


class Keyboard:
    """The terminal at standard input. A context manager: it gives the terminal back as it was."""

    can_press = True

    def __init__(self) -> None:
        import termios

        self._fd = sys.stdin.fileno()
        self._before: list[Any] = termios.tcgetattr(self._fd)

    def __enter__(self) -> Keyboard:
        import tty

        tty.setcbreak(self._fd)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        import termios

        termios.tcsetattr(self._fd, termios.TCSADRAIN, self._before)

    def wait(self, seconds: float | None) -> str | None:
        """The next key by its name; an unknown one is as none, but the time goes on."""
        end = None if seconds is None else time.monotonic() + seconds
        while True:
            left = None if end is None else max(end - time.monotonic(), 0.0)
            if not self._is_ready(left):
                return None
            name = _NAMES.get(self._read())
            if name is not None:
                return name

    def _is_ready(self, seconds: float | None) -> bool:
        return bool(select.select([self._fd], [], [], seconds)[0])

    def _read(self) -> bytes:
        data = os.read(self._fd, 1)
        if not data:  # the terminal is gone
            return b"q"
        while data[:1] == b"\x1b" and self._is_ready(_REST):
            data += os.read(self._fd, 8)
        return data


def keyboard() -> Keyboard | None:
    """The terminal's, if standard input is one."""
    if sys.stdin is None or not sys.stdin.isatty():
        return None
    try:
        return Keyboard()
    except (ImportError, OSError):  # no terminal as POSIX has them
        return None
