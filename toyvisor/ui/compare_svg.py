"""The experiment as a figure for a slide: exits and estimated cycles, by packet size and pattern.

The colours are Okabe and Ito's, which people with any colour vision can tell apart; every
bar carries its number as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, floor, log10

from toyvisor.learn.experiment import Experiment, Row
from toyvisor.ui.compare_ladder import sections
from toyvisor.ui.figures import counted, figure, rough
from toyvisor.ui.svg import FAINT_INK, GRID, INK, Drawing

_COLORS = ("#D55E00", "#0072B2", "#56B4E9", "#009E73", "#CC79A7", "#E69F00", "#7f7f7f")
_LEAST_WIDTH = 1280.0
_LEFT, _RIGHT = 90.0, 30.0
_LEAST_SLOT = 52.0  # room for a label of 14 pixels' height
_HEAD, _FOOT = 85.0, 35.0  # above the first part, below the last one
_PART = 600.0  # a part's height: its legend and two plots
_PANELS = ((110.0, 285.0), (390.0, 565.0))  # top and bottom of the two plots in their part
_CHARACTER = 8.6  # pixels, about, at 15 pixels' height


@dataclass(frozen=True, slots=True)
class _Group:
    """Rows that stand together, and what is written below them; their names are the legend's."""

    name: str
    rows: tuple[tuple[str, Row], ...]


@dataclass(frozen=True, slots=True)
class _Part:
    """Two plots of the same rows: exits, and estimated cycles."""

    title: str
    groups: tuple[_Group, ...]
    is_linear: bool

    @property
    def rows(self) -> list[tuple[str, Row]]:
        """All of them, with their names."""
        return [row for group in self.groups for row in group.rows]

    @property
    def names(self) -> list[str]:
        """Each name once."""
        return list(dict.fromkeys(name for name, _ in self.rows))

    @property
    def slots(self) -> int:
        """One for each row, and one between groups."""
        return len(self.rows) + len(self.groups)

    @property
    def least_width(self) -> float:
        """What it takes for its labels and its legend."""
        legend = sum(_legend_width(name) for name in self.names)
        return _LEFT + _RIGHT + max(self.slots * _LEAST_SLOT, legend)


@dataclass(frozen=True, slots=True)
class _Places:
    """Where everything of a part is; `top` is the part's."""

    part: _Part
    top: float
    width: float

    @property
    def slot(self) -> float:
        """The width of a row's place."""
        return (self.width - _LEFT - _RIGHT) / self.part.slots

    def middles(self, group: _Group) -> list[float]:
        """The middles of a group's bars."""
        before = 0
        for one in self.part.groups:
            if one is group:
                break
            before += len(one.rows) + 1
        return [_LEFT + self.slot * (before + n + 1) for n in range(len(group.rows))]

    def plot(self, number: int) -> tuple[float, float]:
        """Top and bottom of a plot."""
        top, bottom = _PANELS[number]
        return self.top + top, self.top + bottom

    def color(self, name: str) -> str:
        """The colour of a name in this part."""
        return _COLORS[self.part.names.index(name) % len(_COLORS)]


def to_svg(experiment: Experiment) -> str:
    """A self-contained SVG document; the same for the same experiment, to the byte."""
    parts = _parts(experiment)
    width = max(_LEAST_WIDTH, *(part.least_width for part in parts))
    height = _HEAD + _PART * len(parts) + _FOOT
    title = "What one packet costs: full virtualization and virtio"
    drawing = Drawing(width, height, title, _description(parts))
    drawing.text(_LEFT, 48, title, 28, bold=True)
    drawing.text(
        _LEFT,
        76,
        f"{counted(experiment.packets, 'packet')} a run; counted per packet, set-up of the device "
        "left out. Cycles are an estimate, not a measurement.",
        16,
        color=FAINT_INK,
    )
    for number, part in enumerate(parts):
        places = _Places(part, _HEAD + _PART * number, width)
        _legend(drawing, places)
        _exits(drawing, places)
        _cycles(drawing, places)
    drawing.text(width - _RIGHT, height - 14, "toyvisor compare", 13, anchor="end",
                 color=FAINT_INK)  # fmt: skip
    return drawing.render()


def _parts(experiment: Experiment) -> list[_Part]:
    """Drivers that look themselves, by size; then the ladder, once for each batch shown."""
    looking = experiment.looking
    found = []
    if looking.rows:
        groups = [
            _Group(f"{size} bytes", tuple((row.label, row) for row in looking.of_size(size)))
            for size in experiment.sizes
        ]
        found.append(_Part("", tuple(groups), is_linear=True))
    climbs: dict[int | None, list[_Group]] = {}
    for section in sections(experiment):
        for batch, climb in section.climbs:
            name = f"{section.pattern}, {section.size} bytes"
            rows = tuple((row.setup.name, row) for row in climb.rows)
            climbs.setdefault(batch, []).append(_Group(name, rows))
    alone = climbs.pop(None, [])  # without batches: beside the smallest ones
    for number, batch in enumerate(climbs or [None]):
        with_batch = climbs.get(batch, [])
        title = "" if batch is None else f", batch {batch}"
        all_of_it = (*with_batch, *(alone if number == 0 else ()))
        if all_of_it:
            found.append(_Part(title, all_of_it, is_linear=False))
    return found


