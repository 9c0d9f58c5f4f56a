"""A virtqueue in a few lines: its indices, the descriptors in use, the newest slot of each ring.

virtio-net transmitq, 8 entries, QEMU serves it
given 1* ▸ taken 0 ▸ back 0 ▸ seen 0
desc 0  1001c0 12 read→1 device
desc 1  1fec10 60 read device
avail idx 1: [0] head 0*  NO_INTERRUPT
used  idx 0: [7] -
"""

from __future__ import annotations

from rich.text import Text

from toyvisor.debug.views.virtqueue import DescriptorRow, Owner, VirtqueueView
from toyvisor.ui.demo import styles

_DESCRIPTORS = 4


def queue_lines(view: VirtqueueView, names: frozenset[str]) -> list[Text]:
    """The lines; `names` is what changed (changed_in_queue)."""
    served = f", {view.served_by} serves it" if view.served_by else ""
    heading = f"{view.device} {view.name}, {view.size} entries{served}"
    used = [one for one in view.descriptors if one.owner not in (Owner.FREE, Owner.NOBODY)]
    changed = [one for one in view.descriptors if f"desc[{one.index}]" in names]
    shown = sorted({one.index: one for one in [*changed, *used]}.values())[:_DESCRIPTORS]
    return [
        Text(heading, style=styles.FAINT),
        _progress(view, names),
        *(_descriptor(one, names) for one in shown),
        *_rings(view, names),
    ]


def _progress(view: VirtqueueView, names: frozenset[str]) -> Text:
    """The four indices in the order in which a buffer passes them."""
    steps = (
        ("given", view.avail.idx, "avail.idx"),
        ("taken", view.device_state.last_avail, "last_avail"),
        ("back", view.used.idx, "used.idx"),
        ("seen", view.driver_seen.position, ""),
    )
    line = Text()
    for word, value, name in steps:
        is_changed = name in names
        line.append(" ▸ " if line else "")
        text = f"{word} {'?' if value is None else value}{'*' if is_changed else ''}"
        line.append(text, styles.CHANGED if is_changed else styles.STRONG)
    return line


def _descriptor(one: DescriptorRow, names: frozenset[str]) -> Text:
    is_changed = f"desc[{one.index}]" in names
    follows = f"→{one.next}" if "NEXT" in one.flag_names else ""
    access = "write" if "WRITE" in one.flag_names else "read"
    line = Text(f"desc {one.index:<3}")
    text = f"{one.addr:x} {one.length} {access}{follows}{'*' if is_changed else ''} "
    line.append(text, styles.CHANGED if is_changed else "")
    line.append(one.owner.side, styles.STRONG)
    return line


def _rings(view: VirtqueueView, names: frozenset[str]) -> list[Text]:
    avail, used, size = view.avail, view.used, max(view.size, 1)
    newest = (avail.idx - 1) % size, (used.idx - 1) % size
    given = f"head {avail.entries[newest[0]].head}" if avail.idx and avail.entries else "-"
    back = "-"
    if used.idx and used.entries:
        entry = used.entries[newest[1]]
        back = f"head {entry.id} len {entry.length}"
    return [
        _ring("avail", avail.idx, newest[0], given, avail.flag_names, names),
        _ring("used", used.idx, newest[1], back, used.flag_names, names),
    ]


def _ring(ring: str, index: int, slot: int, what: str, flags: str, names: frozenset[str]) -> Text:
    is_changed = f"{ring}.ring[{slot}]" in names or f"{ring}.idx" in names
    line = Text(f"{ring:<5} idx {index}: ")
    text = f"[{slot}] {what}{'*' if is_changed else ''}  "
    line.append(text, styles.CHANGED if is_changed else "")
    line.append(flags, styles.FAINT)
    return line
