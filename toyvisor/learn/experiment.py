"""The experiment: the same packets sent in different ways, and what each way costs.

A driver first sets its device up, which has nothing to do with packets. So every figure
per packet is a difference of two runs of the same program:

    (run with N packets - run with 0 packets) / N

What both runs do, once each, cancels: finding the device, features, queues, the last HLT.
Nothing is estimated here; estimates are the cost model's (`cost_model.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from toyvisor.errors import UsageError
from toyvisor.guest.program import Program
from toyvisor.host.frames import ETH_FRAME_LEN, ETH_HLEN
from toyvisor.learn.cost_file import shipped_costs
from toyvisor.learn.cost_model import CostTable, Estimate
from toyvisor.learn.counts import Counts, Hops, hop_difference
from toyvisor.learn.frames import numbered_frames
from toyvisor.learn.measure import Measurement, load, measure, most_in_a_batch
from toyvisor.learn.setups import SETUPS, Setup
from toyvisor.qemu.frame_table import MAX_FRAMES

DEFAULT_PACKETS = 64
#: Bytes of Ethernet frame, from the first byte of the destination; no FCS.
DEFAULT_SIZES = (64, 256, 1024, 1500)
DEFAULT_BATCHES = (1, 8, 64)

METHOD = (
    "Each figure per packet is the difference of two runs of the same guest program, one "
    "with all packets and one with none, divided by the number of packets; so the driver's "
    "set-up of its device is not in it. Every run sent exactly the frames it was given."
)

#: Called before each run: (runs done, runs in all, what runs now)
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class Row:
    """One setup at one packet size and batch (None: a batch does not apply).

    `set_up` is what the run without packets counted, `sending` what the packets added, all
    of them together; `hops` are the copies and bytes they added, by hop.
    """

    setup: Setup
    size: int
    batch: int | None
    packets: int
    set_up: Counts
    sending: Counts
    hops: Hops
    estimate: Estimate

    def per_packet(self, quantity: str) -> float:
        """A count of `sending` for one packet."""
        total: int = getattr(self.sending, quantity)
        return total / self.packets

    @property
    def copied_per_byte(self) -> float:
        """How many times a byte of the frame was copied: bytes copied / bytes of the frames."""
        return self.sending.bytes_copied / (self.packets * self.size)

    @property
    def cycles(self) -> float:
        """Estimated cycles for one packet."""
        return self.estimate.total

    @property
    def label(self) -> str:
        """The setup, with its batch if it has one: "virtio-net, batch 8"."""
        return self.setup.name if self.batch is None else f"{self.setup.name}, batch {self.batch}"


@dataclass(frozen=True, slots=True)
class Experiment:
    """All rows, by size and then in the order of the setups and batches."""

    packets: int
    sizes: tuple[int, ...]
    batches: tuple[int, ...]
    rows: tuple[Row, ...]
    costs: CostTable

    def of_size(self, size: int) -> list[Row]:
        """The rows of one packet size."""
        return [row for row in self.rows if row.size == size]


def run_experiment(
    packets: int = DEFAULT_PACKETS,
    sizes: Sequence[int] = DEFAULT_SIZES,
    batches: Sequence[int] = DEFAULT_BATCHES,
    cost_table: CostTable | None = None,
    progress: Progress | None = None,
    *,
    setups: Sequence[Setup] = SETUPS,
) -> Experiment:
    """Run every setup with every size and batch, and count.

    Raises UsageError for numbers that make no experiment, ExperimentError if a run fails.
    """
    costs = cost_table if cost_table is not None else shipped_costs()
    sizes, batches = tuple(dict.fromkeys(sizes)), tuple(dict.fromkeys(batches))
    programs = {setup.name: load(setup) for setup in setups}
    _check_usage(packets, sizes, batches)
    _check_batches(setups, programs, batches)
    steps = _Steps(progress, sum(len(_batches(s, batches)) for s in setups) * (1 + len(sizes)))
    without: dict[tuple[str, int | None], Measurement] = {}
    rows = []
    for size in sizes:
        frames = numbered_frames(packets, size)
        for setup in setups:
            program = programs[setup.name]
            for batch in _batches(setup, batches):
                key = (setup.name, batch)
                if key not in without:
                    steps.next(f"{setup.name}, no packets")
                    without[key] = measure(setup, program, batch, ())
                steps.next(f"{setup.name}, {size} bytes")
                full = measure(setup, program, batch, frames)
                rows.append(_row(setup, size, batch, packets, full, without[key], costs))
    steps.end()
    return Experiment(packets, sizes, batches, tuple(rows), costs)


def _row(
    setup: Setup,
    size: int,
    batch: int | None,
    packets: int,
    full: Measurement,
    empty: Measurement,
    costs: CostTable,
) -> Row:
    sending = full.counts - empty.counts
    return Row(
        setup,
        size,
        batch,
        packets,
        empty.counts,
        sending,
        hop_difference(full.hops, empty.hops),
        costs.estimate(sending, packets),
    )


def _batches(setup: Setup, batches: Iterable[int]) -> list[int | None]:
    return [None] if setup.batch_register is None else list(batches)


def _check_usage(packets: int, sizes: Sequence[int], batches: Sequence[int]) -> None:
    if not 1 <= packets <= MAX_FRAMES:
        raise UsageError(
            f"--packets {packets}: from 1 to {MAX_FRAMES}",
            hint="the frame table in guest memory has room for no more",
        )
    if not sizes or not batches:
        raise UsageError(f"{'--batch' if sizes else '--size'} needs at least one number")
    for size in sizes:
        if not ETH_HLEN <= size <= ETH_FRAME_LEN:
            raise UsageError(
                f"--size {size}: an Ethernet frame has from {ETH_HLEN} to {ETH_FRAME_LEN} bytes",
                hint="sizes are whole frames, header included, FCS not",
            )


def _check_batches(
    setups: Sequence[Setup], programs: dict[str, Program], batches: Sequence[int]
) -> None:
    """A batch larger than a driver takes would be cut by it, and the table would lie."""
    for setup in setups:
        if setup.batch_register is None:
            continue
        most = most_in_a_batch(setup, programs[setup.name])
        for batch in batches:
            if batch < 1 or (most is not None and batch > most):
                limit = "1 or more" if most is None else f"from 1 to {most}"
                raise UsageError(
                    f"--batch {batch}: {limit}",
                    hint=None if most is None else f"more do not fit into {setup.name}'s queue",
                )


class _Steps:
    """Tells how far the experiment is."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress = progress
        self._total = total
        self._done = 0

    def next(self, what: str) -> None:
        if self._progress is not None:
            self._progress(self._done, self._total, what)
        self._done += 1

    def end(self) -> None:
        if self._progress is not None:
            self._progress(self._total, self._total, "done")
