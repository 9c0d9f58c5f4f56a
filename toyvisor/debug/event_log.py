"""The recorded stream as a sequence of events, with the moments at which they happened."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

from toyvisor.debug.moment import Moment
from toyvisor.debug.recording import Recording
from toyvisor.trace.events import VM_EXIT, EventKind, EventView, spelled_out, view
from toyvisor.trace.exit_records import MMIO_EXIT, PIO_EXIT

#: Records that begin with a vm_exit.
EXIT_RECORDS = frozenset((VM_EXIT.name, MMIO_EXIT.name, PIO_EXIT.name))


class EventLog(Sequence[EventView]):
    """events[n] is event number n of the run, as far as it is recorded."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._exits: list[int] = []
        self._indexed = 0

    def __len__(self) -> int:
        return self._recording.events_before(len(self._recording.records))

    @overload
    def __getitem__(self, index: int) -> EventView: ...

    @overload
    def __getitem__(self, index: slice) -> list[EventView]: ...

    def __getitem__(self, index: int | slice) -> EventView | list[EventView]:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step == 1:
                return list(self.between(start, stop))
            return [self[number] for number in range(start, stop, step)]
        number = index + len(self) if index < 0 else index
        if not 0 <= number < len(self):
            raise IndexError(f"event {index} is not recorded")
        return next(self.between(number, number + 1))

    def between(self, start: int, stop: int) -> Iterator[EventView]:
        """Events number `start` to `stop - 1`."""
        recording = self._recording
        record = recording.record_of(start)
        number = recording.events_before(record)
        while number < stop and record < len(recording.records):
            for event in spelled_out(recording.records[record]):
                if start <= number < stop:
                    yield view(number, event)
                number += 1
            record += 1

    def moment(self, number: int) -> Moment:
        """Right behind event `number`."""
        recording = self._recording
        moment = recording.moment_of_record(recording.record_of(number))
        return moment._replace(events=number + 1)

    @property
    def exits(self) -> Sequence[int]:
        """Numbers of all vm_exit events, in order."""
        recording = self._recording
        if self._indexed > len(recording.records):  # a branch was begun or left
            self._exits, self._indexed = [], 0
        for index in range(self._indexed, len(recording.records)):
            if recording.records[index][2] in EXIT_RECORDS:
                self._exits.append(recording.events_before(index))
        self._indexed = len(recording.records)
        return self._exits

    def find(self, kinds: frozenset[EventKind], start: int, stop: int) -> Iterator[EventView]:
        """Events of some kinds from number `start` to before `stop`."""
        return (event for event in self.between(start, stop) if event.kind in kinds)

    def find_back(self, kinds: frozenset[EventKind], before: int) -> Iterator[EventView]:
        """Events of some kinds with numbers below `before`, the last one first."""
        recording = self._recording
        record = recording.record_of(before - 1) if before > 0 else -1
        while record >= 0:
            first = recording.events_before(record)
            events = [
                view(first + n, e) for n, e in enumerate(spelled_out(recording.records[record]))
            ]
            for event in reversed(events):
                if event.seq < before and event.kind in kinds:
                    yield event
            record -= 1

    def forget_index(self) -> None:
        """Another branch: what was indexed may be of the one before."""
        self._exits, self._indexed = [], 0
