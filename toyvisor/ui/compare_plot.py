"""The experiment's two charts for a terminal. They read without colour, and in ASCII."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

from rich.text import Text

from toyvisor.learn.cost_model import SHARES
from toyvisor.learn.experiment import Experiment, Row
from toyvisor.ui.compare_table import row_style
from toyvisor.ui.figures import figure, rough

_MOST_BAR = 80
_NUMBER = 7
_SHARE_STYLES = (
    "color(133)", "color(35)", "color(178)", "color(245)", "default", "color(37)", "color(167)",
)  # fmt: skip

#: Rows with what stands to the left of them, all of one width.
Labelled = Sequence[tuple[str, Row]]


@dataclass(frozen=True, slots=True)
class Glyphs:
    """What charts are drawn with. `eighths` end a bar, `shares` are in the order of SHARES."""

    full: str
    eighths: str
    track: str
    dot: str
    tick: str
    shares: str


BLOCKS = Glyphs("█", "▏▎▍▌▋▊▉", "─", "●", "│", "█▓▒░·x!")
ASCII = Glyphs("#", "|", "-", "o", "|", "#=+:.x!")


def labelled(groups: Iterable[tuple[str, Iterable[tuple[str, Row]]]], width: int) -> Labelled:
    """Rows in groups; a group's name, of `width` characters, stands at its first row only."""
    found = []
    for group, rows in groups:
        head = f"{group:{width}}"
        for name, row in rows:
            found.append((f"{head} {name} ", row))
            head = " " * width
    longest = max((len(label) for label, _ in found), default=0)
    return [(f"{label:{longest}}", row) for label, row in found]


def by_size(experiment: Experiment) -> Labelled:
    """The rows in groups of one packet size."""
    groups = [
        (f"{size:>5}", [(_short(row), row) for row in experiment.of_size(size)])
        for size in experiment.sizes
    ]
    return labelled(groups, 5)


def exits_chart(rows: Labelled, width: int, glyphs: Glyphs) -> list[Text]:
    """Exits per packet: bars from 0, to scale."""
    room = max(8, min(_MOST_BAR, width - len(rows[0][0]) - _NUMBER - 2))
    most = max(row.per_packet("exits") for _, row in rows)
    lines = []
    for label, row in rows:
        value = row.per_packet("exits")
        line = Text(label)
        line.append(bar(value / most if most else 0, room, glyphs), row_style(row))
        line.append(f" {figure(value)}")
        lines.append(line)
    return lines


def bar(fraction: float, room: int, glyphs: Glyphs) -> str:
    """A bar of `fraction` of `room` cells; what is not nothing shows a little."""
    steps = len(glyphs.eighths) + 1
    cells, rest = divmod(round(fraction * room * steps), steps)
    if rest == 0 and cells == 0 and fraction > 0:
        rest = 1
    return glyphs.full * cells + (glyphs.eighths[rest - 1] if rest else "")


def cycles_chart(rows: Labelled, width: int, glyphs: Glyphs) -> list[Text]:
    """Estimated cycles per packet on a logarithmic scale, and what they are made of."""
    totals = [row.cycles for _, row in rows if row.cycles > 0]
    if not totals:
        return [Text("By this cost table, a packet costs nothing.")]
    label_width = len(rows[0][0])
    room = width - label_width - _NUMBER - 3
    shares = max(10, min(40, room * 2 // 5))
    scale = Scale.over(totals, max(10, min(_MOST_BAR, room - shares)))
    lines = [Text(f"{'':{label_width}}{scale.axis()}", "dim"), _ticks(scale, label_width, glyphs)]
    for label, row in rows:
        line = Text(label)
        at = scale.position(row.cycles) if row.cycles > 0 else None
        track = "" if at is None else glyphs.track * at + glyphs.dot
        line.append(f"{track:{scale.room}}", row_style(row))
        line.append(f" {rough(row.cycles):>{_NUMBER}}  ")
        for cells, glyph, style in zip(share_cells(row, shares), glyphs.shares, _SHARE_STYLES,
                                       strict=True):  # fmt: skip
            line.append(glyph * cells, style)
        lines.append(line)
    return lines


def shares_legend(rows: Labelled, width: int, glyphs: Glyphs) -> list[Text]:
    """What the marks of the shares mean that these rows have, in lines of up to `width`."""
    there = {name for _, row in rows for name, value in row.estimate.by_share().items() if value}
    lines: list[Text] = []
    for name, glyph, style in zip(SHARES, glyphs.shares, _SHARE_STYLES, strict=True):
        if name not in there:
            continue
        entry = Text.assemble((glyph, style), f" {name}")
        if lines and len(lines[-1]) + 2 + len(entry) <= width:
            lines[-1].append("  ").append_text(entry)
        else:
            lines.append(entry)
    return lines


def share_cells(row: Row, room: int) -> list[int]:
    """`room` cells dealt out to the shares by largest remainder; none if all is free."""
    if not row.cycles:
        return [0] * len(SHARES)
    exact = [fraction * room for fraction in row.estimate.fractions().values()]
    cells = [floor(value) for value in exact]
    by_rest = sorted(range(len(exact)), key=lambda i: (cells[i] - exact[i], i))
    for index in by_rest[: room - sum(cells)]:
        cells[index] += 1
    return cells


@dataclass(frozen=True, slots=True)
class Scale:
    """A logarithmic scale of whole decades, 10**low to 10**high, over `room` cells."""

    low: int
    high: int
    room: int

    @classmethod
    def over(cls, values: list[float], room: int) -> Scale:
        """The decades that hold all values (which are above 0)."""
        low = floor(log10(min(values)))
        return cls(low, max(low + 1, ceil(log10(max(values)))), room)

    def position(self, value: float) -> int:
        """The cell of a value."""
        along = (log10(value) - self.low) / (self.high - self.low)
        return min(self.room - 1, max(0, round(along * (self.room - 1))))

    def ticks(self) -> list[int]:
        """The decades that are labelled: as many as leave room between labels."""
        step = 1
        while (self.high - self.low) // step * 5 > self.room:
            step += 1
        return list(range(self.low, self.high + 1, step))

    def axis(self) -> str:
        """The labels, each over its tick."""
        cells = [" "] * self.room
        for decade in self.ticks():
            text = rough(10.0**decade)
            at = min(self.position(10.0**decade), self.room - len(text))
            cells[at : at + len(text)] = text
        return "".join(cells)


def _ticks(scale: Scale, label: int, glyphs: Glyphs) -> Text:
    cells = [" "] * scale.room
    for decade in scale.ticks():
        cells[scale.position(10.0**decade)] = glyphs.tick
    return Text(" " * label + "".join(cells), "dim")


def _short(row: Row) -> str:
    return row.setup.name if row.batch is None else f"{row.setup.name} {row.batch}"
