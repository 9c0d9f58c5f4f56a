"""A virtqueue written down: its progress, the descriptor table, chains as arrows, owners.

    given 2 ▸ taken 1 ▸ given back 1 ▸ seen 1

    descriptors (driver writes)          avail.idx 2*       used.idx 1
      0┌ 001001f8    12 NEXT       →1  I   0: 0  F            0: 0 len 0 F
      1└ 001ffea0   342                I   1: 0* I            1: -  ◀dev drv
      2-7 never used                       2: -  ◀drv dev     2-7 not used yet

The rings are in ring_rows.py. A letter says whose an entry is: `Owner` in
toyvisor/debug/views/virtqueue.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from toyvisor.debug.views.virtqueue import (
    DescriptorRow,
    Owner,
    VirtqueueView,
)
from toyvisor.ui.stepper.rows import Role, Row, Span, changed, dim, strong

#: Descriptors that are shown at most.
_MOST = 24
#: Nothing happens to a descriptor of these.
_AT_REST = (Owner.FREE, Owner.AVAILABLE)
SIDE_ROLES = {"driver": Role.GUEST, "device": Role.QEMU, "": Role.DIM}


def pad(spans: Sequence[Span], width: int) -> list[Span]:
    """Spans cut or filled to a width."""
    left, cut = width, []
    for span in spans:
        cut.append(span._replace(text=span.text[:left]))
        left -= len(cut[-1].text)
    return [*cut, Span(" " * left)]


def beside(columns: Sequence[tuple[int, list[list[Span]]]]) -> list[Row]:
    """Blocks of lines side by side, each with its width."""
    rows = []
    for lines in zip_longest(*(lines for _, lines in columns), fillvalue=[]):
        spans: list[Span] = []
        for (width, _), line in zip(columns, lines, strict=True):
            spans += pad(line, width)
        rows.append(Row(tuple(spans)))
    return rows


def progress(view: VirtqueueView, names: frozenset[str]) -> Row:
    """The four indices in the order in which a buffer passes them."""
    state, seen = view.device_state, view.driver_seen
    steps = (
        ("given", view.avail.idx, "avail.idx" in names, Role.GUEST),
        ("taken", state.last_avail, "last_avail" in names, Role.QEMU),
        ("given back", view.used.idx, "used.idx" in names, Role.QEMU),
        ("seen", seen.position, False, Role.GUEST),
    )
    spans: list[Span] = []
    for word, value, is_changed, role in steps:
        if spans:
            spans.append(dim(" ▸ "))
        text = "?" if value is None else f"{value}"
        if word == "seen" and seen.is_inferred and value is not None:
            text = f"~{text}"  # the device can't see how far the driver is: it is worked out
        spans += [Span(f"{word} ", role), changed(f"{text}{'*' if is_changed else ''}", is_changed)]
    return Row(tuple(spans))


def descriptor_lines(view: VirtqueueView, names: frozenset[str]) -> list[list[Span]]:
    """The descriptor table; what does not matter now in one line."""
    lines = [[strong("descriptors "), dim("(driver writes)")]]
    brackets = _brackets(view)
    wanted = _wanted(view, names)
    left_out: list[DescriptorRow] = []
    for one in view.descriptors:
        if one.index not in wanted:
            if left_out and left_out[0].owner is not one.owner:
                lines += _summary(left_out)
                left_out = []
            left_out.append(one)
            continue
        lines += _summary(left_out)
        left_out = []
        lines.append(_descriptor(one, brackets.get(one.index, " "), names))
        lines += [_descriptor(inner, "┊", frozenset()) for inner in one.indirect[:_MOST]]
    return lines + _summary(left_out)


def _wanted(view: VirtqueueView, names: frozenset[str]) -> set[int]:
    """Descriptors in use; of a long table those that move, and what the device takes next."""
    is_long = view.size > _MOST // 2
    wanted = set()
    for one in view.descriptors:
        moves = f"desc[{one.index}]" in names or f"owner[{one.index}]" in names
        is_in_use = bool(one.addr or one.length) or one.owner is not Owner.FREE
        if moves or (is_in_use and not (is_long and one.owner in _AT_REST)):
            wanted.add(one.index)
    if is_long:
        following = {entry.head for entry in view.avail.entries if entry.is_next_for_device}
        for chain in view.chains:
            if chain.head in following:
                wanted |= set(chain.indices)
    return set(sorted(wanted)[:_MOST])


def _summary(left_out: list[DescriptorRow]) -> list[list[Span]]:
    if not left_out:
        return []
    first, last = left_out[0], left_out[-1]
    numbers = f"{first.index}-{last.index}" if last is not first else f"{first.index}"
    words = str(first.owner).partition(": ")[2]
    if not any(one.addr or one.length for one in left_out):
        words = "never used"
    return [[Span(f"  {numbers} {words}", SIDE_ROLES[first.owner.side])]]


def _descriptor(one: DescriptorRow, bracket: str, names: frozenset[str]) -> list[Span]:
    is_changed = f"desc[{one.index}]" in names
    moved = f"owner[{one.index}]" in names
    follows = f"→{one.next}" if "NEXT" in one.flag_names else ""
    flags = one.flag_names.replace("|", " ")
    role = Role.PLAIN if one.is_buffer_in_ram or not one.length else Role.ERROR
    return [
        dim(f"{one.index:3}"),
        Span(f"{bracket} ", Role.CURRENT),
        Span(f"{one.addr:08x}", Role.CHANGED if is_changed else role),
        Span("*" if is_changed else " ", Role.CHANGED),
        changed(f"{one.length:5} ", is_changed),
        Span(f"{flags:<10} "),
        Span(f"{follows:<4}", Role.CURRENT),
        Span(f"{one.owner.mark}{'*' if moved else ' '}", owner_role(one.owner, moved)),
    ]


def owner_role(owner: Owner, moved: bool = False) -> Role:
    """Whose colour: the driver's or the device's."""
    return Role.CHANGED if moved else SIDE_ROLES[owner.side]


def _brackets(view: VirtqueueView) -> dict[int, str]:
    """Chains that lie in the table in ascending order, as brackets at the left."""
    found: dict[int, str] = {}
    for chain in view.chains:
        if len(chain.indices) < 2 or chain.indirect_of is not None:
            continue
        inner = range(chain.indices[0] + 1, chain.indices[-1])
        if list(chain.indices) != sorted(chain.indices) or any(i in found for i in chain.indices):
            continue
        found |= dict.fromkeys(inner, "│")
        found |= dict.fromkeys(chain.indices, "├")
        found[chain.indices[0]], found[chain.indices[-1]] = "┌", "└"
    return found