def _description(parts: list[_Part]) -> str:
    rows = "; ".join(
        f"{_about(part, group, name)}: {counted(row.per_packet('exits'), 'exit')}, "
        f"about {rough(row.cycles)} cycles"
        for part in parts
        for group in part.groups
        for name, row in group.rows
    )
    return f"For one packet of {rows}."


def _about(part: _Part, group: _Group, name: str) -> str:
    return f"{group.name}{part.title}, {name}"


def _legend_width(label: str) -> float:
    return 49 + len(label) * _CHARACTER


def _legend(drawing: Drawing, places: _Places) -> None:
    at = _LEFT
    for name in places.part.names:
        drawing.rectangle(at, places.top + 10, 16, 16, places.color(name))
        drawing.text(at + 23, places.top + 23, name, 15)
        at += _legend_width(name)


def _exits(drawing: Drawing, places: _Places) -> None:
    """Bars from 0, to scale; on the ladder, where some are too small for that, lollipops."""
    title = f"Exits per packet{places.part.title}"
    if not places.part.is_linear:
        _lollipops(drawing, places, 0, title, _per_packet, figure)
        return
    top, bottom = places.plot(0)
    most = max(row.per_packet("exits") for _, row in places.part.rows) or 1
    ticks = _round_ticks(most)

    def height(value: float) -> float:
        return bottom - (bottom - top) * value / max(most, ticks[-1])

    drawing.text(_LEFT, top - 38, title, 20, bold=True)
    _grid(drawing, places, ticks, height, figure)
    width = min(46.0, places.slot * 0.78)
    for group in places.part.groups:
        for x, (name, row) in zip(places.middles(group), group.rows, strict=True):
            value = row.per_packet("exits")
            y = height(value)
            about = f"{_about(places.part, group, name)}: {counted(value, 'exit')}"
            drawing.rectangle(
                x - width / 2, y, width, max(bottom - y, 1.0), places.color(name), about
            )
            drawing.text(x, y - 6, figure(value), 14, anchor="middle", halo=True)
    _group_names(drawing, places, bottom)


def _per_packet(row: Row) -> float:
    return row.per_packet("exits")


def _cycles(drawing: Drawing, places: _Places) -> None:
    title = f"Estimated cycles per packet{places.part.title}"
    if any(row.cycles > 0 for _, row in places.part.rows):
        _lollipops(drawing, places, 1, title, lambda row: row.cycles, rough)
        return
    top, _ = places.plot(1)
    drawing.text(_LEFT, top - 38, title, 20, bold=True)
    drawing.text(_LEFT, top, "By this cost table, a packet costs nothing.", 16)


def _lollipops(
    drawing: Drawing,
    places: _Places,
    number: int,
    title: str,
    value_of: Callable[[Row], float],
    label: Callable[[float], str],
) -> None:
    """Values on a logarithmic scale; a 0 lies at the bottom."""
    top, bottom = places.plot(number)
    drawing.text(_LEFT, top - 38, f"{title} (logarithmic)", 20, bold=True)
    values = [value for _, row in places.part.rows if (value := value_of(row)) > 0] or [1.0]
    low = floor(log10(min(values)))
    high = max(low + 1, ceil(log10(max(values))))
    step = max(1, ceil((high - low) / 6))
    ticks = [10.0**decade for decade in range(low, high + 1, step)]

    def height(value: float) -> float:
        return bottom - (bottom - top) * (log10(value) - low) / (high - low)

    _grid(drawing, places, ticks, height, label)
    for group in places.part.groups:
        for x, (name, row) in zip(places.middles(group), group.rows, strict=True):
            value, color = value_of(row), places.color(name)
            y = height(value) if value > 0 else bottom
            told = f"about {rough(value)} cycles" if number else counted(value, "exit")
            about = f"{_about(places.part, group, name)}: {told}"
            drawing.line((x, bottom), (x, y), color, 4)
            drawing.dot(x, y, 8, color, about)
            drawing.text(x, y - 14, label(value), 14, anchor="middle", halo=True)
    _group_names(drawing, places, bottom)


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


def _group_names(drawing: Drawing, places: _Places, bottom: float) -> None:
    drawing.line((_LEFT, bottom), (places.width - _RIGHT, bottom), INK, 1.5)
    for group in places.part.groups:
        middles = places.middles(group)
        middle = (middles[0] + middles[-1]) / 2
        drawing.text(middle, bottom + 24, group.name, 16, anchor="middle")


def _round_ticks(most: float) -> list[float]:
    """Ticks from 0 to the first at or above `most`, 1, 2 or 5 times a power of ten apart."""
    step = 10.0 ** floor(log10(most / 4))
    step *= next(factor for factor in (1, 2, 5, 10) if step * factor >= most / 4)
    return [step * number for number in range(ceil(most / step - 1e-9) + 1)]
