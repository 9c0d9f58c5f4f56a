"""One line asked for at the bottom of the screen: go to, watch, what if, memory, search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.suggester import SuggestFromList
from textual.widgets import Input, Label


class Ask(ModalScreen[str | None]):
    """Gives back what was typed, or None. The right arrow takes the suggestion."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Cancel")]
    DEFAULT_CSS = """
    Ask { align: center bottom; background: $background 40%; }
    Ask > Vertical {
        height: auto;
        background: $background;
        border-top: heavy $hue-kvm;
        padding: 0 1;
    }
    Ask Label { color: $foreground; text-style: bold; width: 1fr; }
    Ask Label.-examples { color: $faint; text-style: none; }
    Ask Input { background: $current-background; }
    """

    def __init__(
        self, question: str, examples: str, *, words: Sequence[str] = (), value: str = ""
    ) -> None:
        super().__init__()
        self._question = question
        self._examples = examples
        self._words = words
        self._value = value

    def compose(self) -> ComposeResult:
        """The question, examples, and the line."""
        suggester = SuggestFromList(self._words, case_sensitive=False) if self._words else None
        with Vertical():
            yield Label(self._question, markup=False)
            yield Label(self._examples, classes="-examples", markup=False)
            yield Input(self._value, suggester=suggester, compact=True, select_on_focus=True)

    def on_mount(self) -> None:
        """Ready to type."""
        self.query_one(Input).focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter."""
        self.dismiss(event.value.strip() or None)
