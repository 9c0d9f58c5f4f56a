"""Registers and flags; what has changed since the last stop in colour and with a `*`."""

from __future__ import annotations

from collections.abc import Sequence

from toyvisor.debug.views.registers import FlagValue, RegistersView, RegisterValue
from toyvisor.ui.stepper.pane import Pane
from toyvisor.ui.stepper.picture import Picture
from toyvisor.ui.stepper.rows import Role, Row, Span, Target, changed, dim, row

#: The fewest digits that a value is shown with.
_LEAST_DIGITS = 8
#: Flags that programs use; the others are shown when they are set.
_USUAL = frozenset(("CF", "PF", "AF", "ZF", "SF", "OF", "DF", "IF", "TF"))


class RegistersPane(Pane):
    """Two columns where they fit; a flag that is set in capitals; then the system's registers."""

    heading = "registers"

    def title_for(self, picture: Picture) -> str:
        """The flags that are set, or have just changed, for a pane without room for their row."""
        view, names = picture.machinery.registers, picture.changes.registers
        if view is None:
            return self.heading
        return f"{self.heading} " + " ".join(
            _flag_text(flag, names) for flag in view.flag_bits if flag.value or flag.name in names
        )

    def build(self, picture: Picture, width: int) -> list[Row]:
        """General registers, flags, segments, control registers."""
        view, names = picture.machinery.registers, picture.changes.registers
        if view is None:
            return []
        values = [*view.general, view.ip, view.flags]
        half = -(-len(values) // 2)
        columns = [values[:half], values[half:]]
        if sum(map(_column_width, columns)) - 1 > width:
            columns = [values]
        rows = _beside(columns, names)
        rows.append(_flags(view, names))
        if self.size.height > len(rows) + 2:
            rows += _system(view, names)
        return rows


def _digits(column: Sequence[RegisterValue]) -> int:
    """As many as the largest value of a column needs."""
    return max(_LEAST_DIGITS, *(len(f"{one.value:x}") for one in column))


def _column_width(column: Sequence[RegisterValue]) -> int:
    return 4 + _digits(column) + 2


def _beside(columns: Sequence[Sequence[RegisterValue]], names: frozenset[str]) -> list[Row]:
    """Columns, read downwards."""
    rows = []
    for line in range(len(columns[0])):
        spans: list[Span] = []
        for column in columns:
            if line < len(column):
                spans += _value(column[line], _digits(column), names)
        rows.append(Row(tuple(spans), Target("memory", columns[0][line].name)))
    return rows


def _value(one: RegisterValue, digits: int, names: frozenset[str]) -> list[Span]:
    is_changed = one.name in names
    name = "flg" if one.name.endswith("flags") else one.name
    mark = "*" if is_changed else " "
    text = f"{one.value:0{min(digits, max(one.bits // 4, 1))}x}{mark}"
    return [dim(f"{name:<4}"), changed(text, is_changed), Span(" ")]


def _flag_text(flag: FlagValue, names: frozenset[str]) -> str:
    name = flag.name.upper() if flag.value else flag.name.lower()
    number = str(flag.value) if flag.width > 1 and flag.value else ""
    return f"{name}{number}{'*' if flag.name in names else ''}"


def _flags(view: RegistersView, names: frozenset[str]) -> Row:
    spans: list[Span] = []
    for flag in view.flag_bits:
        if flag.name.upper() not in _USUAL and not flag.value and flag.name not in names:
            continue
        role = Role.STRONG if flag.value else Role.DIM
        if flag.name in names:
            role = Role.CHANGED
        spans += [Span(_flag_text(flag, names), role), Span(" ")]
    return Row(tuple(spans))


def _system(view: RegistersView, names: frozenset[str]) -> list[Row]:
    """Segments, control registers, tables."""
    rows = [row(dim(f"{view.mode} mode, {view.code_bits}-bit code, CPL {view.cpl}"))]
    for segment in view.segments:
        is_changed = segment.name in names
        mark = "*" if is_changed else " "
        text = f"{segment.selector:04x}{mark} base {segment.base:x} limit {segment.limit:x}"
        rows.append(row(dim(f"{segment.name:<4}"), changed(text, is_changed)))
    for one in view.control:
        is_changed = one.name in names
        rows.append(
            row(
                dim(f"{one.name:<4} "),
                changed(f"{one.value:08x}{'*' if is_changed else ''}", is_changed),
            )
        )
    for table in view.tables:
        rows.append(row(dim(f"{table.name:<4} "), f"base {table.base:x} limit {table.limit:x}"))
    return rows
