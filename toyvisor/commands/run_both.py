"""`toyvisor run PROGRAM --accel both`: is the toy the same as the real thing?"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from toyvisor.commands.run import console_for, frames_for
from toyvisor.errors import UsageError
from toyvisor.guest.program import Program
from toyvisor.host.net import open_net
from toyvisor.learn.both_kvms import Comparison, run_on_both
from toyvisor.qemu.accel import DEFAULT_BUDGET, DEFAULT_SECONDS, Limits

#: Instructions of the toy, if nobody says: a step takes it a hundred times as long.
MOST_STEPS = 100_000


def main(arguments: argparse.Namespace, program: Program) -> int:
    """Run it on both; status 1 if they differ in what nobody has named a reason for."""
    _check_usage(arguments)
    net_option = frames_for(program, arguments.net)
    _, options = console_for(arguments, program)
    budget = arguments.max_instructions or (MOST_STEPS if arguments.single_step else DEFAULT_BUDGET)
    limits = Limits(budget, arguments.max_seconds or DEFAULT_SECONDS)
    if sys.stderr.isatty():
        print("running on both ...", end="", file=sys.stderr, flush=True)
    comparison = run_on_both(
        program,
        lambda: open_net(net_option),
        lambda: console_for(arguments, program)[0],
        options,
        limits,
        single_step=arguments.single_step,
    )
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    if arguments.json:
        print(json.dumps(to_json(comparison), indent=2))
    else:
        from toyvisor.ui.both_kvms import print_comparison

        print_comparison(comparison)
    return 1 if comparison.unexplained else 0


def to_json(comparison: Comparison) -> dict[str, Any]:
    """The object that `--json` prints."""
    return {
        "program": comparison.program,
        "accel": "both",
        "same": not comparison.differences,
        "facts": {fact.name: fact.same for fact in comparison.facts},
        "first_difference": comparison.first_difference,
        "known": [
            {"cause": entry.cause, "facts": sorted(entry.facts), "reason": entry.reason}
            for entry in comparison.known
        ],
        "unexplained": [fact.name for fact in comparison.unexplained],
        "seconds": {"toy": comparison.toy.seconds, "kvm": comparison.linux.seconds},
        "toy": comparison.toy.result.to_json(),
        "kvm": comparison.linux.result.to_json(),
    }


def _check_usage(arguments: argparse.Namespace) -> None:
    if arguments.trace is not None:
        raise UsageError("--accel both: there are two event streams", hint="trace one at a time")
    if arguments.input == "-":
        raise UsageError("--accel both: standard input comes but once", hint="--input FILE")
    net = arguments.net or ""
    if net.startswith("tap:") or net.partition(",")[2]:
        raise UsageError(
            "--accel both: both runs get the same frames, and their output is compared",
            hint="--net pcap:IN,",
        )
