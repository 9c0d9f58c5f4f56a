"""Ctrl-C in our own terminal: at once while we wait for gdb, and behind the guest while it runs.

An exception out of the middle of a run would leave the session in the middle of something.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


class CtrlC:
    """SIGINT's handler as long as the context lasts; in another than the main thread nothing."""

    def __init__(self) -> None:
        #: It was pressed while it was held back.
        self.was_pressed = False
        self._is_held_back = False

    def __enter__(self) -> CtrlC:
        try:
            self._before = signal.signal(signal.SIGINT, self._pressed)
        except ValueError:  # not the main thread: no signal comes here
            self._before = None
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    @contextmanager
    def held_back(self) -> Iterator[None]:
        """Within: `was_pressed` only. Raises KeyboardInterrupt at the end if it was."""
        self._is_held_back = True
        try:
            yield
        finally:
            self._is_held_back = False
        if self.was_pressed:
            raise KeyboardInterrupt

    def _pressed(self, _number: int, _frame: object) -> None:
        if self._is_held_back and not self.was_pressed:
            self.was_pressed = True
        else:  # the second time is the rough way
            raise KeyboardInterrupt
