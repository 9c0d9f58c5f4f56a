"""What all panes share: rows of text drawn by their roles, scrolled, clicked, walked through."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.events import Click, Resize
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from toyvisor.ui.stepper.rows import Role, Row, Target, widest

if TYPE_CHECKING:
    from toyvisor.ui.stepper.picture import Picture


class Pane(ScrollView, can_focus=True):
    """A pane shows a picture as rows. A subclass says which rows, in `build`.

    The row under the pane's cursor is marked while the pane has the focus; Enter and a click
    post `Chosen` with what the row stands for.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        *(f"pane--{role}" for role in Role),
        "pane--here",
        "pane--cursor",
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "walk(-1)", show=False),
        Binding("down", "walk(1)", show=False),
        Binding("pageup", "walk_page(-1)", show=False),
        Binding("pagedown", "walk_page(1)", show=False),
        Binding("home", "walk(-1000000)", show=False),
        Binding("end", "walk(1000000)", show=False),
        Binding("enter", "choose", show=False),
    ]
    DEFAULT_CSS = """
    Pane {
        border-top: solid $border;
        border-title-color: $foreground;
        border-title-style: bold;
        border-subtitle-color: $faint;
        background: $background;
        color: $foreground;
        padding: 0 1 0 0;
        scrollbar-size: 0 1;
        scrollbar-color: $border;
        scrollbar-background: $background;
        scrollbar-corner-color: $background;
        overflow-x: auto;
        overflow-y: auto;
    }
    Pane:focus { border-top: heavy $hue-kvm; border-title-color: $hue-kvm; }
    Pane.-right { border-left: solid $border; padding: 0 0 0 1; }
    Pane > .pane--dim { color: $faint; }
    Pane > .pane--strong { text-style: bold; }
    Pane > .pane--current { text-style: bold; }
    Pane > .pane--changed { color: $hue-changed; text-style: bold; }
    Pane > .pane--breakpoint { color: $hue-breakpoint; text-style: bold; }
    Pane > .pane--error { color: $hue-breakpoint; text-style: bold; }
    Pane > .pane--good { color: $hue-qemu; }
    Pane > .pane--guest { color: $hue-guest; }
    Pane > .pane--kvm { color: $hue-kvm; }
    Pane > .pane--qemu { color: $hue-qemu; }
    Pane > .pane--host { color: $hue-host; }
    Pane > .pane--here { background: $current-background; }
    Pane > .pane--cursor { text-style: underline; }
    """

    #: What stands in the pane's border.
    heading: ClassVar[str] = ""
    #: Rows of text may have room between them (never true for lanes and timeline).
    can_be_spaced: ClassVar[bool] = True

    class Chosen(Message):
        """A row was clicked on, or Enter pressed on it. `column` counts from 0."""

        def __init__(self, pane: Pane, target: Target, column: int | None) -> None:
            super().__init__()
            self.pane = pane
            self.target = target
            self.column = column

    def __init__(self, name: str) -> None:
        super().__init__(id=name)
        self.border_title = self.heading
        self.picture: Picture | None = None
        self.rows: list[Row] = []
        self.spacing = 1
        #: The row that the keys walk through.
        self.cursor = 0

    # What a subclass says -------------------------------------------------------------------

    def build(self, picture: Picture, width: int) -> list[Row]:
        """The rows for a picture."""
        raise NotImplementedError

    def title_for(self, picture: Picture) -> str:
        """What stands in the border."""
        return self.heading

    # Showing --------------------------------------------------------------------------------

    def show(self, picture: Picture) -> None:
        """Draw another picture; the cursor goes where the guest is."""
        self.picture = picture
        self.rebuild()
        here = self._current_row()
        if here is not None:
            self.cursor = here
            self._scroll_to_row(here)

    def space(self, spacing: int) -> None:
        """Rows of the screen for each row of text."""
        if self.can_be_spaced and spacing != self.spacing:
            self.spacing = spacing
            self.rebuild()

    def rebuild(self) -> None:
        """Write the rows again, for a new picture or a new width."""
        if self.picture is None or not self.size.width:
            return
        width = self.scrollable_content_region.width
        self.rows = self.build(self.picture, width)
        self.border_title = self.title_for(self.picture)
        self.cursor = min(self.cursor, max(len(self.rows) - 1, 0))
        self.virtual_size = Size(max(widest(self.rows), width), len(self.rows) * self.spacing)
        self.refresh()

    def on_resize(self, _event: Resize) -> None:
        """Another width, other rows."""
        self.rebuild()
        here = self._current_row()
        if here is not None:
            self._scroll_to_row(here)

    def _current_row(self) -> int | None:
        wanted = {n: row for n, row in enumerate(self.rows) if row.current or row.in_view}
        return next((n for n, row in wanted.items() if row.current), next(iter(wanted), None))

    def _scroll_to_row(self, number: int) -> None:
        """Have a row and what is around it in view; a row that was not goes to the upper third."""
        height = self.scrollable_content_region.height
        top, line = round(self.scroll_y), number * self.spacing
        around = min(2 * self.spacing, height // 3)
        if height > 0 and not top + around <= line < top + height - around:
            self.scroll_to(y=max(line - height // 3, 0), animate=False, force=True, immediate=True)

    # Drawing --------------------------------------------------------------------------------

    def render_line(self, y: int) -> Strip:
        """One line of the screen."""
        width = self.scrollable_content_region.width
        number, between = divmod(y + int(self.scroll_y), self.spacing)
        base = self.rich_style
        if between or number >= len(self.rows):
            return Strip.blank(width, base)
        row = self.rows[number]
        over = Style()
        if row.current:
            base += self.get_component_rich_style("pane--here", partial=True)
        is_elsewhere = row.target is not None and not row.current
        if number == self.cursor and self.has_focus and is_elsewhere:
            over = self.get_component_rich_style("pane--cursor", partial=True)
        strip = Strip(
            Segment(span.text, base + self._style(span.role) + over) for span in row.spans
        )
        left = int(self.scroll_x)
        return strip.crop_extend(left, left + width, base + over)

    def _style(self, role: Role) -> Style:
        return self.get_component_rich_style(f"pane--{role}", partial=True)

    # Keys and mouse -------------------------------------------------------------------------

    def action_walk(self, by: int) -> None:
        """Move the cursor."""
        if not self.rows:
            return
        self.go_to_row(self.cursor + by)

    def go_to_row(self, number: int) -> None:
        """Put the cursor on a row, or the nearest that there is."""
        self.cursor = max(min(number, len(self.rows) - 1), 0)
        self._scroll_to_row(self.cursor)
        self.refresh()

    def action_walk_page(self, by: int) -> None:
        """Move the cursor by a screenful."""
        self.action_walk(by * max(self.size.height // self.spacing - 1, 1))

    def action_choose(self) -> None:
        """Enter."""
        target = self.target()
        if target is not None:
            self.post_message(self.Chosen(self, target, None))

    def target(self) -> Target | None:
        """What the row under the cursor stands for."""
        return self.rows[self.cursor].target if self.cursor < len(self.rows) else None

    def on_click(self, event: Click) -> None:
        """A click on a row."""
        offset = event.get_content_offset(self)
        if offset is None:
            return
        number = (offset.y + int(self.scroll_y)) // self.spacing
        if number >= len(self.rows):
            return
        self.cursor = number
        self.refresh()
        target = self.rows[number].target
        if target is not None:
            column = offset.x + int(self.scroll_x)
            self.post_message(self.Chosen(self, target, column))
