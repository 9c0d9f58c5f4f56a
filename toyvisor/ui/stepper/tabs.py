"""The row of views and their number keys; those on the screen are marked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from rich.text import Text
from textual.events import Click
from textual.message import Message
from textual.widget import Widget

from toyvisor.ui.stepper.arrangement import VIEWS


class Tabs(Widget):
    """A click on a name shows the view."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"tabs--seen", "tabs--chosen"}
    DEFAULT_CSS = """
    Tabs { height: 1; background: $background; color: $faint; }
    Tabs > .tabs--seen { color: $foreground; }
    Tabs > .tabs--chosen { color: $background; background: $hue-kvm; text-style: bold; }
    Tabs:nocolor > .tabs--seen { text-style: underline; }
    Tabs:nocolor > .tabs--chosen { text-style: bold reverse; }
    """

    class Picked(Message):
        """A view's name was clicked on."""

        def __init__(self, view: str) -> None:
            super().__init__()
            self.view = view

    def __init__(self) -> None:
        super().__init__(id="tabs")
        self._seen: frozenset[str] = frozenset()
        self._chosen = ""

    def show(self, chosen: str, seen: Iterable[str]) -> None:
        """Mark the views that can be seen."""
        self._chosen, self._seen = chosen, frozenset(seen)
        self.refresh()

    def render(self) -> Text:
        """The row."""
        line = Text(no_wrap=True, overflow="crop")
        for view, (key, name) in VIEWS.items():
            style = "tabs--chosen" if view == self._chosen else "tabs--seen"
            shown = view in self._seen or view == self._chosen
            line.append(
                f"{key} {name}" if self._is_tight else f" {key} {name} ",
                self.get_component_rich_style(style, partial=True) if shown else "",
            )
            line.append(" ")
        return line

    @property
    def _is_tight(self) -> bool:
        return self.size.width < 100

    def on_click(self, event: Click) -> None:
        """Which name lies under the mouse."""
        x = 0
        for view, (key, name) in VIEWS.items():
            x += len(key) + len(name) + (2 if self._is_tight else 4)
            if event.x < x:
                self.post_message(self.Picked(view))
                return
