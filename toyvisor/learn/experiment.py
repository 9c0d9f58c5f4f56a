"""The experiment: the same packets passed in different ways, and what each way costs.

A driver first sets its device up, which has nothing to do with packets. So every figure
per packet is a difference of two runs of the same program:

    (run with N packets - run with 0 packets) / N

What both runs do, once each, cancels: finding the device, features, queues, the last HLT.

On the ladder (`ladder.py`) several threads work, and the first packet meets them while they
still start: one thread's wake-up is its, or the set-up's. So there both runs begin with a batch
of packets that is not counted:

    (run with B + N packets - run with B packets) / N

A driver that waits for packets never ends. The run does, when no packet is left to come.

Nothing is estimated here; estimates are the cost model's (`cost_model.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from toyvisor.errors import UsageError
from toyvisor.guest.program import Program
from toyvisor.host.frames import ETH_FRAME_LEN, ETH_HLEN
from toyvisor.host.tap import TX_QUEUE_LEN
from toyvisor.learn.cost_file import shipped_costs
from toyvisor.learn.cost_model import CostTable, Estimate
from toyvisor.learn.counts import Counts, Hops, hop_difference
from toyvisor.learn.frames import numbered_frames
from toyvisor.learn.measure import Measurement, load, measure, most_in_a_batch
from toyvisor.learn.setups import SETUPS, Pattern, Setup
from toyvisor.qemu.frame_table import MAX_FRAMES

if TYPE_CHECKING:
    from toyvisor.learn.on_linux import Measured

DEFAULT_PACKETS = 64
#: Bytes of Ethernet frame, from the first byte of the destination; no FCS.
DEFAULT_SIZES = (64, 256, 1024, 1500)
DEFAULT_BATCHES = (1, 8, 64)

METHOD = (
    "Each figure per packet is the difference of two runs of the same guest program, one "
    "with all packets and one with none, divided by the number of packets; so the driver's "
    "set-up of its device is not in it. Every run sent exactly the frames it was given."
)
LADDER_METHOD = (
    "Here both runs begin with a batch of packets that is not counted, as the first ones meet "
    "threads that are still busy with the set-up. A driver that waits for packets never ends; "
    "the run does, when no packet is left to come. Every run passed exactly the frames it was "
    "given."
)

#: Called before each run: (runs done, runs in all, what runs now)
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class Row:
    """One setup at one packet size and batch (None: a batch does not apply).

    `set_up` is what the run without packets counted (on the ladder: with those that are not
    counted), `sending` what the packets added, all of them together; `hops` are the copies and
    bytes they added, by hop. `measured` is what a packet took on Linux's KVM, if somebody asked.
    """

    setup: Setup
    size: int
    batch: int | None
    packets: int
    set_up: Counts
    sending: Counts
    hops: Hops
    estimate: Estimate
    measured: Measured | None = None

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
    """All rows, by pattern, by size and then in the order of the setups and batches."""

    packets: int
    sizes: tuple[int, ...]
    batches: tuple[int, ...]
    rows: tuple[Row, ...]
    costs: CostTable
    #: where it was measured, too, and the cycles in a nanosecond there
    machine: str = ""
    gigahertz: float | None = None

    def of_size(self, size: int) -> list[Row]:
        """The rows of one packet size."""
        return [row for row in self.rows if row.size == size]

    @property
    def patterns(self) -> list[Pattern]:
        """Those that there are rows of."""
        return list(dict.fromkeys(row.setup.pattern for row in self.rows))

    def only(self, rows: Iterable[Row]) -> Experiment:
        """The same with some of the rows."""
        return replace(self, rows=tuple(rows))

    @property
    def looking(self) -> Experiment:
        """What is left without the ladder: drivers that look themselves."""
        return self.only(row for row in self.rows if row.setup.rung is None)

    @property
    def ladder(self) -> Experiment:
        """The ladder only: drivers that sleep when they have to wait."""
        return self.only(row for row in self.rows if row.setup.rung is not None)

    def climb(self, pattern: Pattern, size: int, batch: int | None) -> list[Row]:
        """One ladder from the bottom up; a rung without batches stands for any batch."""
        return [
            row
            for row in self.of_size(size)
            if row.setup.rung is not None
            and row.setup.pattern is pattern
            and row.batch in (batch, None)
        ]

    def batches_of(self, pattern: Pattern) -> list[int | None]:
        """The batches that the ladder of a pattern was climbed with; None if it has none."""
        rows = [row for row in self.ladder.rows if row.setup.pattern is pattern]
        found = sorted({row.batch for row in rows if row.batch is not None})
        return list(found) if found else [None]


def run_experiment(
    packets: int = DEFAULT_PACKETS,
    sizes: Sequence[int] = DEFAULT_SIZES,
    batches: Sequence[int] = DEFAULT_BATCHES,
    cost_table: CostTable | None = None,
    progress: Progress | None = None,
    *,
    setups: Sequence[Setup] = SETUPS,
    on_linux: bool = False,
) -> Experiment:
    """Run every setup with every size and batch, and count; `on_linux`: and measure.

    Raises UsageError for numbers that make no experiment, ExperimentError if a run fails, and
    MachineError if there is no Linux's KVM to measure on.
    """
    costs = cost_table if cost_table is not None else shipped_costs()
    sizes, batches = tuple(dict.fromkeys(sizes)), tuple(dict.fromkeys(batches))
    programs = [load(setup) for setup in setups]
    _check_usage(packets, sizes, batches)
    _check_batches(setups, programs, batches)
    work = [
        _Climb(setup, program, setup.batches(batches), packets, on_linux=on_linux)
        for setup, program in zip(setups, programs, strict=True)
    ]
    steps = _Steps(progress, sum(one.runs(len(sizes)) for one in work))
    rows = []
    for pattern in dict.fromkeys(setup.pattern for setup in setups):
        for size in sizes:
            for one in work:
                if one.setup.pattern is pattern:
                    rows += one.rows(size, costs, steps)
    steps.end()
    return Experiment(packets, sizes, batches, tuple(rows), costs)


class _Climb:
    """The runs of one setup."""

    def __init__(
        self,
        setup: Setup,
        program: Program,
        batches: list[int | None],
        packets: int,
        *,
        on_linux: bool,
    ) -> None:
        self.setup = setup
        self._program = program
        self._batches = batches
        self._packets = packets
        self._on_linux = on_linux
        self._empty: dict[int | None, Measurement] = {}

    def runs(self, sizes: int) -> int:
        """How many runs there will be."""
        of_a_size = 1 + int(self._on_linux)
        return len(self._batches) * (sizes * of_a_size + (1 if self.setup.rung is None else sizes))

    def rows(self, size: int, costs: CostTable, steps: _Steps) -> list[Row]:
        """The rows of one size."""
        return [self._row(size, batch, costs, steps) for batch in self._batches]

    def _row(self, size: int, batch: int | None, costs: CostTable, steps: _Steps) -> Row:
        setup, packets = self.setup, self._packets
        first = 0
        if setup.rung is not None:
            first = min(batch or 1, MAX_FRAMES - packets)
        frames = numbered_frames(first + packets, size)
        if first or batch not in self._empty:
            steps.next(f"{setup.title}, {'the first' if first else 'no'} packets")
            self._empty[batch] = measure(setup, self._program, batch, frames[:first])
        empty = self._empty[batch]
        steps.next(f"{setup.title}, {size} bytes")
        full = measure(setup, self._program, batch, frames)
        sending = full.counts - empty.counts
        hops = hop_difference(full.hops, empty.hops)
        estimate = costs.estimate(sending, packets)
        measured = None
        if self._on_linux:
            from toyvisor.learn.on_linux import measure_on_linux

            steps.next(f"on Linux's KVM: {setup.title}, {size} bytes")
            measured = measure_on_linux(setup, self._program, batch, frames[:first], frames)
        return Row(setup, size, batch, packets, empty.counts, sending, hops, estimate, measured)


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
    setups: Sequence[Setup], programs: Sequence[Program], batches: Sequence[int]
) -> None:
    """A batch larger than can be would be cut, or lose packets, and the table would lie."""
    for setup, program in zip(setups, programs, strict=True):
        most: int | None = None
        where = f"{setup.name}'s queue"
        if setup.pattern is Pattern.RECEIVE:
            most, where = TX_QUEUE_LEN, "the tap's queue"
        elif setup.batch_register is not None:
            most = most_in_a_batch(setup, program)
        else:
            continue
        for batch in batches:
            if batch < 1 or (most is not None and batch > most):
                limit = "1 or more" if most is None else f"from 1 to {most}"
                raise UsageError(
                    f"--batch {batch}: {limit}",
                    hint=None if most is None else f"more do not fit into {where}",
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
