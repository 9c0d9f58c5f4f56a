"""One run of a setup, checked: the frames sent are the frames given, or it is an error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from toyvisor.errors import ToyvisorError
from toyvisor.guest.program import Program, load_program
from toyvisor.host.net import NetBackend
from toyvisor.learn.counts import Counts, Hops, counts_of
from toyvisor.learn.setups import Setup
from toyvisor.memory import PAGE_SIZE
from toyvisor.qemu.frame_table import FRAME_TABLE_END
from toyvisor.qemu.machine import Machine
from toyvisor.qemu.result import RunResult, collect
from toyvisor.qemu.vcpu_thread import Outcome

#: Guest instructions a run may take: for the set-up, for a packet, for each of its bytes.
#: Many times what the slowest driver takes; a driver that hangs ends here.
_BUDGET, _PER_PACKET, _PER_BYTE = 1_000_000, 10_000, 50
_FRAME_ALIGNMENT = 16


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

    Raises ExperimentError unless the guest halted, broke no rule of a device, and sent
    exactly `frames`, in order.
    """
    registers = {}
    if setup.batch_register is not None and batch is not None:
        registers[setup.batch_register] = batch
    size = sum(len(frame) for frame in frames)
    budget = _BUDGET + len(frames) * _PER_PACKET + size * _PER_BYTE
    with Machine(_roomy(program, frames), NetBackend(frames), registers=registers) as machine:
        result = collect(machine, machine.run(budget))
    _check(setup, batch, frames, result)
    return Measurement(counts_of(result), result.copies_by_hop)


def _roomy(program: Program, frames: Sequence[bytes]) -> Program:
    """The program, with a machine that has the memory its frames take."""
    below = max(program.assembly.origin + len(program.assembly.image), FRAME_TABLE_END)
    needed = below + sum(len(frame) + _FRAME_ALIGNMENT for frame in frames)
    memory = -(-needed // PAGE_SIZE) * PAGE_SIZE
    if memory <= program.spec.memory:
        return program
    return program._replace(spec=program.spec._replace(memory=memory))


def _check(setup: Setup, batch: int | None, frames: Sequence[bytes], result: RunResult) -> None:
    what = setup.name if batch is None else f"{setup.name} with batch {batch}"
    if result.outcome is not Outcome.HALTED:
        raise ExperimentError(
            f"{what}: the run did not end well: {result.explanation} at {result.location}"
        )
    if result.mistakes_count:
        raise ExperimentError(f"{what}: {result.mistakes[0]}")
    if result.sent != list(frames):
        raise ExperimentError(f"{what}: {_difference(frames, result.sent)}")


def _difference(given: Sequence[bytes], sent: Sequence[bytes]) -> str:
    if len(given) != len(sent):
        return f"{len(given)} frames were given, {len(sent)} were sent"
    first = next(i for i, pair in enumerate(zip(given, sent, strict=True)) if pair[0] != pair[1])
    return f"frame {first} was sent with other bytes than it was given"
