"""An arrow through a picture of a run: its start, its steps, and its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from toyvisor.trace.chrome_trace import Track


class Mark(NamedTuple):
    """A place for an arrow's end."""

    time: int
    track: Track


#: Called with the phase of the trace event format (s, t, f), the flow's number, and where.
Emit = Callable[[str, int, Mark], None]


class Flow:
    """One packet's way. The last mark is kept back until it is known whether it is the last."""

    def __init__(self, number: int, emit: Emit) -> None:
        self._number = number
        self._emit = emit
        self._last: Mark | None = None
        self._phase = "s"

    def step(self, mark: Mark) -> None:
        """The packet comes by here."""
        if self._last is not None:
            if mark.time <= self._last.time:
                return
            self._emit(self._phase, self._number, self._last)
            self._phase = "t"
        self._last = mark

    def finish(self) -> None:
        """It has come to its end; one that went nowhere leaves no arrow."""
        if self._last is not None and self._phase == "t":
            self._emit("f", self._number, self._last)
        self._last = None
