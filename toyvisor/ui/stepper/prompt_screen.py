"""`:`: the prompt below the panes. What is typed moves the same session that the panes show."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Label, RichLog

#: Takes a line; the callback gets the lines of the answer.
Execute = Callable[[str, Callable[[list[str]], None]], None]


class PromptScreen(ModalScreen[None]):
    """The lower half of the screen: answers, and a line with history and completion.

    `history` is added to, so that the next prompt has it.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Close"),
        Binding("up", "older(-1)", show=False, priority=True),
        Binding("down", "older(1)", show=False, priority=True),
        Binding("tab", "complete", show=False, priority=True),
        Binding("pageup", "scroll(-1)", show=False, priority=True),
        Binding("pagedown", "scroll(1)", show=False, priority=True),
    ]
    DEFAULT_CSS = """
    PromptScreen { align: center bottom; background: $background 0%; }
    PromptScreen > Vertical {
        height: 50%;
        background: $background;
        border-top: heavy $hue-kvm;
        border-title-style: bold;
        padding: 0 1;
    }
    PromptScreen RichLog { height: 1fr; background: $background; scrollbar-size: 0 1; }
    PromptScreen Label.-hint { color: $faint; }
    PromptScreen Input { background: $current-background; }
    """

    def __init__(self, execute: Execute, complete: Execute, history: list[str]) -> None:
        super().__init__()
        self._execute = execute
        self._complete = complete
        self._history = history
        self._at = len(history)

    def compose(self) -> ComposeResult:
        """Answers, and the line."""
        with Vertical() as half:
            half.border_title = "prompt"
            yield RichLog(wrap=True, min_width=0)
            yield Label("help: all commands   Tab completes   Up: again   Esc closes",
                        classes="-hint", markup=False)  # fmt: skip
            yield Input(compact=True, select_on_focus=False, id="line")

    def on_mount(self) -> None:
        """Ready to type."""
        self._line.focus()

    @property
    def _line(self) -> Input:
        return self.query_one("#line", Input)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter; an empty line repeats the last movement, as at the prompt."""
        text = event.value.strip()
        self._say([f"(toyvisor) {text}"], bold=True)
        if text and (not self._history or self._history[-1] != text):
            self._history.append(text)
        self._at = len(self._history)
        self._line.value = ""
        self._execute(text, self._say)

    def _say(self, lines: list[str], *, bold: bool = False) -> None:
        if not self.is_attached:
            return
        log = self.query_one(RichLog)
        for line in lines:
            log.write(Text(line, style="bold" if bold else ""))

    def action_older(self, by: int) -> None:
        """Through what was typed before."""
        self._at = max(min(self._at + by, len(self._history)), 0)
        older = self._history[self._at] if self._at < len(self._history) else ""
        self._line.value = older
        self._line.cursor_position = len(older)

    def action_scroll(self, by: int) -> None:
        """Through the answers."""
        log = self.query_one(RichLog)
        log.scroll_relative(y=by * max(log.size.height - 1, 1), animate=False)

    def action_complete(self) -> None:
        """As far as all that is possible agrees; then all of it."""
        text = self._line.value

        def completed(lines: list[str]) -> None:
            if not self.is_attached or self._line.value != text or not lines:
                return
            longest = _common_beginning(lines)
            if len(lines) == 1:
                self._line.value = f"{lines[0]} "
            elif len(longest) > len(text):
                self._line.value = longest
            else:
                self._say(["  ".join(line.rpartition(" ")[2] for line in lines[:60])])
            self._line.cursor_position = len(self._line.value)

        self._complete(text, completed)


def _common_beginning(texts: list[str]) -> str:
    """What all of them begin with."""
    first, last = min(texts), max(texts)
    length = next(
        (n for n, (one, other) in enumerate(zip(first, last, strict=False)) if one != other),
        min(len(first), len(last)),
    )
    return first[:length]
