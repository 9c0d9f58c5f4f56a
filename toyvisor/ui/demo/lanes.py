"""The four lanes of a demo's screen: the way of one exit, what happens now, where the bytes are."""

from __future__ import annotations

from rich.text import Text

from toyvisor.trace.events import Layer
from toyvisor.ui.demo import styles
from toyvisor.ui.demo.scene import Scene
from toyvisor.ui.stepper.lane_path import Step, draw_gaps, draw_path

_NAME = 6
#: Characters that a step of the way takes.
_STEP = 2
#: Words stand no further left than behind so many, so that they do not jump about.
_LEAST_STEPS = 12


def lane_lines(scene: Scene, width: int, *, spaced: bool) -> list[Text]:
    """Four lanes, with a row between two if `spaced`; and a line for the last event in full."""
    most = max((width - _NAME) * 3 // 5 // _STEP, 1)
    steps, done = _steps(scene)
    first = _first_shown(len(steps), done, most)
    shown = steps[first : first + most]
    drawn, gaps = draw_path(shown), draw_gaps(shown)
    done_width = max((done - first) * _STEP - 1, 0)
    column = _NAME + max(len(shown), _LEAST_STEPS) * _STEP + 1
    lines = []
    for layer in Layer:
        line = _lane(layer, drawn[layer], done_width)
        _add_words(line, scene, layer, column, width)
        lines.append(line)
        if spaced and layer in gaps:
            gap = Text(" " * _NAME)
            _append(gap, gaps[layer], done_width, styles.STRONG)
            lines.append(gap)
    return [*lines, _event(scene)]


def _steps(scene: Scene) -> tuple[list[Step], int]:
    """The way of the exit, and how many steps of it are done."""
    if scene.path is None:
        return [], 0
    steps = [Step(hop.layer, hop.kind) for hop in scene.path.hops]
    return steps, scene.path.current + 1


def _first_shown(steps: int, done: int, room: int) -> int:
    """So that the present one is on the screen, and some of what follows."""
    if steps <= room:
        return 0
    return min(max(done - room * 2 // 3, 0), steps - room)


def _lane(layer: Layer, path: str, done_width: int) -> Text:
    line = Text()
    line.append(f"{styles.NAMES[layer]:<{_NAME}}", styles.LAYERS[layer])
    _append(line, path, done_width, styles.LAYERS[layer])
    return line


def _append(line: Text, path: str, done_width: int, style: str) -> None:
    line.append(path[:done_width], style)
    line.append(path[done_width:], styles.LATER)


def _add_words(line: Text, scene: Scene, layer: Layer, column: int, width: int) -> None:
    """At the right: where control is, and where the bytes are."""
    path, here, packet = scene.path, "", ""
    if scene.between:
        here = f"◀ next: {scene.instruction}" if layer is Layer.GUEST else ""
    elif path is not None:
        hop = path.hops[path.current]
        here = f"◀ {hop.label}" if hop.layer is layer else ""
        if path.bytes.words and path.bytes.layer is layer:
            room = width - column - len(here) - 2
            words = path.bytes.words
            packet = f"▣ {words if len(words) + 2 <= room else path.bytes.place}"
    if here or packet:
        line.truncate(column, pad=True)
        line.append(f"{here}  " if here else "", styles.STRONG)
        line.append(packet, styles.CHANGED)


def _event(scene: Scene) -> Text:
    """The last event as the trace has it; in the guest, where it stands."""
    if scene.between:
        return Text(f"      the guest runs: {scene.instructions:,} instructions so far", "dim")
    title = scene.path.title if scene.path is not None else ""
    return Text(f"      {title}: {scene.event}", style=styles.FAINT)
