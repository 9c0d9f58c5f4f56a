"""Being at any moment of a run: where the machine stands, and how it gets elsewhere.

The past is reached by putting the checkpoint before it back and running on; the future by running
on and recording. A branch is a recording that goes another way from the moment where somebody
changed a register or memory; the one it left is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import NamedTuple

from toyvisor.cpu.write_watch import WriteWatch
from toyvisor.debug.checkpoint import Checkpoint
from toyvisor.debug.counters import Counters
from toyvisor.debug.event_log import EventLog
from toyvisor.debug.execution import Execution
from toyvisor.debug.moment import Moment
from toyvisor.debug.recording import Trunk
from toyvisor.debug.stop_condition import StopCondition
from toyvisor.qemu.machine import Machine
from toyvisor.qemu.vcpu_thread import Ending
from toyvisor.trace.events import Trace

#: Somebody is asked whether to stop after so many guest instructions, or records.
BREATH_INSTRUCTIONS, BREATH_RECORDS = 20_000, 2_000
_MOVES_A_QUESTION = 16
_REAL_MODE = 2  # bytes of an offset
#: The recording leaves the trace's own end to those who run without a debugger.
MOST_RECORDS = Trace.LIMIT - 10_000


class InterruptedRun(Exception):  # noqa: N818 (not an error)
    """`should_stop` said so while the guest ran."""


class RecordingFull(Exception):  # noqa: N818 (not an error)
    """There is no room for more of the run."""


class _Branch(NamedTuple):
    trunk: Trunk
    moment: Moment  # where it began
    ending: Ending | None
    frontier: Moment


class Timeline:
    """One run under the debugger, and where in it we stand."""

    def __init__(self, build: Callable[[], Machine], max_instructions: int) -> None:
        self._execution = Execution(build, max_instructions)
        self._recording = self._execution.recording
        self.events = EventLog(self._recording)
        self.start = self.frontier = self._execution.moment(between=True)
        #: Events that have happened, where the machine stands inside an exit.
        self._cursor = self.start.events
        self._branches: list[_Branch] = []
        #: Where branches were changed: nobody runs across these, but goes on from there.
        self._edits: list[Checkpoint] = []
        #: How the run ends, once the recording has got there.
        self.ending: Ending | None = None
        #: Asked every few milliseconds while the guest runs.
        self.should_stop: Callable[[], bool] | None = None
        self._asked = 0

    @property
    def machine(self) -> Machine:
        """The machine as it is at `moment`."""
        return self._execution.machine

    @property
    def moment(self) -> Moment:
        """Where we stand."""
        here = self._here()
        return here if here.between else here._replace(events=self._cursor)

    @property
    def at_end(self) -> bool:
        """The run is over here."""
        return self._execution.ending is not None and self._cursor == len(self.events)

    @property
    def at_start(self) -> bool:
        """This is where the recording begins."""
        return self.moment <= self.start

    def checkpoint_below(self, moment: Moment) -> Checkpoint:
        """The last one before `moment`, in this recording."""
        return self._recording.checkpoint_below(moment)

    def code(self, address: int, length: int) -> bytes:
        """Bytes at a linear address, as far as there is memory."""
        return self._execution.cpu.view.read(address, length)

    def _behind_record(self, records: int) -> Moment:
        return self._recording.moment_of_record(records - 1) if records else self.start

    # Moving -------------------------------------------------------------------------------

    def go_on(self, condition: StopCondition) -> None:
        """Run on until `condition` is met, or to the end.

        Raises InterruptedRun or RecordingFull, and stands then somewhere on the way.
        """
        if condition.is_exact and self._finish_instruction(condition):
            return
        while not self.at_end:
            self._ask_now_and_then()
            breath = self._with_barrier(self._breath(condition))
            self._execution.go_on(breath)
            self._arrived()
            self._cross_edit(breath)
            if self._is_met(condition):
                return
            if len(self._recording.records) >= MOST_RECORDS:
                raise RecordingFull

    def _finish_instruction(self, condition: StopCondition) -> bool:
        """From inside an exit to where the guest stands next; whether `condition` is met there.

        Its block runs on to its end, whatever is wanted behind this instruction; so the
        instruction is begun anew, alone.
        """
        execution, here = self._execution, self.moment
        if execution.is_between or self.at_end:
            return False
        execution.put_back(self._recording.checkpoint_before(here))
        following = Moment(here.instructions, here.deliveries + 1, 0, between=False)
        while execution.ending is None:
            breath = self._with_barrier(self._breath(StopCondition(moment=following)))
            execution.go_on(replace(breath, records=min(breath.records, condition.records)))
            self._arrived()
            self._cross_edit(breath)
            if self._here() > here and (execution.is_between or self._is_met(condition)):
                return self._is_met(condition)
        return False

    def _ask_now_and_then(self) -> None:
        """Short steps, too, can be a great many: whether somebody wants to stop."""
        self._asked += 1
        ask = self.should_stop
        if ask is not None and self._asked % _MOVES_A_QUESTION == 0 and ask():
            raise InterruptedRun

    def go_to(self, moment: Moment) -> None:
        """Be at a moment: of the recording, or further on. The nearest there is."""
        moment = max(moment, self.start)
        if moment == self.moment:
            return
        if not moment.between and moment.events <= len(self.events):
            record = self._recording.record_of(moment.events - 1)
            if moment != self.end_moment:
                self._go_to_record(record, moment)
                self._cursor = moment.events
                return
        self._put_back_for(moment)
        if not (self._execution.is_between and self._execution.moment(between=True) >= moment):
            self.go_on(StopCondition(moment=moment))

    def go_to_end(self) -> None:
        """Be where the run is over; the guest runs on if that is not recorded yet."""
        if self.at_end:
            return
        if self.ending is None and self.moment < self.frontier:
            self.go_to(self.frontier)
        self._put_back_for(self.frontier)
        self.go_on(StopCondition())

    def go_on_records(self, count: int) -> None:
        """Run on until so many more records are made."""
        self.go_on(StopCondition(records=self._execution.records + count))

    def return_addresses(self) -> frozenset[int]:
        """Where what was just entered may return to, as linear addresses.

        The stack has it on top, or below an error code (SDM vol. 3, 7.12.1); in real mode with
        its segment.
        """
        view = self._execution.cpu.view
        width = view.code_bits() // 8
        stack = view.read(view.stack(), 2 * width).ljust(2 * width, b"\0")
        first, second = (int.from_bytes(stack[n : n + width], "little") for n in (0, width))
        base = view.code_base()
        found = {base + first, base + second}
        if width == _REAL_MODE:
            found.add((second << 4) + first)
        return frozenset(found)

    def watch_writes(self, spans: Iterable[tuple[int, int]]) -> WriteWatch:
        """Notice the guest's stores to some bytes of RAM, until it is closed."""
        return self._execution.cpu.watch_writes(spans)

    def counters(self, moment: Moment) -> Counters:
        """What was counted up to a moment of the recording."""
        checkpoint = self._recording.checkpoint_before(moment)
        events = self.events.between(checkpoint.moment.events, moment.events)
        return checkpoint.counters.copy().roll_forward(events)

    @property
    def end_moment(self) -> Moment | None:
        """Where the run is over, if that is recorded."""
        return self.frontier if self.ending is not None else None

    def _go_to_record(self, record: int, moment: Moment) -> None:
        if self._execution.records == record + 1 and not self._execution.is_between:
            return
        self._put_back_for(moment)
        self.go_on(StopCondition(records=record + 1))

    def _put_back_for(self, moment: Moment) -> None:
        """Stand at the checkpoint before `moment`, if we do not stand between the two."""
        here, checkpoint = self._here(), self._recording.checkpoint_before(moment)
        if self._execution.ending is not None or moment <= here or checkpoint.moment > here:
            self._execution.put_back(checkpoint)
            self._cursor = self._execution.moment(between=True).events

    def _here(self) -> Moment:
        """Where the machine stands: behind a whole record."""
        execution = self._execution
        if execution.is_between:
            return execution.moment(between=True)
        return self._behind_record(execution.records)

    def _arrived(self) -> None:
        execution = self._execution
        self._cursor = self._recording.events_before(execution.records)
        here = self._here()
        if execution.ending is not None:
            self.ending = execution.ending
            here = max(here, self.frontier)
        self.frontier = max(self.frontier, here)

    def _breath(self, condition: StopCondition) -> StopCondition:
        """The same, but no further than somebody can wait."""
        now, records = self._execution.cpu.now(), self._execution.records
        return replace(
            condition,
            instructions=min(condition.instructions, now + BREATH_INSTRUCTIONS),
            records=min(condition.records, records + BREATH_RECORDS),
        )

    def _is_met(self, condition: StopCondition) -> bool:
        execution = self._execution
        if not execution.is_between:
            last = self._recording.records[execution.records - 1]
            return execution.records >= condition.records or last[2] in condition.kinds
        here, rip = execution.moment(between=True), execution.rip_if(condition.addresses)
        return condition.is_met(here, rip)

    # Branches -----------------------------------------------------------------------------

    @property
    def branch(self) -> int:
        """How many changes deep we are; 0: in the original run."""
        return len(self._branches)

    def change(self, what: Callable[[Machine], None]) -> None:
        """Change the machine here, between two instructions, and go another way from now on."""
        moment = self.moment
        assert moment.between
        if not (self._edits and self._edits[-1].moment == moment == self.frontier):
            trunk = self._recording.branch(self._execution.records, moment)
            self._branches.append(_Branch(trunk, moment, self.ending, self.frontier))
        else:
            self._edits.pop()
        self.events.forget_index()
        self.ending, self.frontier = None, moment
        what(self.machine)
        checkpoint = self._execution.take_checkpoint()
        self._recording.keep(checkpoint, pinned=True)
        self._edits.append(checkpoint)

    def leave_branch(self) -> None:
        """Be in the recording that the branch left, where it began."""
        left = self._branches.pop()
        self._edits.pop()
        self._recording.leave_branch(left.trunk)
        self.events.forget_index()
        self.ending, self.frontier = left.ending, left.frontier
        self._execution.put_back(self._recording.checkpoint_before(left.moment))
        self._cursor = self._execution.moment(between=True).events
        self.go_to(left.moment)

    def _with_barrier(self, condition: StopCondition) -> StopCondition:
        """No further than the next change of this branch."""
        here = self._here()
        for edit in self._edits:
            if edit.moment > here:
                return replace(condition, barrier=edit.moment)
        return condition

    def _cross_edit(self, condition: StopCondition) -> None:
        """If we stand before a change of this branch: be behind it."""
        if condition.barrier is None or not self._execution.is_between:
            return
        if self._execution.moment(between=True) >= condition.barrier:
            self._execution.put_back(self._recording.checkpoint_before(condition.barrier))
            self._arrived()

    def close(self) -> None:
        """End the machine."""
        self._execution.close()
