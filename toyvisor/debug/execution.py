"""A machine that can be stopped anywhere, and put back to any of its checkpoints.

It runs in a `Pausable`: inside an exit it is paused where a layer tells the trace of an event;
between two instructions, where the world switch says so (`Cpu.on_boundary`). Nothing of
that is an exit, costs the guest time, or leaves a mark in its counters and its trace.

Going back needs the stacks, too, of QEMU's loop and of the guest's greenlet. Between two
instructions they are always the same: kvm_cpu_exec, Vcpu.run, Cpu's loop. So checkpoints are taken
there and put back there; `_come_to_boundary` gets a machine there that stands elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable

from toyvisor.cpu.clock import FOREVER
from toyvisor.cpu.pausing import Pausable
from toyvisor.debug.checkpoint import Checkpoint, Checkpoints
from toyvisor.debug.moment import Moment
from toyvisor.debug.recording import Recording
from toyvisor.debug.stop_condition import StopCondition
from toyvisor.kvm.vcpu import Vcpu
from toyvisor.qemu.accel import Limits
from toyvisor.qemu.machine import Machine
from toyvisor.qemu.vcpu_thread import Ending
from toyvisor.trace.events import Event

#: A machine that is to come to a boundary does so at once or after a few blocks.
_MOST_TRIES = 64


class Execution:
    """One machine under the debugger, and the recording that it makes or follows."""

    def __init__(self, build: Callable[[], Machine], max_instructions: int) -> None:
        self._build = build
        self._limits = Limits(max_instructions, None)
        self._condition = StopCondition()
        #: On the way to a boundary: what happens is undone, and told to nobody.
        self._is_discarding = self._is_closing = False
        self._wants_boundary = False
        self.recording = Recording()
        #: How the run ended, if the machine stands at its end.
        self.ending: Ending | None = None
        self.records = 0
        #: The guest stands between two instructions.
        self.is_between = False
        self._run = Pausable(self._live)
        self._run.resume()
        self._checkpoints = Checkpoints(self.machine, self.cpu)
        self.recording.keep(self.take_checkpoint())

    # Inside -------------------------------------------------------------------------------

    def _live(self) -> None:
        """What runs in the Pausable."""
        self.machine = machine = self._build()
        vcpu = machine.vcpu
        assert isinstance(vcpu, Vcpu)
        self.vcpu, self.cpu = vcpu, vcpu.cpu
        machine.trace.enabled = True
        machine.trace.records = self.recording.records
        machine.trace.append = self._append
        self.cpu.on_boundary = self._at_boundary
        self._wants_boundary = True
        self.cpu.clock.debug_stop = 0
        while True:
            ending = machine.run_unkicked(self._limits)
            if not self._is_discarding:
                machine.look_back(ending)
            self.ending, self.is_between = ending, False
            self._run.pause()
            if self._is_closing:
                machine.close()
                return
            # From here only to another moment: up to where the guest's loop begins again.
            vcpu.asleep = False
            vcpu.timing.cancel_step()

    def _append(self, record: Event) -> None:
        """Trace.append."""
        if self._is_discarding:
            return
        self.records += 1
        self.recording.note(self.records - 1, record, self.cpu.deliveries)
        condition = self._condition
        if self.records >= condition.records or record[2] in condition.kinds:
            self.is_between = False
            self._run.pause()
        elif self.recording.is_due(self.records):
            self.cpu.clock.debug_stop = 0  # at the next boundary: a checkpoint

    def _at_boundary(self) -> None:
        """Cpu.on_boundary."""
        if self._is_discarding or self._wants_boundary or self._is_to_stop():
            self._wants_boundary = False
            self._pause_between()
        # From here on perhaps somewhere else: it was paused, and may have been put back.
        if self._is_discarding:
            return
        now, condition, clock = self.cpu.now(), self._condition, self.cpu.clock
        if self.recording.is_due(self.records, now):
            self.recording.keep(self.take_checkpoint())
        # What has to come within this very instruction (a fault) comes in running it.
        stop = max(now + 1, min(condition.wake_at, self.recording.due_at))
        # A breakpoint here has been met: past this one instruction.
        stands_on_one = self.rip_if(condition.addresses) in condition.addresses
        clock.breakpoints = frozenset() if stands_on_one else condition.addresses
        clock.debug_stop = now + 1 if stands_on_one else stop

    def _is_to_stop(self) -> bool:
        condition = self._condition
        return condition.is_met(self.moment(between=True), self.rip_if(condition.addresses))

    def _pause_between(self) -> None:
        self.is_between = True
        self._run.pause()
        self.is_between = False

    def rip_if(self, wanted: object) -> int | None:
        """The linear address of the present instruction, if somebody wants to know."""
        return self.cpu.view.rip() if wanted else None

    # Outside ------------------------------------------------------------------------------

    def moment(self, *, between: bool) -> Moment:
        """Where the machine stands, to the last record."""
        cpu = self.cpu
        events = self.recording.events_before(self.records)
        return Moment(cpu.now(), cpu.deliveries, events, between)

    def go_on(self, condition: StopCondition) -> None:
        """Run until `condition` is met, or to the end (`ending`)."""
        if self.ending is not None:
            return
        self._condition = condition
        clock = self.cpu.clock
        clock.breakpoints = condition.addresses
        clock.debug_stop = min(condition.wake_at, self.recording.due_at)
        self._run.resume()
        clock.breakpoints = frozenset()
        clock.debug_stop = FOREVER

    def put_back(self, checkpoint: Checkpoint) -> None:
        """Be where a checkpoint was taken."""
        self._come_to_boundary()
        self._checkpoints.put_back(checkpoint)
        self.records = checkpoint.records
        self.ending = None
        self.is_between = True

    def take_checkpoint(self) -> Checkpoint:
        """Of where the machine stands, which is between two instructions."""
        return self._checkpoints.take(self.moment(between=True), self.records)

    def _come_to_boundary(self) -> None:
        """Be anywhere between two instructions."""
        if self.is_between:
            return
        self._is_discarding = True
        for _ in range(_MOST_TRIES):
            self.vcpu.deadline = FOREVER
            self.cpu.clock.debug_stop = 0
            self._run.resume()
            if self.is_between:
                break
        self._is_discarding = False
        assert self.is_between, "the machine does not come to a boundary"

    def close(self) -> None:
        """End the machine. It has to leave the guest first, and QEMU's loop."""
        if self._is_closing:
            return
        if self.ending is None:
            self._come_to_boundary()
            self._is_discarding = True
            self.cpu.on_boundary = None
            self.vcpu.kick()
            self._run.resume()
        self._is_closing = True
        self._run.resume()
