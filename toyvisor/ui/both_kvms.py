"""The screen of `toyvisor run PROGRAM --accel both`."""

from __future__ import annotations

import sys
from itertools import islice

from rich.console import Console
from rich.table import Table
from rich.text import Text

from toyvisor.kvm.linux import is_software, module_name
from toyvisor.learn.both_kvms import Comparison
from toyvisor.learn.kvm_differences import EXITS
from toyvisor.ui.figures import duration

_CONTEXT = 2


def print_comparison(comparison: Comparison) -> None:
    """Print the verdict, the facts, and where the two part."""
    console = Console(highlight=False)
    with console.capture() as capture:
        console.print(_verdict(comparison))
        console.print(_table(comparison))
        if any(fact.name == EXITS for fact in comparison.differences):
            console.print(_where_they_part(comparison))
        differ = {fact.name for fact in comparison.differences}
        for entry in comparison.known:
            if entry.facts & differ:
                console.print(f"[bold]Known[/] ({entry.cause}): {entry.reason}")
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in capture.get().splitlines()))


def _verdict(comparison: Comparison) -> Text:
    kind = "a software KVM" if is_software() else "hardware"
    name = f"Linux's KVM ({module_name()}, {kind})"
    text = Text(f"{comparison.program}: ")
    if not comparison.differences:
        return text + Text("the same", style="bold green") + Text(f" on the toy and on {name}")
    if comparison.unexplained:
        return text + Text("not the same", style="bold red") + Text(f" on the toy and on {name}")
    words = Text("the same but for what is known to differ", style="bold yellow")
    return text + words + Text(f", on the toy and on {name}")


def _table(comparison: Comparison) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("")
    table.add_column("toy", justify="right")
    table.add_column("Linux", justify="right")
    table.add_column("")
    for fact in comparison.facts:
        if fact.toy == fact.linux == "0" and fact.name != EXITS:
            continue
        what = "exits to QEMU" if fact.name == EXITS else fact.name
        table.add_row(what, fact.toy, fact.linux, "the same" if fact.same else "different")
    toy, linux = comparison.toy.seconds, comparison.linux.seconds
    table.add_row("time", duration(toy), duration(linux), "")
    return table


def _where_they_part(comparison: Comparison) -> Text:
    """The first exit that differs, with the ones before it."""
    first = comparison.first_difference or 0
    text = Text(f"\nExit {first + 1} differs:\n")
    for name, exits in (("toy", comparison.toy.exits), ("Linux", comparison.linux.exits)):
        text += Text(f"  {name}\n", style="bold")
        begin = max(0, first - _CONTEXT)
        for number, entry in enumerate(islice(exits, begin, first + 1), begin):
            text += Text(f"    {number + 1:>6}  {entry}\n", style="" if number == first else "dim")
        if len(exits) <= first:
            text += Text("            no more\n")
    return text
