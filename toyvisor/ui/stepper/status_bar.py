"""The first line: which program, where in time, and why it stopped there. Always visible."""

from __future__ import annotations

from rich.text import Text
from textual.widget import Widget

from toyvisor.debug.moment import Moment, StopReason
from toyvisor.ui.stepper.picture import Picture
from toyvisor.ui.stepper.rows import printable

_SPINNER = "|/-\\"
_BAD = frozenset({StopReason.INTERRUPTED, StopReason.FULL})
#: The tick's part of the line, at the right.
_LEAST_REASON = 20


class StatusBar(Widget):
    """Program and stop reason at the left, the tick counter at the right."""

    DEFAULT_CSS = """
    StatusBar {
        height: 1;
        background: $hue-guest;
        color: $background;
        text-style: bold;
    }
    StatusBar:nocolor { text-style: bold reverse; }
    StatusBar.-running { background: $hue-changed; }
    """

    def __init__(self) -> None:
        super().__init__(id="status")
        self._picture = Picture()
        self._words = ""
        self._turns = 0
        self._instructions = 0

    def show(self, picture: Picture) -> None:
        """The guest has stopped."""
        self._picture, self._words = picture, ""
        self.set_class(False, "-running")
        self.refresh()

    def running(self, what: str, instructions: int) -> None:
        """The guest runs: a turn of the spinner."""
        self._words = what
        self._instructions = instructions
        self._turns += 1
        self.set_class(True, "-running")
        self.refresh()

    def render(self) -> Text:
        """The line."""
        width = self.size.width
        if self._words:
            turning = _SPINNER[self._turns % len(_SPINNER)]
            left = f" {turning} {self._words}   Ctrl-C stops the guest"
            right = f"{self._instructions:,} instructions "
        else:
            left = f" {self._picture.program}  {reason(self._picture)}"
            right = f" {tick(self._picture, short=width < 100)} "
            if len(left) + len(right) > width and self._picture.stop.reason is StopReason.START:
                left = f" {self._picture.program}  at the start"
            elif len(left) + len(right) > width:
                right = f" tick {self._picture.moment.instructions:,} "
        room = max(width - len(right), 0)
        if len(left) > room:
            left = left[: max(room - 1, 0)] + "…"
        return Text(left.ljust(room) + right, no_wrap=True, overflow="crop")


def reason(picture: Picture) -> str:
    """Why it stands where it stands, with a mark for what is worth a second look."""
    stop = picture.stop
    mark = "! " if stop.reason in _BAD else ""
    text = printable(stop.text) or stop.reason.value
    branch = f"[branch {picture.branch}] " if picture.branch else ""
    return f"{branch}{mark}{text}"


def tick(picture: Picture, *, short: bool) -> str:
    """Instructions and events that lie behind, of those recorded."""
    now, last = picture.moment, picture.frontier
    if short:
        return f"tick {now.instructions:,} · event {now.events:,}"
    return (
        f"tick {_of(now.instructions, last.instructions)} · "
        f"event {_of(now.events, last.events)} · {_place(now)}"
    )


def _of(now: int, last: int) -> str:
    return f"{now:,}/{last:,}"


def _place(now: Moment) -> str:
    return "in the guest" if now.between else "in the host"
