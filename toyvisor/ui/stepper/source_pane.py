"""The source, with the line that is about to be executed and what it will do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from toyvisor.ui.stepper.pane import Pane
from toyvisor.ui.stepper.picture import Picture
from toyvisor.ui.stepper.rows import Role, Row, Span, Target

if TYPE_CHECKING:
    from toyvisor.ui.stepper.source_files import SourceFiles

#: Columns at the left where a click sets a breakpoint.
GUTTER = 7
ENABLED, DISABLED, HERE = "●", "○", "▶"


class SourcePane(Pane):
    """Line numbers, breakpoints, the text."""

    DEFAULT_CSS = """
    SourcePane > .pane--current { color: $hue-kvm; text-style: bold; }
    """
    heading = "source"

    def title_for(self, picture: Picture) -> str:
        """The file's name."""
        return f"source: {Path(picture.source.file).name}"

    def show_file(self, sources: SourceFiles, file: str, line: int) -> None:
        """Show a line of any file, until the next picture."""
        if self.picture is None:
            return
        state = self.picture.source
        if file != state.file:
            state = sources.unvisited(file)
        self.picture = self.picture._replace(source=state)
        self.rebuild()
        self.go_to_row(line - 1)

    def build(self, picture: Picture, width: int) -> list[Row]:
        """All lines of the file."""
        source = picture.source
        rows = []
        for number, text in enumerate(source.lines, 1):
            here = number == source.current
            enabled = source.breakpoints.get(number)
            mark = " " if enabled is None else ENABLED if enabled else DISABLED
            code = number in source.code
            rows.append(
                Row(
                    (
                        Span(mark, Role.BREAKPOINT),
                        Span(f"{number:4}", Role.PLAIN if code else Role.DIM),
                        Span(HERE if here else " ", Role.CURRENT),
                        Span(" "),
                        *_coloured(text, here),
                    ),
                    Target("line", (source.file, number)),
                    current=here,
                )
            )
        return rows


def _coloured(text: str, here: bool) -> tuple[Span, ...]:
    """Code and, fainter, its comment."""
    start = _comment_start(text)
    role = Role.CURRENT if here else Role.PLAIN
    if start is None:
        return (Span(text, role),)
    return (Span(text[:start], role), Span(text[start:], Role.PLAIN if here else Role.DIM))


def _comment_start(text: str) -> int | None:
    """Where a comment begins: `;` or `#`, not inside of quotes."""
    quote = ""
    for column, character in enumerate(text):
        if quote:
            if character == quote:
                quote = ""
        elif character in "\"'":
            quote = character
        elif character in ";#":
            return column
    return None
