"""The rings of a virtqueue written down: indices, slots, and who comes next where."""

from __future__ import annotations

from collections.abc import Sequence

from toyvisor.debug.views.virtqueue import AvailEntry, UsedEntry, VirtqueueView
from toyvisor.ui.stepper.queue_rows import owner_role
from toyvisor.ui.stepper.rows import Role, Span, changed, dim, strong

#: Slots of a long ring that are shown before and behind the ones that matter.
_ROUND = 1
#: A ring up to this size is not long.
_SHORT = 12


def avail_lines(view: VirtqueueView, names: frozenset[str]) -> list[list[Span]]:
    """The available ring."""
    ring = view.avail
    lines = [
        _index_line("avail.idx", ring.idx, names),
        *_flag_line(ring.flag_names, names, "avail"),
    ]
    if ring.used_event is not None:
        lines.append(_event_line("used_event", ring.used_event, names))
    for entry in _near(ring.entries, names, "avail.ring"):
        if isinstance(entry, AvailEntry):
            lines.append(_slot(entry, f"{entry.head}", f"avail.ring[{entry.slot}]" in names))
        else:
            lines.append([dim(str(entry))])
    return lines


def used_lines(view: VirtqueueView, names: frozenset[str]) -> list[list[Span]]:
    """The used ring."""
    ring = view.used
    lines = [_index_line("used.idx", ring.idx, names), *_flag_line(ring.flag_names, names, "used")]
    if ring.avail_event is not None:
        lines.append(_event_line("avail_event", ring.avail_event, names))
    for entry in _near(ring.entries, names, "used.ring"):
        if isinstance(entry, UsedEntry):
            text = f"{entry.id} len {entry.length}"
            lines.append(_slot(entry, text, f"used.ring[{entry.slot}]" in names))
        else:
            lines.append([dim(str(entry))])
    return lines


def _index_line(name: str, value: int, names: frozenset[str]) -> list[Span]:
    is_changed = name in names
    return [strong(f"{name} "), changed(f"{value}{'*' if is_changed else ''}", is_changed)]


def _flag_line(flag_names: str, names: frozenset[str], ring: str) -> list[list[Span]]:
    is_changed = f"{ring}.flags" in names
    if not flag_names and not is_changed:
        return []
    return [[changed(f"{flag_names or 'no flags'}{'*' if is_changed else ''}", is_changed)]]


def _event_line(name: str, value: int, names: frozenset[str]) -> list[Span]:
    is_changed = name in names
    return [dim(f"{name} "), changed(f"{value}{'*' if is_changed else ''}", is_changed)]


def _slot(entry: AvailEntry | UsedEntry, text: str, is_changed: bool) -> list[Span]:
    is_empty = entry.position is None
    pointers = [
        word
        for word, is_there in (
            ("drv", entry.is_next_for_driver),
            ("dev", entry.is_next_for_device),
        )
        if is_there
    ]
    return [
        dim(f"{entry.slot:3}: "),
        dim("-") if is_empty else changed(f"{text}{'*' if is_changed else ''}", is_changed),
        Span(" "),
        Span(entry.owner.mark.strip(), owner_role(entry.owner)),
        Span(f" ◀{' '.join(pointers)}" if pointers else "", Role.STRONG),
    ]


def _near(
    entries: Sequence[AvailEntry] | Sequence[UsedEntry], names: frozenset[str], ring: str
) -> list[AvailEntry | UsedEntry | str]:
    """The slots that matter; words for those between them.

    Those are the ones in use, and of a ring that is too long only those near the indices.
    """
    is_long = len(entries) > _SHORT
    wanted: set[int] = set()
    for entry in entries:
        is_next = entry.is_next_for_driver or entry.is_next_for_device
        if is_next or f"{ring}[{entry.slot}]" in names:
            near = range(-_ROUND, _ROUND + 1) if is_long else (0,)
            wanted |= {(entry.slot + n) % len(entries) for n in near}
        elif not is_long and entry.position is not None:
            wanted.add(entry.slot)
    shown: list[AvailEntry | UsedEntry | str] = []
    left_out: list[AvailEntry | UsedEntry] = []
    for entry in entries:
        if entry.slot in wanted:
            shown += [*_left_out(left_out), entry]
            left_out = []
        else:
            left_out.append(entry)
    return shown + _left_out(left_out)


def _left_out(entries: Sequence[AvailEntry | UsedEntry]) -> list[str]:
    if not entries:
        return []
    numbers = f"{entries[0].slot}-{entries[-1].slot}" if len(entries) > 1 else f"{entries[0].slot}"
    unused = all(entry.position is None for entry in entries)
    return [f"  {numbers} {'not used yet' if unused else '…'}"]
