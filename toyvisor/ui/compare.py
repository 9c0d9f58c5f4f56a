"""The experiment on the terminal: table, charts, cost table, and what they do and don't say."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from toyvisor.learn.cost_model import ENTRIES
from toyvisor.learn.experiment import LADDER_METHOD, METHOD, Experiment, Progress
from toyvisor.ui.compare_ladder import (
    chart_title,
    fitting_columns,
    ladder_lines,
    note,
    section_table,
    sections,
    unsaid_columns,
)
from toyvisor.ui.compare_plot import (
    ASCII,
    BLOCKS,
    Glyphs,
    by_size,
    cycles_chart,
    exits_chart,
    shares_legend,
)
from toyvisor.ui.compare_table import build_table, elsewhere, fitting, left_out
from toyvisor.ui.compare_words import Finding, what_it_does_not_show, what_it_shows
from toyvisor.ui.figures import counted, figure

_TEXT_WIDTH = 96
RUNGS = (
    "Each row is the one above it and one thing more (+), or less (-). Drivers that have to wait "
    "sleep until they are interrupted. So these are other drivers than above: they kick after "
    "every packet, unless the device says that it is awake, and not once for a batch."
)
_COUNTED = "Counted, for one packet. Ring accesses are the device's; the guest's are instructions."


def render(experiment: Experiment, console: Console) -> None:
    """Print the experiment. Fits 80 columns, uses more; plain where colour is not wanted."""
    glyphs = ASCII if console.options.ascii_only else BLOCKS
    console.print(Text(_title(experiment), "bold"))
    if experiment.looking.rows:
        _looking(experiment.looking, console, glyphs)
    if experiment.ladder.rows:
        _ladder(experiment.ladder, console, glyphs)
    if experiment.machine:
        _measured(experiment, console)
    _costs(experiment, console)
    _words(console, "What this shows", what_it_shows(experiment))
    _words(console, "What it does not show", what_it_does_not_show(experiment))


def _looking(experiment: Experiment, console: Console, glyphs: Glyphs) -> None:
    """Drivers that look themselves, by packet size."""
    _table(experiment, console)
    rows = by_size(experiment)
    _chart(console, "Exits per packet (bars to scale)", exits_chart(rows, console.width, glyphs))
    _chart(
        console,
        "Estimated cycles per packet (logarithmic), and what they go into",
        [
            *cycles_chart(rows, console.width, glyphs),
            *shares_legend(rows, console.width, glyphs),
        ],
    )


def _ladder(experiment: Experiment, console: Console, glyphs: Glyphs) -> None:
    """Drivers that sleep when they have to wait, pattern by pattern."""
    _heading(console, "Rung by rung: who hears of a packet, and how")
    _paragraph(console, Text(RUNGS), indent=0)
    columns = fitting_columns(experiment, console.width)
    unsaid: dict[str, None] = {}
    for section in sections(experiment):
        _heading(console, section.heading)
        same, others = unsaid_columns(experiment, section, columns)
        _paragraph(console, note(" ".join([section.about, *same])), indent=0)
        console.print(section_table(section, columns))
        unsaid |= dict.fromkeys(others)
    notes = [LADDER_METHOD, *elsewhere(list(unsaid))]
    _paragraph(console, note(" ".join(notes)), indent=0)
    rows = ladder_lines(experiment)
    _chart(
        console,
        chart_title(experiment),
        [
            *cycles_chart(rows, console.width, glyphs),
            *shares_legend(rows, console.width, glyphs),
        ],
    )


def _measured(experiment: Experiment, console: Console) -> None:
    """What it took on Linux's KVM."""
    from toyvisor.ui.compare_measured import about, measured_table

    _heading(console, f"Measured: {experiment.machine}")
    console.print(measured_table(experiment))
    _paragraph(console, note(about(experiment)), indent=0)


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
    """The kinds, and the setups that are no more than a step beyond another one."""
    kinds: dict[str, list[str]] = {}
    for row in experiment.rows:
        names = kinds.setdefault(row.setup.kind, [])
        if row.setup.name not in names and row.setup.name[0] not in "+-":
            names.append(row.setup.name)
    ways = [f"{kind} ({', '.join(names)})" for kind, names in kinds.items()]
    return f"{counted(experiment.packets, 'packet')}: {', '.join(ways)}"


def _table(experiment: Experiment, console: Console) -> None:
    columns = fitting(experiment, console.width)
    console.print(build_table(experiment, columns))
    notes = [_COUNTED, METHOD, *left_out(experiment, columns)]
    _paragraph(console, note(" ".join(notes)), indent=0)


def _chart(console: Console, title: str, lines: list[Text]) -> None:
    _heading(console, title)
    for line in lines:
        console.print(line, no_wrap=True, overflow="crop")


def _costs(experiment: Experiment, console: Console) -> None:
    how = "measured where it says here" if experiment.machine else "an estimate, not a measurement"
    _heading(console, f"What one of each costs: {how}")
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
        _paragraph(console, Text.assemble((finding.title, "bold"), ". ", finding.lead), indent=2)
        for item in finding.items:
            _paragraph(console, Text(item), indent=4, first=2)


def _heading(console: Console, title: str) -> None:
    console.print()
    console.print(Text(title, "bold underline" if console.color_system else "bold"))


def _paragraph(console: Console, text: Text, indent: int, first: int = 0) -> None:
    """Wrapped text, its first line and the others indented, without blanks at their ends."""
    width = max(20, min(console.width, _TEXT_WIDTH) - max(indent, first))
    for number, line in enumerate(text.wrap(console, width)):
        line.rstrip()
        console.print(Text(" " * (indent if number else first)) + line, no_wrap=True)
