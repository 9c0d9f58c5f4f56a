"""Experiments that were never run: rows with any counts, for the words and the charts."""

from __future__ import annotations

from toyvisor.learn.cost_file import shipped_costs
from toyvisor.learn.counts import Counts
from toyvisor.learn.experiment import Experiment, Row
from toyvisor.learn.ladder import rungs
from toyvisor.learn.setups import MMIO_NIC, VIRTIO_NET, Pattern


def make_row(setup, size, batch, packets, counts, costs, hops=None):
    return Row(
        setup, size, batch, packets, Counts(exits=5, instructions=16), counts,
        hops or {"qemu->host": (packets, packets * size)}, costs.estimate(counts, packets),
    )  # fmt: skip


def make_experiment(
    packets=10, sizes=(64, 1500), batches=(1, 8), costs=None, counts=lambda setup, size, batch: None
):
    """`counts` gives the Counts of a row, or None for something ordinary."""
    costs = costs or shipped_costs()
    rows = []
    for size in sizes:
        for setup, batch in [(MMIO_NIC, None), *((VIRTIO_NET, batch) for batch in batches)]:
            exits = packets * size // 4 if batch is None else -(-packets // batch)
            ordinary = Counts(
                instructions=20 * packets, exits=exits, mmio_exits=exits, userspace_returns=exits,
                copies=2 * exits + packets, bytes_copied=8 * exits + packets * size,
                syscalls=packets, ring_reads=0 if batch is None else 5 * packets,
            )  # fmt: skip
            row_counts = counts(setup, size, batch) or ordinary
            rows.append(make_row(setup, size, batch, packets, row_counts, costs))
    return Experiment(packets, tuple(sizes), tuple(batches), tuple(rows), costs)


def make_ladder(
    packets=10, sizes=(64, 1500), batches=(1, 8), costs=None, counts=lambda setup, size, batch: None
):
    """The rows of the ladder with any counts, as in `make_experiment`."""
    costs = costs or shipped_costs()
    rows = []
    for pattern in Pattern:
        for size in sizes:
            for setup in rungs(pattern):
                for batch in setup.batches(batches):
                    found = counts(setup, size, batch) or Counts(exits=packets, syscalls=packets)
                    rows.append(make_row(setup, size, batch, packets, found, costs))
    return Experiment(packets, tuple(sizes), tuple(batches), tuple(rows), costs)


def joined(*experiments):
    """One experiment with the rows of all."""
    first = experiments[0]
    return first.only([row for one in experiments for row in one.rows])
