"""The four layers as lanes: which way control came, where it is, and where the bytes are."""

from __future__ import annotations

from toyvisor.debug.views.lanes import Place
from toyvisor.trace.events import Layer
from toyvisor.ui.figures import counted
from toyvisor.ui.stepper.events_pane import LAYER_ROLES
from toyvisor.ui.stepper.lane_path import draw_gaps, draw_path
from toyvisor.ui.stepper.pane import Pane
from toyvisor.ui.stepper.picture import LaneState, Picture
from toyvisor.ui.stepper.rows import Role, Row, Span, Target

NAMES = {
    Layer.GUEST: "GUEST",
    Layer.KVM: "KVM",
    Layer.QEMU: "QEMU",
    Layer.HOST: "HOST",
}
_NAME_WIDTH = 6
#: From this height on there is a row between two lanes.
_TALL = 7


class LanesPane(Pane):
    """GUEST, KVM, QEMU and the host kernel, one above the other."""

    DEFAULT_CSS = """
    LanesPane > .pane--here { background: $background; }
    """
    heading = "the way through the layers"
    can_be_spaced = False

    def title_for(self, picture: Picture) -> str:
        """What the exit is about."""
        path = picture.lanes.exit
        if path is None or path.is_over:
            return self.heading
        where = f"; {path.bytes.words}" if path.bytes.words else ""
        return f"{path.title}{where}"

    def build(self, picture: Picture, width: int) -> list[Row]:
        """Four rows: name, path, what is happening there, the bytes, what it did so far."""
        lanes, done = picture.lanes, _done(picture)
        counts, packet = max(map(len, done.values())), max(len(_packet(lanes)), 9)
        path_width = max((width - _NAME_WIDTH - counts - packet) * 2 // 5, 11)
        steps = lanes.path[-((path_width + 1) // 2) :]
        drawn, gaps = draw_path(steps), draw_gaps(steps)
        label_width = width - _NAME_WIDTH - path_width - counts - packet - 4
        rows = []
        for layer in Layer:
            path = drawn[layer].rjust(path_width)
            rows.append(_lane(layer, lanes, path, label_width, packet, done[layer]))
            if layer in gaps and self.size.height >= _TALL:
                between = gaps[layer].rjust(path_width)
                rows.append(Row((Span(" " * _NAME_WIDTH), Span(between, Role.DIM))))
        return rows


def _done(picture: Picture) -> dict[Layer, str]:
    """What each layer has done so far."""
    counters = picture.counters
    return {
        Layer.GUEST: counted(counters.total_exits, "exit"),
        Layer.KVM: f"{ended_in_kvm(picture):,} ended here",
        Layer.QEMU: f"{counters.userspace:,} came here",
        Layer.HOST: counted(sum(counters.syscalls.values()), "syscall"),
    }


def ended_in_kvm(picture: Picture) -> int:
    """Exits that KVM finished by itself; not one of which that is still open."""
    path = picture.lanes.exit
    is_open = path is not None and not path.is_over
    passed_on = path is not None and any(
        hop.is_done and hop.kind == "kvm_userspace_exit" for hop in path.hops
    )
    return picture.counters.lightweight - (is_open and not passed_on)


def _lane(
    layer: Layer, lanes: LaneState, path: str, label_width: int, packet: int, done: str
) -> Row:
    role = LAYER_ROLES[layer]
    is_here = bool(lanes.path) and lanes.path[-1].layer is layer
    label = _label(layer, lanes, label_width)
    held = _packet(lanes) if lanes.exit is not None and lanes.exit.bytes.layer is layer else ""
    target = Target("event", lanes.last.number) if lanes.last is not None else None
    return Row(
        (
            Span(f"{NAMES[layer]:<{_NAME_WIDTH}}", role),
            Span(path, role),
            Span("◀ " if is_here else "  ", Role.CURRENT),
            Span(f"{label:<{max(label_width, 0)}} ", Role.STRONG if is_here else Role.PLAIN),
            Span(f"{held:<{packet}} ", Role.CHANGED),
            Span(done, Role.DIM),
        ),
        target,
    )


def _label(layer: Layer, lanes: LaneState, width: int) -> str:
    """What happened last, in its lane; and in the guest's what it will do."""
    last = lanes.last
    if layer is Layer.GUEST and lanes.instruction:
        text = f"next: {lanes.instruction}"
    elif last is not None and last.layer is layer:
        text = last.text
        if len(text) > width and lanes.exit is not None:
            text = next((h.label for h in lanes.exit.hops if h.event == last.number), text)
    else:
        text = ""
    return text if len(text) <= width else f"{text[: max(width - 1, 0)]}…"


def _packet(lanes: LaneState) -> str:
    """The bytes that are under way."""
    if lanes.exit is None or lanes.exit.bytes.place is Place.NONE:
        return ""
    return f"▣ {lanes.exit.bytes.count:,} B"
