"""The recording: the stream of a run so far, and checkpoints along it.

The stream is all that was told; what was not (registers, RAM, devices) comes from putting the
nearest checkpoint back and running from there, which by determinism is the same run. So the
distance of checkpoints is the time that a look at the past takes. They are laid by the work
that lies between them; when there are too many, every second one is dropped, and the next ones
are laid twice as far apart.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from typing import NamedTuple

from toyvisor.debug.checkpoint import Checkpoint
from toyvisor.debug.moment import Moment
from toyvisor.errors import ToyvisorError
from toyvisor.trace.events import Event
from toyvisor.trace.exit_records import events_in

#: So much work lies between two checkpoints at first: guest instructions, or records. Either
#: takes about as long to do again as a checkpoint takes to be laid.
FIRST_INSTRUCTIONS, FIRST_RECORDS = 200_000, 768
#: So many checkpoints are kept.
MOST_CHECKPOINTS = 512


class DivergedError(ToyvisorError):
    """A run that should have been the same again was not: a fault of Toyvisor's."""


class Recording:
    """What happened, to its last record, and where one can go back to."""

    def __init__(self) -> None:
        self.records: list[Event] = []
        self.checkpoints: list[Checkpoint] = []
        self._moments: list[Moment] = []
        #: behind each record: how many events there have been, and deliveries
        self._events = array("Q")
        self._deliveries = array("Q")
        self._scale = 1
        self._due_records = FIRST_RECORDS
        #: In guest instructions: the next checkpoint is to be laid there, at the latest.
        self.due_at = FIRST_INSTRUCTIONS
        #: Checkpoints that a branch began with: they stay.
        self._pinned: set[Moment] = set()

    # Making it ----------------------------------------------------------------------------

    def note(self, index: int, record: Event, deliveries: int) -> None:
        """A record is made, or made again."""
        records = self.records
        if index == len(records):
            records.append(record)
            self._events.append(self.events_before(index) + events_in(record))
            self._deliveries.append(deliveries)
        elif records[index] != record:
            raise DivergedError(
                f"record {index} was {records[index]} and is {record} the second time"
            )

    def is_due(self, records: int, instructions: int = 0) -> bool:
        """Whether a checkpoint is to be laid. Never where there is one already, further on."""
        return records >= self._due_records or instructions >= self.due_at

    def keep(self, checkpoint: Checkpoint, *, pinned: bool = False) -> None:
        """Lay a checkpoint: the furthest so far."""
        if self._moments and checkpoint.moment <= self._moments[-1]:
            del_from = bisect_left(self._moments, checkpoint.moment)
            self.checkpoints[del_from:] = []
            self._moments[del_from:] = []
        self.checkpoints.append(checkpoint)
        self._moments.append(checkpoint.moment)
        if pinned:
            self._pinned.add(checkpoint.moment)
        if len(self.checkpoints) > MOST_CHECKPOINTS:
            self._thin_out()
        self._plan(checkpoint)

    def _plan(self, last: Checkpoint) -> None:
        self.due_at = last.moment.instructions + FIRST_INSTRUCTIONS * self._scale
        self._due_records = last.records + FIRST_RECORDS * self._scale

    def _thin_out(self) -> None:
        kept = [
            checkpoint
            for number, checkpoint in enumerate(self.checkpoints)
            if number % 2 == 0 or checkpoint.moment in self._pinned
        ]
        self.checkpoints[:] = kept
        self._moments[:] = [checkpoint.moment for checkpoint in kept]
        self._scale *= 2

    # Reading it ---------------------------------------------------------------------------

    def events_before(self, records: int) -> int:
        """How many events so many records stand for."""
        return self._events[records - 1] if records else 0

    def record_of(self, event: int) -> int:
        """The record that event number `event` belongs to."""
        return bisect_right(self._events, event)

    def moment_of_record(self, index: int) -> Moment:
        """Right behind a record."""
        return Moment(
            self.records[index][0], self._deliveries[index], self._events[index], between=False
        )

    def checkpoint_before(self, moment: Moment) -> Checkpoint:
        """The last one that is not behind `moment`; at the beginning the first."""
        return self.checkpoints[max(0, bisect_right(self._moments, moment) - 1)]

    def checkpoint_below(self, moment: Moment) -> Checkpoint:
        """The last one before `moment`; the first, if there is none."""
        return self.checkpoints[max(0, bisect_left(self._moments, moment) - 1)]

    # Branching ----------------------------------------------------------------------------

    def branch(self, records: int, moment: Moment) -> Trunk:
        """Forget what comes behind `records`; what is returned brings it all back."""
        trunk = Trunk(
            self.records[:], self.checkpoints[:], self._events[:], self._deliveries[:],
            self._scale, set(self._pinned),
        )  # fmt: skip
        del self.records[records:]
        del self._events[records:]
        del self._deliveries[records:]
        kept = bisect_left(self._moments, moment)
        del self.checkpoints[kept:]
        del self._moments[kept:]
        return trunk

    def leave_branch(self, trunk: Trunk) -> None:
        """Be what it was at branch()."""
        self.records[:] = trunk.records
        self._events[:] = trunk.events
        self._deliveries[:] = trunk.deliveries
        self.checkpoints[:] = trunk.checkpoints
        self._moments[:] = [checkpoint.moment for checkpoint in trunk.checkpoints]
        self._scale, self._pinned = trunk.scale, set(trunk.pinned)
        self._plan(self.checkpoints[-1])


class Trunk(NamedTuple):
    """The recording that a branch left."""

    records: list[Event]
    checkpoints: list[Checkpoint]
    events: array[int]
    deliveries: array[int]
    scale: int
    pinned: set[Moment]
