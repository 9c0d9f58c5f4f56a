"""The screen of `toyvisor calibrate`."""

from __future__ import annotations

import sys

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from toyvisor.learn.calibration import Calibration
from toyvisor.learn.cost_file import shipped_costs
from toyvisor.learn.cost_model import ENTRIES
from toyvisor.ui.figures import duration, figure

_SOFTWARE = (
    "This KVM has no hardware under it. It emulates the guest's kernel code: instructions are "
    "dear, and an exit that stays in KVM is hardly dearer, as nobody changes worlds for it."
)


def print_calibration(found: Calibration) -> None:
    """What was measured, beside the shipped figures."""
    console = Console(highlight=False)
    shipped = shipped_costs()
    costs = found.costs()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("cost", no_wrap=True)
    table.add_column("measured\nhere", justify="right", no_wrap=True)
    table.add_column("\ncycles", justify="right", no_wrap=True)
    table.add_column("shipped\ncycles", justify="right", no_wrap=True)
    table.add_column("\nhow")
    for entry in ENTRIES:
        timed = found.times.get(entry.key)
        before = figure(shipped[entry.key].cycles)
        if timed is None:
            table.add_row(entry.key, "-", "-", before, Text("not measured", "dim"))
        else:
            cycles = figure(costs[entry.key].cycles)
            table.add_row(
                entry.key, duration(timed.nanoseconds / 1e9), cycles, before, Text(timed.how, "dim")
            )
    with console.capture() as capture:
        console.print(Text(f"{found.machine}, {found.gigahertz:.2f} GHz", "bold"))
        console.print(table)
        if "software" in found.kvm:
            console.print(Text(_SOFTWARE))
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in capture.get().splitlines()))
