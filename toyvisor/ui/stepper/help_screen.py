"""Help: every key, what the marks and colours mean, and how to begin."""

from __future__ import annotations

from typing import ClassVar

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from toyvisor.ui.stepper.keys import COMMANDS

_BEGIN = (
    "You walk through one run of a guest program: forwards, backwards, and down through the "
    "layers. The guest's stores to a device leave it (a vmexit) to KVM; what KVM can't finish "
    "returns to QEMU; what leaves the machine goes to the host kernel. Begin with s (one "
    "instruction); at an instruction that exits press v instead, and see each thing that happens "
    'inside. A shifted letter goes the same way back. The pane "why" says in words what just '
    "happened.\n\nA step changes nothing: the run is always the same, however you look at it."
)
_MARKS = (
    ("▶", "the line or instruction that comes next; the event that came last"),
    ("*", "changed since the last stop"),
    ("●  ○", "a breakpoint; one that is switched off"),
    ("!", "worth a second look: an interrupt, a mistake of the guest's"),
    ("▣ 4 B", "where the bytes are that were copied last"),
    ("○ ● ◆ $", "in the lanes: vmexit, entry into the guest, copy, system call"),
    ("M m P p H", "on the timeline: why the guest left; a small letter: KVM ended it by itself"),
    ("▲", "on the timeline: you are here. … more to record, ■ the run's end"),
)


class HelpScreen(ModalScreen[None]):
    """Any of its keys closes it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,f1", "dismiss(None)", "Close")
    ]
    DEFAULT_CSS = """
    HelpScreen { align: center middle; background: $background 40%; }
    HelpScreen > VerticalScroll {
        width: 90%;
        max-width: 100;
        height: 90%;
        background: $background;
        border: round $hue-kvm;
        border-title-style: bold;
        padding: 0 1;
        scrollbar-size: 0 1;
    }
    """

    def compose(self) -> ComposeResult:
        """The text, to be scrolled."""
        scroll = VerticalScroll(Static(Group(*help_parts())))
        scroll.border_title = "help: arrows scroll, Esc closes"
        yield scroll


def help_parts() -> list[RenderableType]:
    """The whole text, from the table of commands."""
    parts: list[RenderableType] = [Text(_BEGIN)]
    for heading, commands in COMMANDS.items():
        parts.append(Text(f"\n{heading}", style="bold"))
        table = _table()
        for command in commands:
            table.add_row(Text(command.key_names, style="bold"), Text(command.title), "")
            table.add_row("", Text(command.meaning, style="italic"), "")
        parts.append(table)
    parts.append(Text("\nMarks", style="bold"))
    table = _table()
    for mark, meaning in _MARKS:
        table.add_row(Text(mark, style="bold"), Text(meaning), "")
    return [*parts, table]


def _table() -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(width=12)
    table.add_column()
    return table
