"""The screen of a demo as lines of text, for any size from 80x24 up.

one_store: the life of one store to a device                     3/12 ▶
guest ○╮             ╭●
KVM    ╰•─◆─•╮       │      copy 4 B guest->kvm          ▣ 4 bytes in kvm_run.mmio.data
QEMU         ╰◆─•─•──╯
host
source | registers, queue, console or the events of the exit
━━━ caption ━━━
MMMMMH        the timeline
counted so far
keys
"""

from __future__ import annotations

import textwrap
from typing import NamedTuple

from rich.text import Text

from toyvisor.ui.demo import styles
from toyvisor.ui.demo.captions import counted_words
from toyvisor.ui.demo.lanes import lane_lines
from toyvisor.ui.demo.panes import code_lines, right_pane
from toyvisor.ui.demo.scene import Scene
from toyvisor.ui.stepper.timeline_cells import Timeline

SMALLEST = (80, 24)
#: From this height on there is a row between two lanes.
_TALL = 32
_CAPTION, _CAPTION_TALL = 5, 7
KEYS = "space pause   → next   ← back   q quit"


class Frame(NamedTuple):
    """A scene with what is said about it, and how far the show is."""

    scene: Scene
    title: str
    caption: str
    number: int
    total: int
    state: str = "▶"  # or a word: paused, the end
    keys: str = KEYS


def draw(frame: Frame, width: int, height: int) -> list[Text]:
    """The screen: exactly `height` lines, none wider than `width`."""
    is_tall = height >= _TALL
    caption = _caption(frame.caption, width, _CAPTION_TALL if is_tall else _CAPTION)
    top = [_title(frame, width), *lane_lines(frame.scene, width, spaced=is_tall), Text("")]
    bottom = [
        *caption,
        _timeline(frame.scene.timeline, width),
        Text(counted_words(frame.scene.counters), style=styles.STRONG),
        Text(frame.keys, style=styles.FAINT),
    ]
    room = max(height - len(top) - len(bottom), 1)
    lines = [*top, *_beside(frame.scene, width, room), *bottom]
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return lines[:height]


def _title(frame: Frame, width: int) -> Text:
    right = f" {frame.number}/{frame.total} {frame.state} "
    room = width - len(right)
    title = frame.title if len(frame.title) < room else f"{frame.title[: room - 2]}…"
    return Text(f" {title}".ljust(room) + right, style=styles.HERE)


def _caption(caption: str, width: int, rows: int) -> list[Text]:
    """A rule, and the caption below it in so many rows."""
    lines = textwrap.wrap(caption, width - 4, max_lines=rows - 1, placeholder=" …")
    lines += [""] * (rows - 1 - len(lines))
    return [Text("━" * width, style=styles.FAINT), *(Text(f"  {one}", "bold") for one in lines)]


def _beside(scene: Scene, width: int, rows: int) -> list[Text]:
    """The source, and right of it what there is to look at."""
    right_width = min(max(width * 2 // 5, 38), 60)
    left_width = width - right_width - 3
    left = code_lines(scene, left_width, rows)
    right = right_pane(scene, right_width, rows)
    lines = []
    for number in range(rows):
        line = Text()  # of its own, so that the style of the left ends there
        if number < len(left):
            line.append_text(left[number])
        line.truncate(left_width, overflow="ellipsis", pad=True)
        line.append(" │ ", styles.FAINT)
        if number < len(right):
            line.append_text(right[number])
        lines.append(line)
    return lines


def _timeline(timeline: Timeline, width: int) -> Text:
    """The exits; the present one in brackets."""
    line = Text("exits ", style=styles.FAINT)
    for number, cell in enumerate(timeline.cells):
        is_here = number == timeline.position
        style = styles.LAYERS[cell.depth]
        if is_here:
            line.append(f"[{cell.letter}]", styles.HERE)
        else:
            line.append(cell.letter, style if number < timeline.position else styles.LATER)
    if timeline.goes_on:
        line.append("…")
    line.truncate(width, overflow="crop")
    return line
