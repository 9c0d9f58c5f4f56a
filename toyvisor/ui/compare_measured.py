"""The experiment measured on Linux's KVM: its table on the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.table import Table
from rich.text import Text

from toyvisor.learn.experiment import Experiment, Row
from toyvisor.ui.figures import figure, microseconds

ABOUT = (
    "Processor time for one packet, of all threads, guest and kernel included, without waiting: "
    "the median of several differences of two runs. In KVM_RUN is the part of the guest and of "
    "KVM. The rest is QEMU's and the host's, which are Python here, and many times slower than "
    "C. An exit is what it comes to for each return to QEMU. Estimated is what the counts of the "
    "toy and the table of costs below make of it, in C."
)
SOFTWARE = (
    "This machine's KVM has no hardware under it: it emulates the guest's kernel code, so "
    "instructions are dear, and exits that stay in KVM hardly dearer."
)


def measured_table(experiment: Experiment) -> Table:
    """A row for each that was measured."""
    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False,
        title_justify="left",
    )  # fmt: skip
    table.add_column("frame\nbytes", justify="right")
    table.add_column("\nsetup", no_wrap=True)
    table.add_column("\nbatch", justify="right")
    table.add_column("to QEMU:\ntoy", justify="right")
    table.add_column("\nLinux", justify="right")
    table.add_column("us a\npacket", justify="right")
    table.add_column("in\nKVM_RUN", justify="right")
    table.add_column("us an\nexit", justify="right")
    table.add_column("esti-\nmated", justify="right")
    before = None
    for row in sorted(experiment.rows, key=lambda row: _place(experiment, row)):
        if row.measured is None:
            continue
        heading = f"{row.setup.pattern}" + (" (ladder)" if row.setup.rung is not None else "")
        if heading != before:
            table.add_row("", Text(heading, "dim"))
            before = heading
        table.add_row(*_cells(row, experiment.gigahertz))
    return table


def _place(experiment: Experiment, row: Row) -> tuple[int, bool]:
    return experiment.patterns.index(row.setup.pattern), row.setup.rung is not None


def _cells(row: Row, gigahertz: float | None) -> Iterator[str]:
    measured = row.measured
    assert measured is not None
    yield str(row.size)
    yield row.setup.name
    yield "-" if row.batch is None else str(row.batch)
    yield figure(row.per_packet("userspace_returns"))
    yield figure(round(measured.userspace_returns, 4))
    yield microseconds(measured.cpu_ns)
    yield microseconds(measured.kvm_run_ns)
    returns = measured.userspace_returns
    yield microseconds(measured.cpu_ns / returns) if returns >= 0.5 else "-"
    yield microseconds(row.cycles / gigahertz) if gigahertz else "-"


def about(experiment: Experiment) -> str:
    """What has to be said of the figures."""
    return f"{ABOUT} {SOFTWARE}" if "software" in experiment.machine else ABOUT
