"""The registers of a device by name, with their bits in words."""

from __future__ import annotations

from toyvisor.debug.views.devices import DeviceView, RegisterRow
from toyvisor.ui.stepper.pane import Pane
from toyvisor.ui.stepper.picture import Picture
from toyvisor.ui.stepper.rows import Role, Row, Span, changed, dim, row, strong, wrapped

_NAME = 18


class DevicePane(Pane):
    """One device; `.` shows another."""

    heading = "device"

    def title_for(self, picture: Picture) -> str:
        """Which one, and where."""
        devices = picture.machinery.devices
        if not devices:
            return self.heading
        one = devices[picture.device]
        if len(devices) == 1:
            return one.name
        chosen = "d stops here only" if picture.device_is_chosen else "the last one used"
        return f"{one.name} ({chosen}; .: another)"

    def build(self, picture: Picture, width: int) -> list[Row]:
        """Where it is, its registers, what is behind them."""
        devices = picture.machinery.devices
        if not devices:
            return [row(dim("this machine has no devices"))]
        one, names = devices[picture.device], picture.changes.devices[picture.device]
        rows = [_place(one)]
        for register in one.registers:
            rows += _register(register, register.key in names, width)
        if one.facts:
            rows.append(row(strong("behind the registers")))
            for fact in one.facts:
                rows += wrapped(f"{fact.name}: {fact.text}", width, indent="  ")
        return _with_first_change_in_view(rows)


def _place(one: DeviceView) -> Row:
    line = "" if one.level is None else f", its line is {'up' if one.level else 'down'}"
    return row(dim(f"{one.where}{line}"))


def _register(register: RegisterRow, is_changed: bool, width: int) -> list[Row]:
    mark = "*" if is_changed else " "
    spans = [
        dim(f"{register.offset:03x} "),
        Span(f"{register.name:<{_NAME}}"),
        dim(f"{register.access:<2} "),
        Span(mark, Role.CHANGED),
    ]
    room = width - sum(len(span.text) for span in spans)
    text, *more = wrapped(register.text, room)
    spans.append(changed(text.text, is_changed))
    if not more and len(text.text) + 2 + len(register.meaning) <= room:
        spans.append(dim(f"  {register.meaning}"))
    indent = " " * (width - room)
    return [
        Row(tuple(spans)),
        *(row(indent, changed(line.text, is_changed)) for line in more),
    ]


def _with_first_change_in_view(rows: list[Row]) -> list[Row]:
    for number, one in enumerate(rows):
        if any(span.role is Role.CHANGED and span.text == "*" for span in one.spans):
            rows[number] = one._replace(in_view=True)
            break
    return rows
