"""The experiment on the terminal: table, charts, cost table, and what they do and don't say."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from toyvisor.learn.cost_model import ENTRIES
from toyvisor.learn.experiment import METHOD, Experiment, Progress
from toyvisor.ui.compare_plot import ASCII, BLOCKS, cycles_chart, exits_chart, shares_legend
from toyvisor.ui.compare_table import build_table, fitting, left_out
from toyvisor.ui.compare_words import what_it_does_not_show, what_it_shows
from toyvisor.ui.figures import counted, figure, listed

_TEXT_WIDTH = 96


def render(experiment: Experiment, console: Console) -> None:
    """Print the experiment. Fits 80 columns, uses more; plain where colour is not wanted."""
    width = console.width
    glyphs = ASCII if console.options.ascii_only else BLOCKS
    console.print(_title(experiment), style="bold")
    _table(experiment, console)
    _chart(console, "Exits per packet", exits_chart(experiment, width, glyphs))
    _chart(
        console,
        "Estimated cycles per packet (logarithmic), and what they go into",
        [*cycles_chart(experiment, width, glyphs), shares_legend(glyphs)],
    )
    _costs(experiment, console)
    _words(console, "What this shows", what_it_shows(experiment))
    _words(console, "What it does not show", what_it_does_not_show(experiment))


@contextmanager
def progress_bar(console: Console) -> Iterator[Progress | None]:
    """A progress callback that draws on `console` (standard error); None if no one watches."""
    if not console.is_terminal:
        yield None
        return
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn("comparing"), BarColumn(24), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None)

        def advance(done: int, total: int, what: str) -> None:
            bar.update(task, completed=done, total=total, description=what)

        yield advance


def _title(experiment: Experiment) -> str:
    names = dict.fromkeys(row.setup.name for row in experiment.rows)
    return f"Sending {counted(experiment.packets, 'packet')}: {listed(list(names))}"


def _table(experiment: Experiment, console: Console) -> None:
    columns = fitting(experiment, console.width)
    console.print(build_table(experiment, columns))
    notes = ["Per packet, counted.", METHOD, *left_out(experiment, columns)]
    _paragraph(console, " ".join(notes), indent=0, style="dim")


def _chart(console: Console, title: str, lines: list[Text]) -> None:
    console.print()
    console.print(title, style="bold")
    for line in lines:
        console.print(line, no_wrap=True, overflow="crop")


def _costs(experiment: Experiment, console: Console) -> None:
    console.print()
    console.print("What one of each costs: an estimate, not a measurement", style="bold")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("cost", no_wrap=True)
    table.add_column("cycles", justify="right", no_wrap=True)
    table.add_column("known", no_wrap=True)
    table.add_column("what it is, and who says so", overflow="fold")
    for entry in ENTRIES:
        cost = experiment.costs[entry.key]
        about = Text(f"{entry.meaning}. ")
        about.append(cost.source, "dim")
        table.add_row(entry.key, figure(cost.cycles), cost.basis, about)
    console.print(table)


def _words(console: Console, title: str, paragraphs: list[str]) -> None:
    if not paragraphs:
        return
    console.print()
    console.print(title, style="bold")
    for paragraph in paragraphs:
        _paragraph(console, paragraph, indent=2)


def _paragraph(console: Console, text: str, indent: int, style: str = "") -> None:
    width = min(console.width, _TEXT_WIDTH)
    console.print(Padding(Text(text, style), (0, 0, 0, indent)), width=width)
