"""The whole screen below a modal: every pane is a child, `arrangement` says where it lies."""

from __future__ import annotations

from collections.abc import Iterable

from textual.geometry import Offset, Region, Size, Spacing
from textual.layout import ArrangeResult, Layout, WidgetPlacement
from textual.widget import Widget

from toyvisor.ui.stepper.arrangement import Choice, Place, arrange


class _Arranged(Layout):
    name = "arranged"

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def arrange(
        self, parent: Widget, children: list[Widget], size: Size, greedy: bool = True
    ) -> ArrangeResult:
        parent.pre_layout(self)
        places = self._desk.places(size)
        placements = []
        for order, child in enumerate(children):
            place = places.get(child.id or "")
            if place is not None:
                region = Region(*place)
                placements.append(
                    WidgetPlacement(region, Offset(0, 0), Spacing(), child, order)
                )  # fmt: skip
        return placements


class Desk(Widget):
    """Holds the panes. A pane that has no place is not displayed."""

    DEFAULT_CSS = """
    Desk { width: 1fr; height: 1fr; background: $background; }
    """

    def __init__(self, panes: Iterable[Widget], choice: Choice) -> None:
        super().__init__(*panes)
        self._arranged = _Arranged(self)
        self.choice = choice

    @property
    def layout(self) -> Layout:
        """By the arrangement."""
        return self._arranged

    def places(self, size: Size) -> dict[str, Place]:
        """Where the panes are."""
        return arrange(size.width, size.height, self.choice)

    def choose(self, choice: Choice) -> None:
        """Show other panes."""
        self.choice = choice
        self.show_panes()
        self.refresh(layout=True)

    def on_resize(self) -> None:
        """The terminal has another size."""
        self.show_panes()

    def show_panes(self) -> None:
        """Display those that have a place now."""
        places = self.places(self.app.size)
        for child in self.children:
            child.display = (child.id or "") in places

    def visible_views(self) -> list[str]:
        """Names of the panes on the screen, from top to bottom and left to right."""
        places = self.places(self.app.size)
        return sorted(places, key=lambda name: (places[name].x, places[name].y))

    def is_at_right(self, name: str) -> bool:
        """Whether something lies to the left of a pane."""
        place = self.places(self.app.size).get(name)
        return place is not None and place.x > 0
