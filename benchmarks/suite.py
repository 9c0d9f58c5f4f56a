"""The measurements: ours against a baseline, in turns, and the median of the ratios."""

from __future__ import annotations

import atexit
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from benchmarks import bare, ours


@dataclass(slots=True)
class Comparison:
    """One thing measured: (seconds of ours, seconds of the baseline) for each turn."""

    name: str
    against: str
    goal: float | None
    ours: Callable[[], float]
    baseline: Callable[[], float]


@dataclass(slots=True)
class Measurement:
    """Medians in seconds, and the median of the ratios pair by pair."""

    name: str
    against: str
    goal: float | None
    ours: float
    baseline: float
    ratio: float
    lowest: float
    highest: float
    turns: int

    @property
    def reached(self) -> bool | None:
        """Whether the goal is met; None if there is none."""
        return None if self.goal is None else self.ratio <= self.goal


def measure(comparison: Comparison, seconds: float) -> Measurement:
    """Run both sides in turns for about `seconds`, at least three times."""
    pairs: list[tuple[float, float]] = []
    comparison.ours()
    comparison.baseline()
    end = time.perf_counter() + seconds
    while len(pairs) < 3 or (time.perf_counter() < end and len(pairs) < 200):
        pairs.append((comparison.ours(), comparison.baseline()))
    ratios = sorted(a / b for a, b in pairs)
    return Measurement(
        comparison.name,
        comparison.against,
        comparison.goal,
        statistics.median(a for a, _ in pairs),
        statistics.median(b for _, b in pairs),
        statistics.median(ratios),
        ratios[0],
        ratios[-1],
        len(pairs),
    )


def _process(*arguments: str) -> float:
    begin = time.perf_counter()
    subprocess.run(
        [sys.executable, *arguments], check=True, capture_output=True, env=_environment()
    )
    return time.perf_counter() - begin


@cache
def _environment() -> dict[str, str]:
    """With bytecode for both sides, as after installing, even where this process keeps none."""
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": folder.name}


COMPARISONS = (
    Comparison(
        "userspace MMIO exit, trace off",
        "emu_start/emu_stop/reg_read loop",
        0.45,
        lambda: ours.exit_loop(10_000),
        lambda: bare.exit_loop(10_000),
    ),
    Comparison(
        "the same, trace on",
        "the same, trace off",
        1.3,
        lambda: ours.exit_loop(10_000, trace=True),
        lambda: ours.exit_loop(10_000),
    ),
    Comparison(
        "lightweight exit (kernel device)",
        "the binding's mmio callback",
        0.5,
        lambda: ours.lightweight_exit(20_000),
        lambda: bare.mmio_callback(20_000),
    ),
    Comparison(
        "ioeventfd kick",
        "the binding's mmio callback",
        None,
        lambda: ours.ioeventfd_kick(20_000),
        lambda: bare.mmio_callback(20_000),
    ),
    Comparison(
        "interrupt: store, edge, injection",
        "the binding's mmio callback",
        None,
        lambda: ours.interrupt(500),
        lambda: bare.mmio_callback(20_000),
    ),
    Comparison(
        "virtio-net: one packet sent",
        "the binding's mmio callback",
        None,
        lambda: ours.transmit(1_024),
        lambda: bare.mmio_callback(20_000),
    ),
    Comparison(
        "virtio-net: one packet received",
        "the binding's mmio callback",
        None,
        lambda: ours.receive(1_024),
        lambda: bare.mmio_callback(20_000),
    ),
    Comparison(
        "plain guest instruction, counted",
        "emu_start, not counted",
        None,
        lambda: ours.instructions(2_000_000),
        lambda: bare.instructions(2_000_000),
    ),
    Comparison(
        "ring: one buffer, all checks",
        "the same words by mem_read/mem_write",
        None,
        lambda: ours.ring_round_trip(4096),
        lambda: bare.descriptor_reads(4096),
    ),
    Comparison(
        "recording a million instructions",
        "the same run, not recorded",
        6,
        ours.recorded_run,
        ours.long_run,
    ),
    Comparison(
        "one step back, anywhere in it",
        "2 MiB and a processor put back",
        60,
        lambda: ours.median_step_back(10),
        lambda: bare.restore(10),
    ),
    Comparison(
        "the slowest of ten steps back",
        "2 MiB and a processor put back",
        60,
        lambda: ours.worst_step_back(10),
        lambda: bare.restore(10),
    ),
    Comparison(
        "one step forward, anywhere in it",
        "2 MiB and a processor put back",
        None,
        lambda: ours.median_step(10),
        lambda: bare.restore(10),
    ),
    Comparison(
        "start to the guest's end: run add",
        "a plain unicorn script doing it",
        1.2,
        lambda: _process("-m", "toyvisor", "run", "add", "--json"),
        lambda: _process("-c", bare.START_SCRIPT),
    ),
)
