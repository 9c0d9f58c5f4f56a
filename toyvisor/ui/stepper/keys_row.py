"""The last line: the keys to begin with. A click does what the key does."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.events import Click
from textual.widget import Widget

from toyvisor.ui.stepper.keys import COMMANDS, Command, all_commands


class KeysRow(Widget):
    """As many as there is room for; ? is always there."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"keys--key"}
    DEFAULT_CSS = """
    KeysRow { height: 1; background: $background; color: $faint; }
    KeysRow > .keys--key { color: $hue-kvm; text-style: bold; }
    """

    def __init__(self) -> None:
        super().__init__(id="keys")

    def render(self) -> Text:
        """The row."""
        row = Text(no_wrap=True, overflow="crop")
        style = self.get_component_rich_style("keys--key", partial=True)
        for command in fitting(self.size.width):
            row.append(_key(command), style)
            row.append(f" {command.short}  ")
        row.append("SHIFT", style)
        row.append(" back")
        return row

    async def on_click(self, event: Click) -> None:
        """Which key lies under the mouse."""
        x = 0
        for command in fitting(self.size.width):
            x += _width(command)
            if event.x < x:
                await self.app.run_action(command.action)
                return


def fitting(width: int) -> list[Command]:
    """The commands that there is room for, in the table's order; the last group always."""
    named = [command for command in all_commands() if command.short]
    always = [command for command in COMMANDS["Help"] if command.short]
    room = width - len("SHIFT back") - sum(map(_width, always))
    shown = []
    for command in named:
        room -= 0 if command in always else _width(command)
        if room >= 0 and command not in always:
            shown.append(command)
    return [*shown, *always]


def _width(command: Command) -> int:
    return len(_key(command)) + len(command.short) + 3


def _key(command: Command) -> str:
    return command.key_names.split(" or ")[0]
