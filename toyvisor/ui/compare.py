"""The experiment on the terminal: table, charts, cost table, and what they do and don't say."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from toyvisor.learn.cost_model import ENTRIES
from toyvisor.learn.experiment import METHOD, Experiment, Progress
from toyvisor.ui.compare_plot import ASCII, BLOCKS, cycles_chart, exits_chart, shares_legend
from toyvisor.ui.compare_table import build_table, fitting, left_out
from toyvisor.ui.compare_words import Finding, what_it_does_not_show, what_it_shows
from toyvisor.ui.figures import counted, figure

_TEXT_WIDTH = 96
_COUNTED = "Counted, for one packet. Ring accesses are the device's; the guest's are instructions."


def render(experiment: Experiment, console: Console) -> None:
    """Print the experiment. Fits 80 columns, uses more; plain where colour is not wanted."""
    width = console.width
    glyphs = ASCII if console.options.ascii_only else BLOCKS
    console.print(Text(_title(experiment), "bold"))
    _table(experiment, console)
    _chart(console, "Exits per packet (bars to scale)", exits_chart(experiment, width, glyphs))
    _chart(
        console,
        "Estimated cycles per packet (logarithmic), and what they go into",
        cycles_chart(experiment, width, glyphs),
    )
    console.print(shares_legend(glyphs))
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
    kinds: dict[str, list[str]] = {}
    for row in experiment.rows:
        names = kinds.setdefault(row.setup.kind, [])
        if row.setup.name not in names:
            names.append(row.setup.name)
    ways = [f"{kind} ({', '.join(names)})" for kind, names in kinds.items()]
    return f"{counted(experiment.packets, 'packet')}: {', '.join(ways)}"


def _table(experiment: Experiment, console: Console) -> None:
    columns = fitting(experiment, console.width)
    console.print(build_table(experiment, columns))
    notes = [_COUNTED, METHOD, *left_out(experiment, columns)]
    _paragraph(console, Text(" ".join(notes), "dim"), indent=0)


def _chart(console: Console, title: str, lines: list[Text]) -> None:
    _heading(console, title)
    for line in lines:
        console.print(line, no_wrap=True, overflow="crop")


def _costs(experiment: Experiment, console: Console) -> None:
    _heading(console, "What one of each costs: an estimate, not a measurement")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("cost", no_wrap=True)
    table.add_column("cycles", justify="right", no_wrap=True)
    table.add_column("for, and how we know", max_width=_TEXT_WIDTH)
    for entry in ENTRIES:
        cost = experiment.costs[entry.key]
        about = Text(f"{entry.meaning}\n")
        about.append(f"{cost.basis}: {cost.source}", "dim")
        table.add_row(entry.key, figure(cost.cycles), about)
    console.print(table)


def _words(console: Console, title: str, findings: list[Finding]) -> None:
    if not findings:
        return
    _heading(console, title)
    for finding in findings:
        _paragraph(console, Text.assemble((finding.title, "bold"), ". ", finding.text), indent=2)


def _heading(console: Console, title: str) -> None:
    console.print()
    console.print(Text(title, "bold underline" if console.color_system else "bold"))


def _paragraph(console: Console, text: Text, indent: int) -> None:
    """Wrapped text, its lines after the first indented, without blanks at their ends."""
    width = max(20, min(console.width, _TEXT_WIDTH) - indent)
    for number, line in enumerate(text.wrap(console, width)):
        line.rstrip()
        console.print(Text(" " * (indent if number else 0)) + line, no_wrap=True)
