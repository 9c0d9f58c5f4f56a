"""`toyvisor bench`: the benchmarks, as ratios to baselines timed in the same run."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from toyvisor.errors import InputError
from toyvisor.ui.figures import duration


def main(arguments: argparse.Namespace) -> int:
    """Measure everything and print a table; the ratios are what counts."""
    suite = _suite()
    share = arguments.seconds / len(suite.COMPARISONS)
    found = []
    for comparison in suite.COMPARISONS:
        if sys.stderr.isatty():
            print(f"\r{comparison.name:<40}", end="", file=sys.stderr, flush=True)
        found.append(suite.measure(comparison, share))
    if sys.stderr.isatty():
        print("\r" + " " * 40 + "\r", end="", file=sys.stderr)
    if arguments.json:
        print(json.dumps([asdict(m) for m in found], indent=2))
        return 0
    for m in found:
        goal = "" if m.goal is None else f"goal {m.goal}: {'reached' if m.reached else 'missed'}"
        print(f"{m.name:<34} {duration(m.ours):>9}   ratio {m.ratio:5.2f}  {goal}")
        span = f"{m.lowest:.2f} to {m.highest:.2f} in {m.turns} turns"
        print(f"  to {m.against:<29} {duration(m.baseline):>9}   {span}")
    return 0


def _suite() -> Any:
    """The benchmarks lie in the wheel beside this package, in a checkout at its top."""
    package = Path(__file__).resolve().parent.parent
    for place in (package.parent, package / "extra"):
        if (place / "benchmarks" / "suite.py").is_file():
            if str(place) not in sys.path:
                sys.path.insert(0, str(place))
            return importlib.import_module("benchmarks.suite")
    raise InputError("the benchmarks were not installed")
