"""One run of a setup, checked: the frames that passed are those given, or it is an error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from toyvisor.errors import ToyvisorError
from toyvisor.guest.program import Program, load_program
from toyvisor.host.net import NetBackend
from toyvisor.learn.counts import Counts, Hops, counts_of
from toyvisor.learn.frames import turned_round
from toyvisor.learn.setups import Pattern, Setup
from toyvisor.memory import PAGE_SIZE
from toyvisor.qemu.accel import AccelName
from toyvisor.qemu.frame_table import FRAME_TABLE_END
from toyvisor.qemu.machine import Arrivals, Machine
from toyvisor.qemu.result import RunResult, collect
from toyvisor.qemu.vcpu_thread import Outcome

#: Guest instructions a run may take: for the set-up, for a packet, for each of its bytes.
#: Many times what the slowest driver takes; a driver that hangs ends here.
_BUDGET, _PER_PACKET, _PER_BYTE = 1_000_000, 10_000, 50
#: On Linux's KVM, whose instructions nobody counts: again many times what the slowest takes.
_SECONDS = 60.0
_FRAME_ALIGNMENT = 16
#: Time units from one packet that comes in to the next: enough for the slowest driver to be
#: asleep again. They cost nothing, as nobody counts while the guest sleeps.
_PAUSE = 50_000


class ExperimentError(ToyvisorError):
    """A run of the experiment failed: there is no figure to show."""

    exit_status = 1


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one run counted."""

    counts: Counts
    hops: Hops


def load(setup: Setup) -> Program:
    """The setup's guest program, assembled."""
    return load_program(setup.program, symbols=setup.symbols or None)


def most_in_a_batch(setup: Setup, program: Program) -> int | None:
    """The largest batch the program takes; None if it says none."""
    if setup.largest_batch is None:
        return None
    return program.assembly.symbols.get(setup.largest_batch)


def measure(
    setup: Setup, program: Program, batch: int | None, frames: Sequence[bytes]
) -> Measurement:
    """Run a setup's program once and count.

    Raises ExperimentError unless the guest halted, broke no rule of a device, and sent,
    received or answered exactly `frames`, in order.
    """
    result = run_setup(setup, program, batch, frames)
    return Measurement(counts_of(result), result.copies_by_hop)


def run_setup(
    setup: Setup,
    program: Program,
    batch: int | None,
    frames: Sequence[bytes],
    *,
    accel: AccelName = AccelName.TOY,
    pause: int = _PAUSE,
    watch: Callable[[Machine], AbstractContextManager[object]] = nullcontext,
) -> RunResult:
    """One run, checked as measure() says. `pause`: time units between packets that come in.

    `watch` is entered around the guest's run, when the machine has been built.
    """
    registers = {}
    if setup.batch_register is not None and batch is not None:
        registers[setup.batch_register] = batch
    size = sum(len(frame) for frame in frames)
    budget = _BUDGET + len(frames) * _PER_PACKET + size * _PER_BYTE
    burst = batch if batch is not None and setup.pattern is Pattern.RECEIVE else 1
    with Machine(
        _roomy(program, frames),
        NetBackend(frames),
        registers=registers,
        options=setup.options,
        arrivals=Arrivals(burst, burst * pause),
        accel=accel,
    ) as machine:
        with watch(machine):
            ending = machine.run(budget, _SECONDS)
        result = collect(machine, ending)
    _check(setup, batch, frames, result)
    return result


def _roomy(program: Program, frames: Sequence[bytes]) -> Program:
    """The program, with a machine that has the memory its frames take."""
    if program.spec.frames != "table":
        return program
    below = max(program.assembly.origin + len(program.assembly.image), FRAME_TABLE_END)
    needed = below + sum(len(frame) + _FRAME_ALIGNMENT for frame in frames)
    memory = -(-needed // PAGE_SIZE) * PAGE_SIZE
    if memory <= program.spec.memory:
        return program
    return program._replace(spec=program.spec._replace(memory=memory))


def _check(setup: Setup, batch: int | None, frames: Sequence[bytes], result: RunResult) -> None:
    what = setup.title if batch is None else f"{setup.title} with batch {batch}"
    if result.outcome is not Outcome.HALTED:
        raise ExperimentError(
            f"{what}: the run did not end well: {result.explanation} at {result.location}"
        )
    if result.mistakes_count:
        raise ExperimentError(f"{what}: {result.mistakes[0]}")
    passed = _passed(setup, frames, result)
    if passed is not None:
        raise ExperimentError(f"{what}: {passed}")


def _passed(setup: Setup, frames: Sequence[bytes], result: RunResult) -> str | None:
    """What is wrong with the frames that went out and came in; None if nothing is."""
    match setup.pattern:
        case Pattern.TRANSMIT:
            return _difference(frames, result.sent, "sent")
        case Pattern.RECEIVE:
            return _difference(frames, result.received, "received") or _tally(setup, frames, result)
        case Pattern.REQUEST:
            answers = [turned_round(frame) for frame in frames]
            return _difference(answers, result.sent, "sent back")


def _tally(setup: Setup, frames: Sequence[bytes], result: RunResult) -> str | None:
    """A frame that QEMU or the kernel has read is not yet one that the guest has seen."""
    if setup.tally is None:
        return None
    count, size = (result.registers[name] for name in setup.tally)
    expected = len(frames), sum(len(frame) for frame in frames)
    if (count, size) == expected:
        return None
    return (
        f"{expected[0]} frames of together {expected[1]} bytes came in, the guest has counted "
        f"{count} of {size} bytes"
    )


def _difference(given: Sequence[bytes], passed: Sequence[bytes], verb: str) -> str | None:
    if len(given) != len(passed):
        return f"{len(given)} frames were given, {len(passed)} were {verb}"
    for index, (one, other) in enumerate(zip(given, passed, strict=True)):
        if one != other:
            return f"frame {index} was {verb} with other bytes than it was given"
    return None
