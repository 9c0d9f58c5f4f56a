"""`toyvisor calibrate`: the cost table, measured on this machine."""

from __future__ import annotations

import argparse
import json
import sys

from toyvisor.commands.output import check_writable, write_output
from toyvisor.errors import UsageError
from toyvisor.learn.calibration import calibrate
from toyvisor.learn.cost_file import to_toml


def main(arguments: argparse.Namespace) -> int:
    """Measure, show, and keep the table if a file was named."""
    if arguments.output == "-" and arguments.json:
        raise UsageError("-o - and --json both want standard output")
    check_writable(arguments.output)
    if sys.stderr.isatty():
        print("measuring on Linux's KVM ...", end="", file=sys.stderr, flush=True)
    found = calibrate(arguments.seconds)
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    if arguments.json:
        print(
            json.dumps(
                {
                    "machine": found.machine,
                    "gigahertz": found.gigahertz,
                    "costs": {
                        key: {
                            "nanoseconds": found.times[key].nanoseconds,
                            "cycles": cost.cycles,
                            "how": found.times[key].how,
                        }
                        for key, cost in found.costs().items()
                    },
                },
                indent=2,
            )
        )
    elif arguments.output != "-":
        from toyvisor.ui.calibration import print_calibration

        print_calibration(found)
    if arguments.output:
        heading = (
            f"What things cost on this machine, as `toyvisor calibrate` measured it:\n"
            f"{found.machine}, {found.gigahertz:.2f} GHz.\nFor `toyvisor compare --costs`."
        )
        write_output(arguments.output, to_toml(found.costs(), heading))
    return 0
