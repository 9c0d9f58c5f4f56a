"""The session: a recorded run, and one place in it where we stand.

A person's view of a timeline: steps of all sizes in both directions, breakpoints, and a look at
everything as it was at that moment. The stepper, the prompt, gdb's stub and the exercises are
views of one of these. Nothing that a session does changes what the guest does, or what is
counted: but for set_register() and write_memory(), and those begin a branch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from toyvisor.cpu.registers import GENERAL
from toyvisor.debug import event_steps, instruction_steps, line_steps
from toyvisor.debug.breakpoint_list import BreakpointList
from toyvisor.debug.breakpoints import Breakpoint, BreakpointKind
from toyvisor.debug.looking import Looking
from toyvisor.debug.moment import Moment, Stop, StopReason, Unit
from toyvisor.debug.running import Hit, Runner, run_until
from toyvisor.debug.timeline import InterruptedRun, RecordingFull, Timeline
from toyvisor.errors import UsageError
from toyvisor.guest.program import Program
from toyvisor.host.console import Console
from toyvisor.host.net import NetBackend
from toyvisor.memory import PAGE_SIZE
from toyvisor.qemu.accel import DEFAULT_BUDGET
from toyvisor.qemu.machine import Machine


class Session(Looking):
    """A run under the debugger. To be made and used in one thread.

    Raises what Machine raises; UsageError for a network or a console of the real world, which
    would not be the same when it is run again.
    """

    def __init__(
        self,
        program: Program,
        net: NetBackend | None = None,
        *,
        options: Mapping[str, Mapping[str, Any]] | None = None,
        console_input: bytes | None = None,
        registers: Mapping[str, int] | None = None,
        max_instructions: int = DEFAULT_BUDGET,
    ) -> None:
        if net is not None and net.real_files:
            raise UsageError(
                "a real network can't be stepped back through", hint="--net pcap:IN, instead"
            )

        def build() -> Machine:
            return Machine(
                program, net, trace=True, registers=registers, options=options,
                console=_console(console_input),
            )  # fmt: skip

        super().__init__(program, Timeline(build, max_instructions))
        self._breakpoints = BreakpointList(self)
        self._met_on_the_way: Breakpoint | None = None
        #: Why we stand here.
        self.stop = Stop(StopReason.START, "the guest is about to execute its first instruction")

    def close(self) -> None:
        """End the machine."""
        self._timeline.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    @property
    def should_stop(self) -> Callable[[], bool] | None:
        """Asked every few milliseconds while the guest runs; True ends the movement."""
        return self._timeline.should_stop

    @should_stop.setter
    def should_stop(self, ask: Callable[[], bool] | None) -> None:
        self._timeline.should_stop = ask

    # Moving -------------------------------------------------------------------------------

    def step(
        self, unit: Unit = Unit.INSTRUCTION, count: int = 1, *, device: str | None = None
    ) -> Stop:
        """`count` steps forward. A `device` is for Unit.DEVICE: None is any."""
        step = self._forward(unit, self._device(unit, device))
        return self._move(lambda: self._repeat(step, count, f"stepped: {_words(unit, count)}"))

    def step_back(
        self, unit: Unit = Unit.INSTRUCTION, count: int = 1, *, device: str | None = None
    ) -> Stop:
        """`count` steps back."""
        step = self._backward(unit, self._device(unit, device))
        return self._move(lambda: self._repeat(step, count, f"stepped back: {_words(unit, count)}"))

    def run(self) -> Stop:
        """To the next breakpoint, or the end."""
        return self._move(lambda: self._hit(self._runner().run()))

    def run_back(self) -> Stop:
        """To the last breakpoint before here, or the start."""
        return self._move(lambda: self._hit(self._runner().run_back()))

    def run_to(self, place: str) -> Stop:
        """Until the guest is about to execute the instruction at a place."""
        return self._move(lambda: self._hit(self._runner(self._temporary(place)).run(), place))

    def run_back_to(self, place: str) -> Stop:
        """To the last time before here that it was."""
        return self._move(lambda: self._hit(self._runner(self._temporary(place)).run_back(), place))

    def run_until(self, condition: str) -> Stop:
        """Until an expression is true; looked at behind every instruction."""
        expression = self.parse(condition)
        names = self.names()
        expression.check(names)

        def run() -> Stop | None:
            if run_until(self._timeline, lambda: expression.holds(names)):
                return Stop(StopReason.REACHED, f"{condition} is true")
            return None

        return self._move(run)

    def go_to(self, moment: Moment) -> Stop:
        """Be at a moment of the recording, or the nearest there is; or run on to it."""
        return self._move(lambda: self._there(moment))

    def go_to_instruction(self, number: int) -> Stop:
        """Before the instruction of that number is executed; the first is number 0."""
        if number < 0:
            raise UsageError("instructions are numbered from 0")
        return self.go_to(Moment(number, 0, 0, between=True))

    def go_to_event(self, number: int) -> Stop:
        """Right behind an event; if it is not recorded yet, the guest runs until it is."""
        if number < 0:
            raise UsageError("events are numbered from 0")
        return self._move(lambda: self._to_event(number))

    def go_to_start(self) -> Stop:
        """To the first instruction."""
        return self.go_to(self.start)

    def go_to_end(self) -> Stop:
        """To where the run is over; the guest runs on if that is not recorded yet."""
        return self._move(self._to_end)

    def _move(self, move: Callable[[], Stop | None]) -> Stop:
        """Do it, and say why it ended where it did."""
        try:
            stop = move()
        except InterruptedRun:
            stop = Stop(StopReason.INTERRUPTED, "stopped while the guest ran")
        except RecordingFull:
            stop = Stop(StopReason.FULL, "the recording is full: the run can't be followed further")
        self.stop = stop if stop is not None else self._border()
        return self.stop

    def _border(self) -> Stop:
        if self.at_start:
            return Stop(StopReason.START, "this is where the recording begins")
        ending = self.ending
        assert ending is not None
        return Stop(StopReason.END, f"the run is over: {ending.outcome}: {ending.explanation}")

    def _repeat(self, step: Callable[[], bool], count: int, text: str) -> Stop | None:
        for _ in range(count):
            if not step():
                return None
            if (met := self._met_on_the_way) is not None:
                self._met_on_the_way = None
                met.hits += 1
                return self._hit(Hit(met, self.moment))
        return Stop(StopReason.STEP, text)

    def _is_met_on_the_way(self) -> bool:
        """Whether a breakpoint ends a step over or out, before it has come to its end."""
        self._met_on_the_way = self._breakpoints.met_here()
        return self._met_on_the_way is not None

    def _there(self, moment: Moment) -> Stop | None:
        self._timeline.go_to(moment)
        if self.at_start or self.at_end:
            return None
        return Stop(StopReason.REACHED, f"instruction {self.moment.instructions}")

    def _to_event(self, number: int) -> Stop | None:
        timeline = self._timeline
        if number >= len(timeline.events):
            timeline.go_to(timeline.frontier)
        while number >= len(timeline.events):
            if not event_steps.step_event(timeline):
                return None
        timeline.go_to(timeline.events.moment(number))
        return None if self.at_start else Stop(StopReason.REACHED, f"event {number}")

    def _to_end(self) -> Stop | None:
        self._timeline.go_to_end()
        return None

    def _forward(self, unit: Unit, device: str | None) -> Callable[[], bool]:
        timeline, line_of = self._timeline, self.places.line_key
        match unit:
            case Unit.INSTRUCTION:
                return lambda: instruction_steps.step_instruction(timeline)
            case Unit.LINE:
                return lambda: line_steps.step_line(timeline, line_of)
            case Unit.OVER:
                stops = line_steps.Stops(self._breakpoints.addresses, self._is_met_on_the_way)
                return lambda: line_steps.step_over(timeline, line_of, stops)
            case Unit.OUT:
                stops = line_steps.Stops(self._breakpoints.addresses, self._is_met_on_the_way)
                return lambda: line_steps.step_out(timeline, stops)
            case Unit.EVENT:
                return lambda: event_steps.step_event(timeline)
        return lambda: event_steps.step_to(timeline, event_steps.wanted(unit, device))

    def _backward(self, unit: Unit, device: str | None) -> Callable[[], bool]:
        timeline, line_of = self._timeline, self.places.line_key
        match unit:
            case Unit.INSTRUCTION:
                return lambda: instruction_steps.step_back_instruction(timeline)
            case Unit.LINE:
                return lambda: line_steps.step_back_line(timeline, line_of)
            case Unit.OVER:
                return lambda: line_steps.step_back_over(timeline, line_of)
            case Unit.OUT:
                return lambda: line_steps.step_back_out(timeline)
            case Unit.EVENT:
                return lambda: event_steps.step_back_event(timeline)
        return lambda: event_steps.step_back_to(timeline, event_steps.wanted(unit, device))

    def _device(self, unit: Unit, device: str | None) -> str | None:
        if device is None or unit is not Unit.DEVICE:
            return None
        known = [*self.machine.devices, *(d.type for d in self.program.spec.devices)]
        if device not in known:
            raise UsageError(
                f"there is no device {device}",
                hint=f"there is {', '.join(dict.fromkeys(known)) or 'none'}",
            )
        return device

    # Breakpoints --------------------------------------------------------------------------

    @property
    def breakpoints(self) -> list[Breakpoint]:
        """All of them, in the order they were made."""
        return self._breakpoints.all

    def break_at(
        self,
        place: str,
        *,
        condition: str | None = None,
        temporary: bool = False,
        ignore: int = 0,
    ) -> Breakpoint:
        """Stop before the instruction at a place, if the condition is true then."""
        return self._breakpoints.break_at(
            place, condition=condition, temporary=temporary, ignore=ignore
        )

    def watch(self, what: str, *, condition: str | None = None) -> Breakpoint:
        """Stop behind an instruction that changes something (BreakpointList.watch)."""
        return self._breakpoints.watch(what, condition=condition)

    def delete(self, number: int) -> Breakpoint:
        """Remove a breakpoint. Raises UsageError if there is none of that number."""
        return self._breakpoints.delete(number)

    def _temporary(self, place: str) -> Breakpoint:
        return Breakpoint(0, BreakpointKind.ADDRESS, place, self.places.resolve(place))

    def _runner(self, *more: Breakpoint) -> Runner:
        return Runner(self._timeline, [*more, *self.breakpoints], self._breakpoints)

    def _hit(self, hit: Hit | None, place: str | None = None) -> Stop | None:
        if hit is None:
            return None
        breakpoint = hit.breakpoint
        if not breakpoint.number:
            return Stop(StopReason.REACHED, f"{place} is reached")
        if breakpoint.temporary:
            self.breakpoints.remove(breakpoint)
        what = f"{breakpoint.kind} {breakpoint.number}: {breakpoint.text}"
        if breakpoint.kind is BreakpointKind.ADDRESS:
            return Stop(StopReason.BREAKPOINT, what, breakpoint)
        text = f"{what}: {_value(hit.before)} -> {_value(hit.now)}"
        return Stop(StopReason.WATCHPOINT, text, breakpoint)

    # What if ------------------------------------------------------------------------------

    @property
    def branch(self) -> int:
        """How many changes deep we are; 0: in the original run."""
        return self._timeline.branch

    def set_register(self, name: str, value: int) -> Stop:
        """Give a general register another value, and go another way from here on."""
        from toyvisor.debug.register_names import PARTS

        self._must_be_between("registers")
        part = PARTS.get(name.lower())
        if part is None or part.register not in GENERAL:
            raise UsageError(
                f"there is no register {name}",
                hint=f"there is {', '.join(GENERAL)}, and their parts",
            )
        if not 0 <= value < 1 << part.bits:
            raise UsageError(f"{name} has {part.bits} bits: {value:#x} does not fit")

        def change(machine: Machine) -> None:
            regs = machine.vcpu.get_regs()
            setattr(regs, part.register, part.put_into(getattr(regs, part.register), value))
            machine.vcpu.set_regs(regs)

        return self._change(change, f"{name} = {value:#x}")

    def write_memory(self, address: int, data: bytes, *, linear: bool = False) -> Stop:
        """Write to RAM, and go another way from here on. Raises GuestMemoryError."""
        self._must_be_between("memory")
        self.read_memory(address, len(data), linear=linear)

        def change(machine: Machine) -> None:
            view = self.vcpu.cpu.view
            at = 0
            while at < len(data):
                where = view.translate(address + at) if linear else address + at
                assert where is not None
                size = min(len(data) - at, PAGE_SIZE - where % PAGE_SIZE)
                machine.vm.memory.view(where, size)[:] = data[at : at + size]
                at += size
            self.vcpu.cpu.code_changed()

        return self._change(change, f"changed: {len(data)} bytes at {address:#x}")

    def leave_branch(self) -> Stop:
        """Back to the run that the last change left, to where it was left."""
        if not self.branch:
            raise UsageError("this is the original run: nothing was changed")

        def leave() -> Stop:
            self._timeline.leave_branch()
            return Stop(StopReason.REACHED, "the change is undone")

        return self._move(leave)

    def _change(self, what: Callable[[Machine], None], text: str) -> Stop:
        self._timeline.change(what)
        self.stop = Stop(StopReason.CHANGED, text)
        return self.stop

    def _must_be_between(self, what: str) -> None:
        if not self.moment.between:
            raise UsageError(
                f"inside an exit, {what} can't be changed",
                hint="step to the next instruction first",
            )


def _console(data: bytes | None) -> Console:
    if data is None:
        return Console()
    from toyvisor.host.console_input import InputBytes

    return Console(input=InputBytes(data))


def _words(unit: Unit, count: int) -> str:
    return str(unit) if count == 1 else f"{unit} x {count}"


def _value(value: object) -> str:
    if isinstance(value, int):
        return f"{value:#x}"
    if isinstance(value, bytes):
        return value.hex(" ")
    return "?"
