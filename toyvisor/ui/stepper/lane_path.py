"""The lanes as characters: which way control went through the four layers, up to now.

Each event is a mark in the lane of its layer, and a line goes from mark to mark:

    GUEST ●═○╮                         ╭●═○
    KVM      ╰•─◆─•╮                   │
    QEMU           ╰◆─•─•─•╮ ╭•─•─•─•─•╯
    HOST                   ╰◆╯
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from toyvisor.trace.events import Layer

#: Marks of events that are more than "something happened here".
MARKS = {
    "vm_exit": "○",
    "vm_entry": "●",
    "copy": "◆",
    "syscall": "$",
    "kvm_inj_virq": "!",
    "kvm_inj_nmi": "!",
    "guest_error": "✗",
}
PLAIN_MARK = "•"


class Step(NamedTuple):
    """An event of the path."""

    layer: Layer
    kind: str


def draw_path(steps: Sequence[Step]) -> dict[Layer, str]:
    """The four lanes, each 2 characters wide for each step but the last, which has 1."""
    lanes: dict[Layer, list[str]] = {layer: [] for layer in Layer}
    for number, step in enumerate(steps):
        mark = MARKS.get(step.kind, PLAIN_MARK)
        for layer in Layer:
            lanes[layer].append(mark if layer is step.layer else " ")
        if number + 1 < len(steps):
            ran = step.kind == "vm_entry"
            for layer, link in _links(step.layer, steps[number + 1].layer, ran=ran).items():
                lanes[layer].append(link)
    return {layer: "".join(characters) for layer, characters in lanes.items()}


def draw_gaps(steps: Sequence[Step]) -> dict[Layer, str]:
    """For lanes with a row between them: the row below each lane but the last."""
    gaps: dict[Layer, list[str]] = {layer: [] for layer in list(Layer)[:-1]}
    for number, step in enumerate(steps):
        following = steps[number + 1].layer if number + 1 < len(steps) else step.layer
        upper, lower = min(step.layer, following), max(step.layer, following)
        for layer, characters in gaps.items():
            characters.append(" ")
            if number + 1 < len(steps):
                characters.append("│" if upper <= layer < lower else " ")
    return {layer: "".join(characters) for layer, characters in gaps.items()}


def _links(start: Layer, end: Layer, *, ran: bool) -> dict[Layer, str]:
    """The line between two marks, one character in each lane; double where the guest ran."""
    links = dict.fromkeys(Layer, " ")
    if start == end:
        links[start] = "═" if ran else "─"
        return links
    down = end > start
    for between in range(min(start, end) + 1, max(start, end)):
        links[Layer(between)] = "│"
    links[start] = "╮" if down else "╯"
    links[end] = "╰" if down else "╭"
    return links
