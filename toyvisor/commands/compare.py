"""`toyvisor compare`: the experiment the whole project is about."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from importlib.resources import files
from typing import TYPE_CHECKING

from toyvisor.commands.output import check_writable, write_output
from toyvisor.errors import UsageError
from toyvisor.learn.cost_file import read_costs, shipped_costs
from toyvisor.learn.experiment import DEFAULT_BATCHES, DEFAULT_SIZES, run_experiment
from toyvisor.learn.ladder import setups_of
from toyvisor.learn.setups import Pattern

if TYPE_CHECKING:
    from toyvisor.learn.calibration import Calibration

#: Measuring takes longer than counting.
MEASURED_SIZES, MEASURED_BATCHES = (64, 1500), (1, 64)


def main(arguments: argparse.Namespace) -> int:
    """Pass the same packets in different ways and show what was counted."""
    if arguments.print_costs:
        sys.stdout.write(files("toyvisor.learn").joinpath("costs.toml").read_text("utf-8"))
        return 0
    if arguments.svg == "-" and (arguments.json or arguments.csv):
        raise UsageError("--svg - and --json or --csv both want standard output")
    check_writable(arguments.svg)
    costs = read_costs(arguments.costs) if arguments.costs else shipped_costs()
    on_linux = arguments.accel == "both"
    calibration = _calibrate() if on_linux else None
    if calibration is not None and not arguments.costs:
        costs = costs.changed(calibration.costs())

    from rich.console import Console

    from toyvisor.ui.compare import progress_bar, render
    from toyvisor.ui.compare_export import to_csv, to_json
    from toyvisor.ui.compare_svg import to_svg

    setups = setups_of(Pattern(name) for name in arguments.pattern)
    with progress_bar(Console(stderr=True)) as progress:
        experiment = run_experiment(
            arguments.packets,
            arguments.size or (MEASURED_SIZES if on_linux else DEFAULT_SIZES),
            arguments.batch or (MEASURED_BATCHES if on_linux else DEFAULT_BATCHES),
            costs,
            progress,
            setups=setups,
            on_linux=on_linux,
        )
    if calibration is not None:
        experiment = replace(
            experiment, machine=calibration.machine, gigahertz=calibration.gigahertz
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


def _calibrate() -> Calibration:
    from toyvisor.learn.calibration import calibrate

    return calibrate()
