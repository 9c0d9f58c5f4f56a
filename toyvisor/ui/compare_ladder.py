"""The ladder on the terminal: a short table for each pattern, and one chart for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from toyvisor.learn.experiment import Experiment, Row
from toyvisor.learn.setups import Pattern
from toyvisor.ui.compare_plot import Labelled, labelled
from toyvisor.ui.compare_table import (
    Column,
    empty_table,
    fitting,
    per_packet,
    row_style,
    same_in_all,
    share,
)
from toyvisor.ui.figures import rough

#: What the pattern is, and what a batch of it is.
ABOUT = {
    Pattern.TRANSMIT: (
        "Transmit",
        "The guest has packets to send. A batch: how many before it waits for the device.",
    ),
    Pattern.RECEIVE: (
        "Receive",
        "The guest sleeps until packets come. A batch: how many come at the same moment.",
    ),
    Pattern.REQUEST: (
        "Request and response",
        "A packet comes, the guest sends it back, and only then the next one comes.",
    ),
}

#: All columns, in their order; "to QEMU" is of the exits.
COLUMNS: tuple[Column, ...] = (
    Column("\nsetup", lambda row: row.setup.name, "setup", left=True),
    Column("\nexits", per_packet("exits"), "exits"),
    Column("to\nQEMU", per_packet("userspace_returns"), "returns to userspace"),
    Column("lightweight\nexits", per_packet("lightweight_exits"), "lightweight exits", 10),
    Column("timer\nexits", per_packet("timer_exits"), "timer exits", 12),
    Column("context\nswitches", per_packet("context_switches"), "context switches"),
    Column("inter-\nrupts", per_packet("interrupts"), "interrupts", 2),
    Column("suppressed\nnotif.", per_packet("suppressed"), "suppressed notifications", 5),
    Column("\ncopies", per_packet("copies"), "copies", 4),
    Column("bytes\ncopied", per_packet("bytes_copied"), "bytes copied", 11),
    Column("copied\nper byte", lambda row: f"{row.copied_per_byte:.2f}", "copied per byte", 1),
    Column("guest\ninstr.", per_packet("instructions"), "guest instructions", 7),
    Column("ring\naccesses", per_packet("ring_accesses"), "ring accesses", 6),
    Column("system\ncalls", per_packet("syscalls"), "system calls", 1),
    Column("est.\ncycles", lambda row: rough(row.cycles), "estimated cycles"),
    Column("of it\nexits", share("exits"), "share of the exits", 13),
    Column("of it\nswitches", share("context switches"), "share of the switches", 14),
)


@dataclass(frozen=True, slots=True)
class Section:
    """What is shown of one pattern: the largest packets, in the smallest and largest batch."""

    pattern: Pattern
    size: int
    climbs: Sequence[tuple[int | None, Experiment]]

    @property
    def heading(self) -> str:
        """ "Receive, 1500 bytes"."""
        return f"{ABOUT[self.pattern][0]}, {self.size} bytes"

    @property
    def about(self) -> str:
        """What the pattern is."""
        return ABOUT[self.pattern][1]

    @property
    def rows(self) -> list[Row]:
        """All rows of it."""
        return [row for _, climb in self.climbs for row in climb.rows]


def sections(experiment: Experiment) -> list[Section]:
    """One for each pattern that the ladder was climbed for."""
    ladder = experiment.ladder
    size = max(experiment.sizes)
    found = []
    for pattern in ladder.patterns:
        batches = ladder.batches_of(pattern)
        climbs = [
            (batch, ladder.only(ladder.climb(pattern, size, batch)))
            for batch in dict.fromkeys((batches[0], batches[-1]))
        ]
        found.append(Section(pattern, size, climbs))
    return found


def section_table(section: Section, columns: Sequence[Column]) -> Table:
    """The ladder from the bottom up, once for each batch."""
    table = empty_table(columns)
    for number, (batch, climb) in enumerate(section.climbs):
        if number:
            table.add_row()
        if batch is not None:
            table.add_row(f"batch {batch}", style="bold")
        for row in climb.rows:
            table.add_row(*(column.cell(row) for column in columns), style=row_style(row))
    return table


def fitting_columns(experiment: Experiment, width: int) -> list[Column]:
    """The columns that fit, the same for all patterns."""
    every = experiment.only([row for one in sections(experiment) for row in one.rows])
    return fitting(every, width, COLUMNS)


def unsaid_columns(
    experiment: Experiment, section: Section, columns: Sequence[Column]
) -> tuple[list[str], list[str]]:
    """Sentences for columns without room whose cells are all the same, and the other columns."""
    return same_in_all(experiment.only(section.rows), columns, COLUMNS)


def ladder_lines(experiment: Experiment) -> Labelled:
    """The rows of the chart: each pattern's ladder, in its smallest batch."""
    found = sections(experiment)
    names = {one.pattern: str(one.pattern) for one in found}
    width = max(map(len, names.values()), default=0)
    groups = [
        (names[one.pattern], [(row.setup.name, row) for row in one.climbs[0][1].rows])
        for one in found
    ]
    return labelled(groups, width)


def chart_title(experiment: Experiment) -> str:
    """What the chart shows."""
    smallest = [one.climbs[0][0] for one in sections(experiment)]
    batch = next((f", batch {batch}" for batch in smallest if batch is not None), "")
    size = max(experiment.sizes)
    return f"Estimated cycles per packet of {size} bytes{batch} (logarithmic)"


def note(text: str) -> Text:
    """Words of lesser weight."""
    return Text(text, "dim")
