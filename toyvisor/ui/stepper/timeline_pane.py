"""The timeline at the bottom: the recorded run as a strip of its exits."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.events import Click
from textual.message import Message
from textual.widget import Widget

from toyvisor.trace.events import Layer
from toyvisor.ui.stepper.picture import Picture
from toyvisor.ui.stepper.timeline_cells import Cell, Timeline

CURSOR = "▲"
#: Behind the last exit: there is more that is not recorded yet, or there is not.
GOES_ON, ENDS = "…", "■"


def most_cells(width: int) -> int:
    """How many cells there is room for on a screen."""
    return max(width - 3, 1)


class TimelinePane(Widget):
    """Letters for the kinds of exits, colours for how deep they went, ▲ below where we are.

    With room for it each exit has two columns: the exit, and the guest running behind it.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        *(f"timeline--{depth}" for depth in ("kvm", "qemu", "host")),
        *(f"timeline--{depth}-future" for depth in ("kvm", "qemu", "host")),
        "timeline--faint",
        "timeline--cursor",
    }
    DEFAULT_CSS = """
    TimelinePane { background: $background; color: $foreground; }
    TimelinePane > .timeline--kvm { background: $hue-kvm; color: $background; }
    TimelinePane > .timeline--qemu { background: $hue-qemu; color: $background; }
    TimelinePane > .timeline--host { background: $hue-host; color: $background; }
    TimelinePane > .timeline--kvm-future { color: $hue-kvm; }
    TimelinePane > .timeline--qemu-future { color: $hue-qemu; }
    TimelinePane > .timeline--host-future { color: $hue-host; }
    TimelinePane:nocolor > .timeline--kvm { text-style: bold; }
    TimelinePane:nocolor > .timeline--qemu { text-style: bold; }
    TimelinePane:nocolor > .timeline--host { text-style: bold; }
    TimelinePane > .timeline--faint { color: $faint; }
    TimelinePane > .timeline--cursor { color: $hue-changed; text-style: bold; }
    """

    class Travel(Message):
        """The strip was clicked on: to that cell, or (None) to the start."""

        def __init__(self, cell: Cell | None) -> None:
            super().__init__()
            self.cell = cell

    def __init__(self) -> None:
        super().__init__(id="timeline")
        self._timeline = Timeline()
        self._words = ""

    def show(self, picture: Picture) -> None:
        """Another picture."""
        self._timeline = picture.timeline
        self._words = _words(picture)
        self.refresh()

    @property
    def _step(self) -> int:
        return 2 if 2 * len(self._timeline.cells) <= most_cells(self.size.width) else 1

    def render(self) -> Text:
        """Two rows: the strip, and the cursor below it; a third if there is room: the legend."""
        rows = [self._strip(), self._cursor_row()]
        if self.size.height > 2:
            rows.append(Text(_LEGEND, self._style("faint")))
        text = Text("\n").join(rows)
        text.no_wrap, text.overflow = True, "crop"
        return text

    def _style(self, name: str) -> str:
        return self.get_component_rich_style(f"timeline--{name}", partial=True)  # type: ignore[return-value]

    def _strip(self) -> Text:
        strip = Text("├", self._style("faint"))
        for number, cell in enumerate(self._timeline.cells):
            is_past = number <= self._timeline.position
            style = self._style(f"{_DEPTHS[cell.depth]}{'' if is_past else '-future'}")
            strip.append(cell.letter, style)
            if self._step == 2:
                strip.append("·", self._style("faint"))
        strip.append(GOES_ON if self._timeline.goes_on else ENDS, self._style("faint"))
        return strip

    def _cursor_row(self) -> Text:
        column = self.cursor_column()
        row = Text(" " * column)
        row.append(CURSOR, self._style("cursor"))
        room = self.size.width - column - 2
        if len(self._words) <= room:
            row.append(f" {self._words}", self._style("faint"))
        elif len(self._words) < column:
            row = Text(f"{self._words:>{column - 1}} ", self._style("faint"))
            row.append(CURSOR, self._style("cursor"))
        return row

    def cursor_column(self) -> int:
        """Where the ▲ stands: below the exit, or below the guest that runs behind it."""
        line = self._timeline
        if line.position < 0:
            return 0
        behind = 1 if line.in_guest and self._step == 2 else 0
        return 1 + self._step * line.position + behind

    def on_click(self, event: Click) -> None:
        """Travel."""
        if event.y > 1 or not self._timeline.cells:
            return
        number = (event.x - 1) // self._step
        cell = self._timeline.cells[min(number, len(self._timeline.cells) - 1)]
        self.post_message(self.Travel(None if event.x < 1 else cell))


_DEPTHS = {Layer.GUEST: "kvm", Layer.KVM: "kvm", Layer.QEMU: "qemu", Layer.HOST: "host"}
_LEGEND = (
    " M mmio  P port  H hlt  C cpuid  V vmcall  W window  T timer  "
    "(small: ended in KVM)  [ ] { } or click: travel"
)


def _words(picture: Picture) -> str:
    line = picture.timeline
    if line.goes_on:
        return f"exit {line.passed:,} of {line.exits:,} recorded; the run goes on"
    return f"exit {line.passed:,} of {line.exits:,}"
