"""`toyvisor compare`: the experiment the whole project is about."""

from __future__ import annotations

import argparse
import json
import sys
from importlib.resources import files

from toyvisor.commands.output import check_writable, write_output
from toyvisor.errors import UsageError
from toyvisor.learn.cost_file import read_costs, shipped_costs
from toyvisor.learn.experiment import run_experiment
from toyvisor.learn.ladder import setups_of
from toyvisor.learn.setups import Pattern


def main(arguments: argparse.Namespace) -> int:
    """Pass the same packets in different ways and show what was counted."""
    if arguments.print_costs:
        sys.stdout.write(files("toyvisor.learn").joinpath("costs.toml").read_text("utf-8"))
        return 0
    if arguments.svg == "-" and (arguments.json or arguments.csv):
        raise UsageError("--svg - and --json or --csv both want standard output")
    check_writable(arguments.svg)
    costs = read_costs(arguments.costs) if arguments.costs else shipped_costs()

    from rich.console import Console

    from toyvisor.ui.compare import progress_bar, render
    from toyvisor.ui.compare_export import to_csv, to_json
    from toyvisor.ui.compare_svg import to_svg

    setups = setups_of(Pattern(name) for name in arguments.pattern)
    with progress_bar(Console(stderr=True)) as progress:
        experiment = run_experiment(
            arguments.packets, arguments.size, arguments.batch, costs, progress, setups=setups
        )
    if arguments.json:
        print(json.dumps(to_json(experiment), indent=2))
    elif arguments.csv:
        sys.stdout.write(to_csv(experiment))
    elif arguments.svg != "-":
        console = Console(highlight=False)
        with console.capture() as screen:
            render(experiment, console)
        sys.stdout.write(screen.get())  # Rich itself would exit with 1 if nobody reads on
    if arguments.svg:
        write_output(arguments.svg, to_svg(experiment))
    return 0
