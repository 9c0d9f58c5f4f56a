"""The experiment as a figure for a slide: exits and estimated cycles, by packet size.

The colours are Okabe and Ito's, which people with any colour vision can tell apart; every
bar carries its number as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, floor, log10

from toyvisor.learn.experiment import Experiment, Row
from toyvisor.ui.figures import counted, figure, rough
from toyvisor.ui.svg import FAINT_INK, GRID, INK, Drawing

_COLORS = ("#D55E00", "#0072B2", "#56B4E9", "#009E73", "#CC79A7", "#E69F00", "#7f7f7f")
_LEAST_WIDTH, _HEIGHT = 1280.0, 720.0
_LEFT, _RIGHT = 90.0, 30.0
_LEAST_SLOT = 52.0  # room for a label of 14 pixels' height
_PANELS = ((195.0, 370.0), (475.0, 650.0))  # top and bottom of the two plots
_CHARACTER = 8.6  # pixels, about, at 15 pixels' height


@dataclass(frozen=True, slots=True)
class _Places:
    """Where everything is along the horizontal axis; a slot for each row and between sizes."""

    experiment: Experiment
    width: float
    slot: float

    @classmethod
    def of(cls, experiment: Experiment) -> _Places:
        slots = len(experiment.rows) + len(experiment.sizes)
        legend = sum(_legend_width(label) for label in _labels(experiment))
        width = max(_LEAST_WIDTH, _LEFT + _RIGHT + max(slots * _LEAST_SLOT, legend))
        return cls(experiment, width, (width - _LEFT - _RIGHT) / slots)

    def middle(self, row: int) -> float:
        """The middle of a row's bar."""
        gaps = self.experiment.sizes.index(self.experiment.rows[row].size)
        return _LEFT + self.slot * (row + gaps + 1)

    def group(self, size: int) -> float:
        """The middle of all bars of one size."""
        rows = [i for i, row in enumerate(self.experiment.rows) if row.size == size]
        return (self.middle(rows[0]) + self.middle(rows[-1])) / 2


def to_svg(experiment: Experiment) -> str:
    """A self-contained SVG document; the same for the same experiment, to the byte."""
    places = _Places.of(experiment)
    title = "What one packet costs: full virtualization and virtio"
    drawing = Drawing(places.width, _HEIGHT, title, _description(experiment))
    drawing.text(_LEFT, 48, title, 28, bold=True)
    drawing.text(
        _LEFT,
        76,
        f"{counted(experiment.packets, 'packet')} a run; counted per packet, set-up of the device "
        "left out. Cycles are an estimate, not a measurement.",
        16,
        color=FAINT_INK,
    )
    _legend(drawing, experiment)
    _exits(drawing, experiment, places)
    _cycles(drawing, experiment, places)
    drawing.text(places.width - _RIGHT, _HEIGHT - 14, "toyvisor compare", 13, anchor="end",
                 color=FAINT_INK)  # fmt: skip
    return drawing.render()


def _description(experiment: Experiment) -> str:
    rows = "; ".join(
        f"{row.size} bytes, {row.label}: {counted(row.per_packet('exits'), 'exit')}, "
        f"about {rough(row.cycles)} cycles"
        for row in experiment.rows
    )
    return f"For one packet of {rows}."


def _color(experiment: Experiment, row: Row) -> str:
    return _COLORS[_labels(experiment).index(row.label) % len(_COLORS)]


def _labels(experiment: Experiment) -> list[str]:
    return list(dict.fromkeys(row.label for row in experiment.rows))


def _legend_width(label: str) -> float:
    return 49 + len(label) * _CHARACTER


def _legend(drawing: Drawing, experiment: Experiment) -> None:
    at = _LEFT
    for index, label in enumerate(_labels(experiment)):
        drawing.rectangle(at, 95, 16, 16, _COLORS[index % len(_COLORS)])
        drawing.text(at + 23, 108, label, 15)
        at += _legend_width(label)


def _exits(drawing: Drawing, experiment: Experiment, places: _Places) -> None:
    top, bottom = _PANELS[0]
    most = max(row.per_packet("exits") for row in experiment.rows) or 1
    ticks = _round_ticks(most)

    def height(value: float) -> float:
        return bottom - (bottom - top) * value / max(most, ticks[-1])

    drawing.text(_LEFT, top - 38, "Exits per packet", 20, bold=True)
    _grid(drawing, places, ticks, height, figure)
    for index, row in enumerate(experiment.rows):
        value = row.per_packet("exits")
        x, y, color = places.middle(index), height(value), _color(experiment, row)
        width = min(46.0, places.slot * 0.78)
        about = f"{row.size} bytes, {row.label}: {counted(value, 'exit')}"
        drawing.rectangle(x - width / 2, y, width, max(bottom - y, 1.0), color, about)
        drawing.text(x, y - 6, figure(value), 14, anchor="middle", halo=True)
    _sizes(drawing, experiment, places, bottom)


def _cycles(drawing: Drawing, experiment: Experiment, places: _Places) -> None:
    top, bottom = _PANELS[1]
    drawing.text(_LEFT, top - 38, "Estimated cycles per packet (logarithmic)", 20, bold=True)
    totals = [row.cycles for row in experiment.rows if row.cycles > 0]
    if not totals:
        drawing.text(_LEFT, top, "By this cost table, a packet costs nothing.", 16)
        return
    low = floor(log10(min(totals)))
    high = max(low + 1, ceil(log10(max(totals))))
    step = max(1, ceil((high - low) / 6))
    ticks = [10.0**decade for decade in range(low, high + 1, step)]

    def height(value: float) -> float:
        return bottom - (bottom - top) * (log10(value) - low) / (high - low)

    _grid(drawing, places, ticks, height, rough)
    for index, row in enumerate(experiment.rows):
        x, color = places.middle(index), _color(experiment, row)
        y = height(row.cycles) if row.cycles > 0 else bottom
        about = f"{row.size} bytes, {row.label}: about {rough(row.cycles)} cycles"
        drawing.line((x, bottom), (x, y), color, 4)
        drawing.dot(x, y, 8, color, about)
        drawing.text(x, y - 14, rough(row.cycles), 14, anchor="middle", halo=True)
    _sizes(drawing, experiment, places, bottom)


def _grid(
    drawing: Drawing,
    places: _Places,
    ticks: list[float],
    height: Callable[[float], float],
    label: Callable[[float], str],
) -> None:
    for tick in ticks:
        y = height(tick)
        drawing.line((_LEFT, y), (places.width - _RIGHT, y), GRID)
        drawing.text(_LEFT - 10, y + 5, label(tick), 14, anchor="end", color=FAINT_INK)


def _sizes(drawing: Drawing, experiment: Experiment, places: _Places, bottom: float) -> None:
    drawing.line((_LEFT, bottom), (places.width - _RIGHT, bottom), INK, 1.5)
    for size in experiment.sizes:
        drawing.text(places.group(size), bottom + 24, f"{size} bytes", 16, anchor="middle")


def _round_ticks(most: float) -> list[float]:
    """Ticks from 0 to the first at or above `most`, 1, 2 or 5 times a power of ten apart."""
    step = 10.0 ** floor(log10(most / 4))
    step *= next(factor for factor in (1, 2, 5, 10) if step * factor >= most / 4)
    return [step * number for number in range(ceil(most / step - 1e-9) + 1)]
