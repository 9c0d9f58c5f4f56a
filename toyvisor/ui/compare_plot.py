"""The experiment's two charts for a terminal. They read without colour, and in ASCII."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor, log10

from rich.text import Text

from toyvisor.learn.cost_model import SHARES
from toyvisor.learn.experiment import Experiment, Row
from toyvisor.learn.setups import FULL
from toyvisor.ui.compare_table import FULL_STYLE, PARA_STYLE
from toyvisor.ui.figures import figure, rough

_MOST_BAR = 80
_NUMBER = 7
_SHARE_STYLES = ("color(133)", "color(35)", "color(178)", "color(245)", "default")


@dataclass(frozen=True, slots=True)
class Glyphs:
    """What charts are drawn with. `eighths` end a bar, `shares` are in the order of SHARES."""

    full: str
    eighths: str
    track: str
    dot: str
    tick: str
    shares: str


BLOCKS = Glyphs("█", "▏▎▍▌▋▊▉", "─", "●", "│", "█▓▒░·")
ASCII = Glyphs("#", "|", "-", "o", "|", "#=+:.")


def exits_chart(experiment: Experiment, width: int, glyphs: Glyphs) -> list[Text]:
    """Exits per packet, by packet size: bars from 0, to scale."""
    label = _label_width(experiment)
    room = max(8, min(_MOST_BAR, width - label - _NUMBER - 2))
    most = max(row.per_packet("exits") for row in experiment.rows)
    lines = []
    for first, row in _labelled(experiment):
        value = row.per_packet("exits")
        line = Text(_label(row, first, label))
        line.append(bar(value / most if most else 0, room, glyphs), _style(row))
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


def cycles_chart(experiment: Experiment, width: int, glyphs: Glyphs) -> list[Text]:
    """Estimated cycles per packet on a logarithmic scale, and what they are made of."""
    totals = [row.cycles for row in experiment.rows if row.cycles > 0]
    if not totals:
        return [Text("By this cost table, a packet costs nothing.")]
    label = _label_width(experiment)
    room = width - label - _NUMBER - 3
    shares = max(10, min(40, room * 2 // 5))
    scale = Scale.over(totals, max(10, min(_MOST_BAR, room - shares)))
    lines = [Text(f"{'':{label}}{scale.axis()}", "dim"), _ticks(scale, label, glyphs)]
    for first, row in _labelled(experiment):
        line = Text(_label(row, first, label))
        at = scale.position(row.cycles) if row.cycles > 0 else None
        track = "" if at is None else glyphs.track * at + glyphs.dot
        line.append(f"{track:{scale.room}}", _style(row))
        line.append(f" {rough(row.cycles):>{_NUMBER}}  ")
        for cells, glyph, style in zip(share_cells(row, shares), glyphs.shares, _SHARE_STYLES,
                                       strict=True):  # fmt: skip
            line.append(glyph * cells, style)
        lines.append(line)
    return lines


def shares_legend(glyphs: Glyphs) -> Text:
    """What the marks of the shares mean."""
    legend = Text()
    for name, glyph, style in zip(SHARES, glyphs.shares, _SHARE_STYLES, strict=True):
        legend.append(glyph, style)
        legend.append(f" {name}  ")
    legend.rstrip()
    return legend


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


def _labelled(experiment: Experiment) -> list[tuple[bool, Row]]:
    """Each row, and whether it is the first of its size."""
    last = None
    found = []
    for row in experiment.rows:
        found.append((row.size != last, row))
        last = row.size
    return found


def _label(row: Row, first: bool, width: int) -> str:
    size = str(row.size) if first else ""
    return f"{f'{size:>5} {_short(row)}':{width}}"


def _label_width(experiment: Experiment) -> int:
    return max(len(_short(row)) for row in experiment.rows) + 7


def _short(row: Row) -> str:
    return row.setup.name if row.batch is None else f"{row.setup.name} {row.batch}"


def _style(row: Row) -> str:
    return FULL_STYLE if row.setup.kind == FULL else PARA_STYLE
