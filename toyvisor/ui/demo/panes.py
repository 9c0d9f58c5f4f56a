"""The lower half of a demo's screen: the source, and what there is to look at beside it."""

from __future__ import annotations

from rich.text import Text

from toyvisor.ui.demo import styles
from toyvisor.ui.demo.queue_pane import queue_lines
from toyvisor.ui.demo.scene import CodeLine, Scene
from toyvisor.ui.demo.script import Show
from toyvisor.ui.stepper.lane_path import MARKS, PLAIN_MARK

#: Blanks at the beginning of a line that are left out.
_TAB = 8


def code_lines(scene: Scene, width: int, rows: int) -> list[Text]:
    """The name of the file, and the lines around the present one."""
    at = next((n for n, line in enumerate(scene.code) if line.is_current), 0)
    room = rows - 1
    first = min(max(at - room // 2, 0), max(len(scene.code) - room, 0))
    heading = scene.file or "no source: instructions"
    lines = [Text(heading, style=styles.FAINT)]
    return lines + [_code_line(line, width) for line in scene.code[first : first + room]]


def _code_line(line: CodeLine, width: int) -> Text:
    mark = "▶" if line.is_current else " "
    number = f"{line.number:4} " if line.number else ""
    text = line.text.removeprefix(" " * _TAB) if line.number else line.text
    indent = "  " if text != line.text or not line.number else ""
    style = styles.HERE if line.is_current else ""
    found = Text(f"{mark}{number}{indent}{text.rstrip()}", style=style)
    found.truncate(width, overflow="ellipsis")
    return found


def right_pane(scene: Scene, width: int, rows: int) -> list[Text]:
    """What the card asks for; what is useful, if it does not."""
    match scene.show:
        case Show.QUEUE if scene.queue is not None:
            lines = queue_lines(scene.queue, scene.queue_changed)
        case Show.CONSOLE:
            lines = _console(scene.console, width, rows)
        case Show.WAY if scene.path is not None:
            lines = _way(scene, rows)
        case _:
            lines = _registers(scene, width)
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return lines[:rows]


def _registers(scene: Scene, width: int) -> list[Text]:
    """Those that changed first, then the others, as many as fit."""
    view = scene.registers
    values = [*view.general, view.ip]
    values.sort(key=lambda register: register.name not in scene.changed)
    columns = 2 if width >= 2 * 23 else 1
    lines = [Text("registers (* changed)", style=styles.FAINT)]
    flags = view.set_flags or "none set"
    lines.append(Text(f"{'flags':<6}{flags}", styles.CHANGED if _flags_changed(scene) else ""))
    for first in range(0, len(values), columns):
        line = Text()
        for register in values[first : first + columns]:
            is_changed = register.name in scene.changed
            text = f"{register.name:<6}{register.text}{'*' if is_changed else ' '} "
            line.append(text, styles.CHANGED if is_changed else "")
        lines.append(line)
    return lines


def _flags_changed(scene: Scene) -> bool:
    return scene.registers.flags.name in scene.changed


def _way(scene: Scene, rows: int) -> list[Text]:
    """The events of the exit, the present one in view."""
    path = scene.path
    assert path is not None
    heading = Text(f"this exit: {path.title}", style=styles.FAINT)
    room = rows - 1
    first = min(max(path.current - room * 2 // 3, 0), max(len(path.hops) - room, 0))
    lines = [heading]
    for number, hop in enumerate(path.hops[first : first + room], first):
        is_here = number == path.current and not scene.between
        line = Text("▶" if is_here else " ")
        line.append(f"{MARKS.get(hop.kind, PLAIN_MARK)} {styles.NAMES[hop.layer]:<6}",
                    styles.LAYERS[hop.layer] if hop.is_done else styles.LATER)  # fmt: skip
        style = styles.HERE if is_here else "" if hop.is_done else styles.LATER
        line.append(hop.label, style)
        lines.append(line)
    return lines


def _console(data: bytes, width: int, rows: int) -> list[Text]:
    """The end of what the guest has printed."""
    text = data.decode("utf-8", "backslashreplace")
    shown = "".join(c if c.isprintable() or c == "\n" else "." for c in text)
    lines = [
        line[n : n + width] for line in shown.splitlines() for n in range(0, len(line) + 1, width)
    ]
    return [Text("console", style=styles.FAINT), *map(Text, lines[-(rows - 1) :])]


def _cut(line: str, width: int) -> list[str]:
    return [line[n : n + width] for n in range(0, max(len(line), 1), width)]
