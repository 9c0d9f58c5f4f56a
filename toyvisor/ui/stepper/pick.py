"""A list to choose one entry of: what a search has found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Label, OptionList


class Pick(ModalScreen[int | None]):
    """Gives back the number of the entry that was chosen, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q", "dismiss(None)", "Cancel")]
    DEFAULT_CSS = """
    Pick { align: center bottom; background: $background 40%; }
    Pick > Vertical {
        height: 70%;
        background: $background;
        border-top: heavy $hue-kvm;
        padding: 0 1;
    }
    Pick Label { text-style: bold; }
    Pick OptionList { height: 1fr; background: $background; text-wrap: nowrap; }
    """

    def __init__(self, heading: str, entries: Sequence[str]) -> None:
        super().__init__()
        self._heading = heading
        self._entries = entries

    def compose(self) -> ComposeResult:
        """The heading and the list."""
        with Vertical():
            yield Label(self._heading, markup=False)
            entries = (Text(entry, no_wrap=True, overflow="ellipsis") for entry in self._entries)
            yield OptionList(*entries, compact=True)

    def on_mount(self) -> None:
        """Ready to choose."""
        self.query_one(OptionList).focus()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Enter or a click."""
        self.dismiss(event.option_index)
