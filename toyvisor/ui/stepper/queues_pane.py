"""A virtqueue: descriptor table, available and used ring, chains, owners, and what changed."""

from __future__ import annotations

from toyvisor.debug.views.virtqueue import Chain, Owner, VirtqueueView
from toyvisor.ui.stepper.pane import Pane
from toyvisor.ui.stepper.picture import Picture
from toyvisor.ui.stepper.queue_rows import (
    SIDE_ROLES,
    beside,
    descriptor_lines,
    owner_role,
    progress,
)
from toyvisor.ui.stepper.ring_rows import avail_lines, used_lines
from toyvisor.ui.stepper.rows import Role, Row, Span, dim, row, strong, wrapped

#: Columns of the descriptor table, the available ring, and the used ring.
_DESCRIPTORS, _AVAIL, _USED = 37, 19, 23
#: Buffers under way that are listed.
_MOST_CHAINS = 8


class QueuesPane(Pane):
    """One queue; `.` shows another. What is the driver's and what the device's is coloured."""

    heading = "virtqueues"

    def title_for(self, picture: Picture) -> str:
        """Which queue, and who serves it."""
        queues = picture.machinery.queues
        if not queues:
            return self.heading
        view = queues[picture.queue]
        number = f" ({picture.queue + 1} of {len(queues)}; .: another)" if len(queues) > 1 else ""
        return f"{view.name} of {view.device}{number}"

    def build(self, picture: Picture, width: int) -> list[Row]:
        """As much side by side as there is room for."""
        queues = picture.machinery.queues
        if not queues:
            return [row(dim("this machine has no virtio device"))]
        view, names = queues[picture.queue], picture.changes.queues[picture.queue]
        if not view.ready:
            return _not_ready(view, width)
        rows = [_facts(view), progress(view, names)]
        if view.problem:
            rows += wrapped(f"! {view.problem}", width, Role.ERROR)
        descriptors = descriptor_lines(view, names)
        avail, used = avail_lines(view, names), used_lines(view, names)
        if width >= _DESCRIPTORS + _AVAIL + _USED:
            rows += beside([(_DESCRIPTORS, descriptors), (_AVAIL, avail), (_USED, used)])
        else:
            rows += beside([(width // 2 - 2, avail), (width - width // 2 + 2, used)])
            rows += beside([(width, descriptors)])
        rows += _chains(view, width)
        return [*rows, *_legend(width)]


def _facts(view: VirtqueueView) -> Row:
    options = [
        word
        for word, is_on in (("EVENT_IDX", view.event_idx), ("INDIRECT", view.indirect))
        if is_on
    ]
    kick = view.device_state.wants_kick
    told = [f"size {view.size}", f"served by {view.served_by or 'nobody'}", *options]
    if kick is not None:
        told.append("wants a kick" if kick else "wants no kick")
    return row(dim(", ".join(told)))


def _not_ready(view: VirtqueueView, width: int) -> list[Row]:
    return [
        row(strong("QueueReady is 0")),
        *wrapped(
            "the device may not touch this queue: the driver has not said yet where its three "
            f"parts are (its size may be {view.max_size} at most)",
            width,
            Role.DIM,
        ),
    ]


def _chains(view: VirtqueueView, width: int) -> list[Row]:
    """Each buffer that is under way: its descriptors, whose it is, what is in it.

    Those that only wait for the device to take them come last, and not all of them.
    """
    under_way = [chain for chain in view.chains if chain.owner is not Owner.FREE]
    under_way.sort(key=lambda chain: chain.owner is Owner.AVAILABLE)
    rows: list[Row] = []
    for chain in under_way[:_MOST_CHAINS]:
        rows += _chain(chain, width)
    if len(under_way) > _MOST_CHAINS:
        rows.append(row(dim(f"  and {len(under_way) - _MOST_CHAINS} more")))
    return [row(strong("buffers under way")), *rows] if rows else []


def _chain(chain: Chain, width: int) -> list[Row]:
    arrows = " → ".join(map(str, chain.indices[:12]))
    more = " → …" if len(chain.indices) > 12 else ""
    indirect = f" → table of {chain.indirect_of}" if chain.indirect_of is not None else ""
    size = " + ".join(
        text
        for text, amount in (
            (f"{chain.readable:,} B to read", chain.readable),
            (f"{chain.writable:,} B to write", chain.writable),
        )
        if amount
    )
    head = Span(f"{arrows}{more}{indirect}", Role.CURRENT)
    words = str(chain.owner).partition(": ")[2]
    owner = Span(f"  {chain.owner.mark} {words}", owner_role(chain.owner))
    rows = [row("  ", head, owner, dim(f"  {size}"))]
    if len(rows[0].text) > width:
        rows = [row("  ", head), row("  ", owner, dim(f"  {size}"))]
    if chain.problem:
        rows += wrapped(f"    ! {chain.problem}", width, Role.ERROR)
    return rows


def _legend(width: int) -> list[Row]:
    """What the letters are."""
    spans: list[Span] = []
    rows: list[Row] = []
    for owner in Owner:
        if owner is Owner.NOBODY:
            continue
        text = f"{owner.mark} {str(owner).partition(': ')[2]}  "
        if sum(len(span.text) for span in spans) + len(text) > width:
            rows.append(Row(tuple(spans)))
            spans = []
        spans.append(Span(text, SIDE_ROLES[owner.side]))
    return [*rows, Row(tuple(spans))]
