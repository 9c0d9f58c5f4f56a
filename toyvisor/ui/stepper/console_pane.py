"""What the guest has printed, and what it all has cost: exits and copies."""

from __future__ import annotations

from toyvisor.ui.stepper.lanes_pane import ended_in_kvm
from toyvisor.ui.stepper.pane import Pane
from toyvisor.ui.stepper.picture import Picture
from toyvisor.ui.stepper.queue_rows import beside
from toyvisor.ui.stepper.rows import Row, dim, printable, row, strong

#: From this height on there is room for the counters, from this width on beside the console.
_BOTH, _BESIDE = 10, 72
#: Columns of the counters.
_COUNTERS = 36


class ConsolePane(Pane):
    """The console, and, if there is room for both, the counters: beside it or above it."""

    heading = "console"

    def build(self, picture: Picture, width: int) -> list[Row]:
        """The end of the console is what can be seen."""
        text = picture.console.decode("latin-1").replace("\r", "")
        shown = [row(printable(line)) for line in text.split("\n")]
        if not picture.console:
            shown = [row(dim("the guest has printed nothing yet"))]
        height = self.size.height
        if height >= _BOTH and width >= _BESIDE and len(shown) < height:
            left = [[strong("console")], *([*line.spans] for line in shown)]
            right = [[*line.spans] for line in counter_rows(picture)]
            return beside([(width - _COUNTERS, left), (_COUNTERS, right)])
        rows = shown
        if height >= _BOTH:
            rows = [*counter_rows(picture), row(strong("console")), *shown]
        rows[-1] = rows[-1]._replace(in_view=True)
        return rows


def counter_rows(picture: Picture) -> list[Row]:
    """Exits by reason, copies by hop, and the rest."""
    counters = picture.counters
    rows = [
        row(
            strong(f"vmexits {counters.total_exits:,}"),
            f"  {counters.userspace:,} to QEMU, {ended_in_kvm(picture):,} not",
        ),
        *_listed(counters.exits),
        row(strong(f"copies {counters.copy_count:,}"), f"  {counters.bytes_copied:,} bytes"),
        *(
            row(f"  {hop:<12}{count:>7,}{size:>9,} B")
            for hop, (count, size) in counters.copies.items()
        ),
        row(strong(f"interrupts {counters.injected:,}"), "  injected"),
    ]
    if counters.suppressed:
        rows.append(row(f"  not wanted  {counters.suppressed:>7,}"))
    if counters.syscalls:
        rows += [row(strong("system calls")), *_listed(counters.syscalls)]
    if counters.context_switches:
        rows.append(row(strong(f"context switches {counters.context_switches:,}")))
    return rows


def _listed(counts: dict[str, int]) -> list[Row]:
    """The most frequent first."""
    return [row(f"  {name:<12}{count:>7,}") for name, count in sorted(
        counts.items(), key=lambda item: (-item[1], item[0]))]  # fmt: skip
