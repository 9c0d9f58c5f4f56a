"""Places on the screen that stand for places of the run: clicks, Enter, breakpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from toyvisor.ui.stepper import walking
from toyvisor.ui.stepper.dialogs import Dialogs
from toyvisor.ui.stepper.disassembly_pane import DisassemblyPane
from toyvisor.ui.stepper.pane import Pane
from toyvisor.ui.stepper.rows import Target
from toyvisor.ui.stepper.session_app import Movement
from toyvisor.ui.stepper.source_pane import GUTTER, SourcePane
from toyvisor.ui.stepper.timeline_pane import TimelinePane

if TYPE_CHECKING:
    from toyvisor.guest.listing import ListingLine


class Places(Dialogs):
    """What a row, or a cell of the timeline, does when it is chosen."""

    def on_pane_chosen(self, message: Pane.Chosen) -> None:
        """A click or Enter on a row: in code, Enter runs there, and a click sets breakpoints."""
        target = message.target
        if not isinstance(message.pane, SourcePane | DisassemblyPane):
            self.follow(target)
        elif message.column is None:
            self._run_to(target)
        elif message.column < GUTTER:
            self._toggle(target)

    def follow(self, target: Target) -> None:
        """Go to what a row stands for."""
        value = target.value
        if target.kind == "event":
            self.move(Movement(f"to event {value}", lambda session: session.go_to_event(value)))
        elif target.kind == "address":
            self.move(Movement("looking", lambda session: session.line_at(value), self._show_place))
        elif target.kind == "line":
            self.show_line(*value)
        elif target.kind == "memory":
            self.wishes = self.wishes._replace(memory=value)
            self.show_view("memory")
            self.look()

    def show_line(self, file: str, line: int) -> None:
        """Put the source's cursor there."""
        self.show_view("source")
        self.query_one(SourcePane).show_file(self.camera.sources, file, line)

    def _show_place(self, line: ListingLine | None) -> None:
        if line is None:
            self.notify("no line of the source made the code there", severity="warning")
        else:
            self.show_line(line.location.file, line.location.line)

    def _run_to(self, target: Target) -> None:
        self.move(
            Movement(
                "to there",
                lambda session: session.run_to(f"{self._address(target):#x}"),
            )
        )

    def on_timeline_pane_travel(self, message: TimelinePane.Travel) -> None:
        """A click on the timeline."""
        cell = message.cell
        if cell is None:
            self.move(Movement("to the start", lambda session: session.go_to_start()))
        else:
            self.follow(Target("event", cell.event))

    def action_breakpoint(self) -> None:
        """At the cursor's line, of the source or of the disassembly."""
        pane = self.focused
        if not isinstance(pane, SourcePane | DisassemblyPane):
            pane = self.query_one(SourcePane)
        target = pane.target()
        if target is not None:
            self._toggle(target)

    def _toggle(self, target: Target) -> None:
        name = walking.line_name(*target.value) if target.kind == "line" else f"{target.value:#x}"
        self.move(
            Movement(
                "breakpoint",
                lambda session: walking.toggle_breakpoint(session, self._address(target), name),
                lambda text: self.notify(text, markup=False, timeout=3),
            )
        )

    def _address(self, target: Target) -> int:
        """On the session's thread: where the code of a row is. Raises InputError."""
        if target.kind == "address":
            return int(target.value)
        return self.camera.sources.code_at(*target.value)
