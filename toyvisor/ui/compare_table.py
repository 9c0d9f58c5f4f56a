"""The experiment's table: as many columns as the terminal has room for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich import box
from rich.table import Table

from toyvisor.learn.experiment import Experiment, Row
from toyvisor.learn.setups import FULL
from toyvisor.ui.figures import figure, listed, percent, rough

FULL_STYLE, PARA_STYLE = "color(166)", "color(32)"
_GAP = 2  # blanks between columns


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its two-line title, its cell, and its rank; the highest ranks go first.

    `about` names it in the sentence that says what was left out.
    """

    title: str
    cell: Callable[[Row], str]
    about: str
    rank: int = 0
    left: bool = False


def per_packet(quantity: str) -> Callable[[Row], str]:
    """The cell for a count."""
    return lambda row: figure(row.per_packet(quantity))


def share(name: str) -> Callable[[Row], str]:
    """The cell for a share of the estimate."""
    return lambda row: percent(row.estimate.fractions()[name])


#: All columns, in their order. A further one is a further entry.
COLUMNS: tuple[Column, ...] = (
    Column("frame\nbytes", lambda row: str(row.size), "size"),
    Column("\nsetup", lambda row: row.setup.name, "setup", left=True),
    Column("\nbatch", lambda row: "-" if row.batch is None else str(row.batch), "batch"),
    Column("\nexits", per_packet("exits"), "exits"),
    Column("to\nQEMU", per_packet("userspace_returns"), "returns to userspace", 6),
    Column("\ncopies", per_packet("copies"), "copies", 2),
    Column("bytes\ncopied", per_packet("bytes_copied"), "bytes copied", 7),
    Column("copied\nper byte", lambda row: f"{row.copied_per_byte:.2f}", "copied per byte", 1),
    Column("guest\ninstr.", per_packet("instructions"), "guest instructions", 3),
    Column("ring\naccesses", per_packet("ring_accesses"), "ring accesses", 4),
    Column("system\ncalls", per_packet("syscalls"), "system calls", 5),
    Column("est.\ncycles", lambda row: rough(row.cycles), "estimated cycles"),
    Column("of it\nexits", share("exits"), "share of the exits", 8),
    Column("of it\ncopies", share("copies"), "share of the copies", 9),
    Column("set-up\nexits", lambda row: figure(row.set_up.exits), "exits of the set-up", 10),
)


def fitting(
    experiment: Experiment, width: int, columns: Sequence[Column] = COLUMNS
) -> list[Column]:
    """The columns that fit: those of the highest rank are left out first."""
    kept = list(columns)
    while sum(_width(c, experiment) + _GAP for c in kept) > width:
        last = max(kept, key=lambda column: column.rank)
        if last.rank == 0:
            break
        kept.remove(last)
    return kept


def _width(column: Column, experiment: Experiment) -> int:
    cells = [column.cell(row) for row in experiment.rows]
    return max(len(text) for text in (*column.title.split("\n"), *cells))


def empty_table(columns: Sequence[Column]) -> Table:
    """A table with its head."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, _GAP - 1, 0, 0))
    for column in columns:
        table.add_column(
            column.title,
            justify="left" if column.left else "right",
            no_wrap=True,
            vertical="bottom",
        )
    return table


def row_style(row: Row) -> str:
    """The colour of its kind."""
    return FULL_STYLE if row.setup.kind == FULL else PARA_STYLE


def build_table(experiment: Experiment, columns: list[Column]) -> Table:
    """The table; a size stands in the first of its rows only."""
    table = empty_table(columns)
    last_size = None
    for row in experiment.rows:
        if last_size not in (None, row.size):
            table.add_row()
        cells = [column.cell(row) for column in columns]
        if row.size == last_size:
            cells[0] = ""
        table.add_row(*cells, style=row_style(row))
        last_size = row.size
    return table


def left_out(experiment: Experiment, columns: list[Column]) -> list[str]:
    """Sentences that stand for the columns there was no room for."""
    sentences, unsaid = same_in_all(experiment, columns, COLUMNS)
    return [*sentences, *elsewhere(unsaid)]


def same_in_all(
    experiment: Experiment, columns: Sequence[Column], every: Sequence[Column]
) -> tuple[list[str], list[str]]:
    """Sentences for those of `every` that are not in `columns`, and what could not be said."""
    sentences, unsaid = [], []
    for column in every:
        if column in columns:
            continue
        values = {column.cell(row) for row in experiment.rows}
        if column.about == "returns to userspace" and _all_to_qemu(experiment):
            sentences.append("All exits go to QEMU.")
        elif len(values) == 1 and len(experiment.rows) > 1:
            sentences.append(f"In every row, {column.about}: {values.pop()}.")
        else:
            unsaid.append(column.about)
    return sentences, unsaid


def elsewhere(unsaid: list[str]) -> list[str]:
    """Where to find the columns that were left out."""
    return [f"In a wider terminal and in --csv: {listed(unsaid)}."] if unsaid else []


def _all_to_qemu(experiment: Experiment) -> bool:
    return all(row.sending.exits == row.sending.userspace_returns for row in experiment.rows)
