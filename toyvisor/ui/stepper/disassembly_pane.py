"""The instructions in memory around the instruction pointer, as bytes and as text."""

from __future__ import annotations

from toyvisor.debug.views.disassembly import InstructionLine
from toyvisor.ui.stepper.pane import Pane
from toyvisor.ui.stepper.picture import Picture
from toyvisor.ui.stepper.rows import Role, Row, Span, Target, dim, row, strong
from toyvisor.ui.stepper.source_pane import DISABLED, ENABLED, HERE

_BYTES_SHOWN = 8


class DisassemblyPane(Pane):
    """One instruction a row; a label on a row of its own."""

    DEFAULT_CSS = """
    DisassemblyPane > .pane--current { color: $hue-kvm; text-style: bold; }
    """
    heading = "disassembly"

    def build(self, picture: Picture, width: int) -> list[Row]:
        """The window that the picture has."""
        rows = []
        digits = max((len(f"{line.address:x}") for line in picture.assembly), default=1)
        for line in picture.assembly:
            rows += [row(strong(f"  {label}:")) for label in line.labels]
            enabled = picture.breakpoints.get(line.address)
            mark = " " if enabled is None else ENABLED if enabled else DISABLED
            here = line.address == picture.rip
            rows.append(_row(line, mark, digits, width, here=here))
        return rows


def _row(line: InstructionLine, mark: str, digits: int, width: int, *, here: bool) -> Row:
    data = line.data[:_BYTES_SHOWN].hex() + ("…" if len(line.data) > _BYTES_SHOWN else "")
    spans = [
        Span(mark, Role.BREAKPOINT),
        Span(HERE if here else " ", Role.CURRENT),
        Span(f"{line.address:{digits}x}  "),
    ]
    if width >= 60:
        spans.append(dim(f"{data:<{2 * _BYTES_SHOWN + 2}}"))
    spans.append(Span(line.text, Role.CURRENT if here else Role.PLAIN))
    if line.is_modified:
        spans.append(Span("  ! not what was assembled here", Role.ERROR))
    return Row(tuple(spans), Target("address", line.address), current=here)
