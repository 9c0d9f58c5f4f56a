"""Ctrl-C: it stops the guest while one runs, and clears the line at the prompt."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from toyvisor.debug.session import Session


class CtrlC:
    """Takes SIGINT for one prompt. As a context manager: from when on, and until when."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._is_running = False
        self._before: Any = None
        #: How often it was pressed since the last movement began.
        self.presses = 0

    def __enter__(self) -> CtrlC:
        try:
            self._before = signal.signal(signal.SIGINT, self._pressed)
        except ValueError:  # not the main thread: no signal comes here
            self._before = None
        self._session.should_stop = lambda: self.presses > 0
        return self

    def __exit__(self, *_exc: object) -> None:
        self._session.should_stop = None
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    @contextmanager
    def stops_the_guest(self) -> Iterator[None]:
        """While this lasts, it is a wish that the guest stops, and no exception."""
        self.presses, self._is_running = 0, True
        try:
            yield
        finally:
            self._is_running = False

    def _pressed(self, _number: int, _frame: FrameType | None) -> None:
        if not self._is_running:
            raise KeyboardInterrupt
        self.presses += 1
