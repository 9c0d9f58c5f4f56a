"""The event list: all that every layer did, in the words of ftrace and QEMU's log."""

from __future__ import annotations

from toyvisor.trace.events import Layer
from toyvisor.ui.stepper.pane import Pane
from toyvisor.ui.stepper.picture import EventLine, Picture
from toyvisor.ui.stepper.rows import Role, Row, Span, Target

LAYER_ROLES = {
    Layer.GUEST: Role.GUEST,
    Layer.KVM: Role.KVM,
    Layer.QEMU: Role.QEMU,
    Layer.HOST: Role.HOST,
}


class EventsPane(Pane):
    """One event a row; ▶ is what happened last, fainter what is still to come."""

    heading = "events"

    def title_for(self, picture: Picture) -> str:
        """How many there are."""
        return f"events: {picture.moment.events:,} of {picture.events_recorded:,} recorded"

    def build(self, picture: Picture, width: int) -> list[Row]:
        """The window that the picture has."""
        last = picture.moment.events - 1
        rows = [_row(event, last, width) for event in picture.events]
        if not rows:
            rows.append(Row((Span("nothing has happened yet: s, v or e begins", Role.DIM),)))
        return rows


def _row(event: EventLine, last: int, width: int) -> Row:
    here = event.number == last
    role = LAYER_ROLES[event.layer]
    clock = f"{event.clock:7} " if width >= 70 else ""
    return Row(
        (
            Span("▶" if here else " ", Role.CURRENT),
            Span(f"{event.number:5} {clock}", Role.DIM),
            Span(f"{event.layer.name:<5} ", role),
            Span(event.text, _text_role(event.number, last)),
        ),
        Target("event", event.number),
        current=here,
    )


def _text_role(number: int, last: int) -> Role:
    if number == last:
        return Role.STRONG
    return Role.DIM if number > last else Role.PLAIN
