"""Memory in hexadecimal, at an address or where a register points."""

from __future__ import annotations

from collections.abc import Iterable

from toyvisor.debug.views.memory import MemoryRow
from toyvisor.ui.stepper.pane import Pane
from toyvisor.ui.stepper.picture import MemoryState, Picture
from toyvisor.ui.stepper.rows import Role, Row, Span, changed, dim, row

#: Characters of a row of 16 bytes: address, three for each byte, one for each as a letter, label.
_WIDE = 9 + 1 + 16 * 3 + 1 + 16 + 21
_NO_POINTERS = frozenset(("rflags", "eflags", "flags"))


class MemoryPane(Pane):
    """8 or 16 bytes a row; a `*` behind a byte that changed, a `>` before the pointer's."""

    heading = "memory"

    def title_for(self, picture: Picture) -> str:
        """What is followed."""
        memory = picture.memory
        if memory.problem:
            return f"memory at {memory.followed}"
        return f"memory at {memory.followed} = {memory.address:#x} (m: elsewhere)"

    def build(self, picture: Picture, width: int) -> list[Row]:
        """The window that the picture has."""
        memory = picture.memory
        if memory.problem:
            return [row(Span(memory.problem, Role.ERROR))]
        shown = _doubled(memory.rows) if width >= _WIDE else memory.rows
        pointers = _pointers(picture)
        return [_row(memory, one, pointers) for one in shown]


def _row(memory: MemoryState, one: MemoryRow, pointers: dict[int, str]) -> Row:
    here = one.address <= memory.address < one.address + len(one.data)
    if all(byte is None for byte in one.data):
        return row(dim(f"{one.address:8x}  no RAM here"), current=here)
    spans = [dim(f"{one.address:8x} ")]
    for address, byte in enumerate(one.data, one.address):
        is_changed = address in memory.changed
        spans.append(Span(">" if address == memory.address else " ", Role.CURRENT))
        spans.append(changed("--" if byte is None else f"{byte:02x}", is_changed))
        if is_changed:
            spans.append(Span("*", Role.CHANGED))
    spans = _tightened(spans)
    spans.append(dim(f"  {one.ascii}"))
    names = [
        pointers[at] for at in range(one.address, one.address + len(one.data)) if at in pointers
    ]
    if names:
        spans.append(Span(f" <{' '.join(names)}", Role.GUEST))
    if one.label:
        spans.append(dim(f" {one.label}"))
    return row(*spans, current=here)


def _tightened(spans: list[Span]) -> list[Span]:
    """A mark behind a byte takes the space before the next one."""
    tight: list[Span] = []
    for span in spans:
        follows_mark = bool(tight) and tight[-1].text == "*"
        if not (follows_mark and span.text == " "):
            tight.append(span)
    return tight


def _doubled(rows: Iterable[MemoryRow]) -> list[MemoryRow]:
    """Two rows of 8 in one of 16, where they follow each other."""
    doubled: list[MemoryRow] = []
    for one in rows:
        last = doubled[-1] if doubled else None
        if last is not None and len(last.data) == 8 and last.address + 8 == one.address:
            doubled[-1] = last._replace(data=last.data + one.data, label=last.label or one.label)
        else:
            doubled.append(one)
    return doubled


def _pointers(picture: Picture) -> dict[int, str]:
    """Registers by the address they hold."""
    view = picture.machinery.registers
    found: dict[int, str] = {}
    for one in (*view.general, view.ip) if view is not None else ():
        if one.name not in _NO_POINTERS:
            found[one.value] = f"{found[one.value]} {one.name}" if one.value in found else one.name
    return found
