"""One program on both KVMs: are they the same, exit for exit?"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from toyvisor.guest.program import Program
from toyvisor.host.console import Console
from toyvisor.host.net import NetBackend
from toyvisor.learn.kvm_differences import (
    CONSOLE,
    EXITS,
    GUEST_ERRORS,
    INSTRUCTIONS,
    OUTCOME,
    RECEIVED,
    REGISTERS,
    SENT,
    TIME_WAS_UP,
    Difference,
    known,
)
from toyvisor.modes import RFLAGS_RF
from toyvisor.qemu.accel import AccelName, Limits
from toyvisor.qemu.exit_log import ExitEntry, LoggedVcpu
from toyvisor.qemu.machine import Machine
from toyvisor.qemu.result import RunResult, collect
from toyvisor.qemu.step_log import Step, SteppedVcpu, first_disagreement
from toyvisor.qemu.vcpu_thread import Outcome

_OF_THE_TOY_ONLY = ("pic.", "cpu.")


class Side(NamedTuple):
    """One of the two runs. `seconds`: from the first entry to the last exit."""

    result: RunResult
    exits: list[ExitEntry]
    seconds: float
    #: The registers behind each instruction, if it was run step by step.
    steps: list[Step] | None


class Fact(NamedTuple):
    """One thing compared, in words, and whether it is the same."""

    name: str
    toy: str
    linux: str
    same: bool


class Comparison(NamedTuple):
    """Both runs of a program, and what is known to differ on this machine's KVM."""

    program: str
    toy: Side
    linux: Side
    facts: list[Fact]
    known: list[Difference]

    @property
    def differences(self) -> list[Fact]:
        """What is not the same."""
        return [fact for fact in self.facts if not fact.same]

    @property
    def unexplained(self) -> list[Fact]:
        """Differences that nobody has named a reason for."""
        named = {fact for entry in self.known for fact in entry.facts}
        return [fact for fact in self.differences if fact.name not in named]

    @property
    def first_difference(self) -> int | None:
        """The number of the first exit that differs; None if as many as there are agree."""
        return _first_difference(self.toy.exits, self.linux.exits)


def run_on_both(
    program: Program,
    net: Callable[[], NetBackend],
    console: Callable[[], Console] = Console,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    limits: Limits = Limits(),  # noqa: B008
    *,
    single_step: bool = False,
) -> Comparison:
    """Run a program on the toy and on Linux's KVM, each with a network and a console of its own.

    `single_step`: instruction by instruction, to compare the registers behind each.
    Raises MachineError where there is no Linux's KVM.
    """
    from toyvisor.kvm.linux import is_software

    toy, linux = (
        _run(program, accel, net(), console(), options, limits, single_step=single_step)
        for accel in (AccelName.TOY, AccelName.KVM)
    )
    interrupts = any(device.type == "pic" for device in program.spec.devices)
    named = known(program.name, software=is_software(), interrupts=single_step and interrupts)
    if toy.result.outcome is Outcome.BUDGET is not linux.result.outcome:
        named = [*named, TIME_WAS_UP]
    return Comparison(program.name, toy, linux, _facts(toy, linux), named)


def _run(
    program: Program,
    accel: AccelName,
    net: NetBackend,
    console: Console,
    options: Mapping[str, Mapping[str, Any]] | None,
    limits: Limits,
    *,
    single_step: bool,
) -> Side:
    with net, Machine(program, net, console=console, options=options, accel=accel) as machine:
        stepped = SteppedVcpu(machine.vcpu, machine.ram) if single_step else None
        log = stepped if stepped is not None else LoggedVcpu(machine.vcpu)
        machine.vcpu = log
        begin = time.perf_counter()
        ending = machine.run(limits.instructions, limits.seconds)
        seconds = time.perf_counter() - begin
        steps = stepped.steps if stepped is not None else None
        return Side(collect(machine, ending), log.entries, seconds, steps)


def _facts(toy: Side, linux: Side) -> list[Fact]:
    one, other = toy.result, linux.result
    unfinished = one.outcome is Outcome.BUDGET
    facts = [
        _exits(toy, linux),
        _fact(OUTCOME, one.outcome, other.outcome),
        *(
            _fact(name, *values, unfinished=unfinished)
            for name, *values in (
                (CONSOLE, one.console, other.console),
                (SENT, one.sent, other.sent),
                (RECEIVED, one.received, other.received),
                (GUEST_ERRORS, _errors(one), _errors(other)),
            )
        ),
    ]
    if not unfinished:
        facts.append(_registers(one, other))
    if toy.steps is not None and linux.steps is not None:
        facts.append(_steps(toy.steps, linux.steps, is_whole=one.outcome is not Outcome.BUDGET))
    return facts


def _steps(toy: list[Step], linux: list[Step], *, is_whole: bool) -> Fact:
    """Each of Linux's must be one of the toy's; as far as the toy came, if its time was up."""
    first = first_disagreement(toy, linux)
    if first is not None and not is_whole and first >= len(toy) - 1:
        first = None
    return Fact(INSTRUCTIONS, f"{len(toy):,}", f"{len(linux):,}", first is None)


def _exits(toy: Side, linux: Side) -> Fact:
    """All of them; as many as there are in both, of guests whose time was up."""
    first = _first_difference(toy.exits, linux.exits)
    if toy.result.outcome is Outcome.BUDGET:
        shorter = min(len(toy.exits), len(linux.exits))
        first = first if first is not None and first < shorter else None
    counts = f"{len(toy.exits):,}", f"{len(linux.exits):,}"
    return Fact(EXITS, *counts, first is None)


def _first_difference(one: list[ExitEntry], other: list[ExitEntry]) -> int | None:
    for number, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return number
    return None if len(one) == len(other) else min(len(one), len(other))


def _fact(name: str, toy: Any, linux: Any, *, unfinished: bool = False) -> Fact:
    """The two are equal; of guests whose time was up, as far as both have come."""
    words = _in_words(name, toy), _in_words(name, linux)
    if unfinished:
        shorter = min(len(toy), len(linux))
        toy, linux = toy[:shorter], linux[:shorter]
    return Fact(name, *words, toy == linux)


def _in_words(name: str, value: Any) -> str:
    if name == CONSOLE:
        return f"{len(value.encode())} bytes"
    return value if isinstance(value, str) else f"{len(value):,}"


def _errors(result: RunResult) -> list[tuple[str, str]]:
    """Those that QEMU's devices noticed."""
    return [
        (mistake.device, mistake.rule)
        for mistake in result.mistakes
        if not mistake.rule.startswith(_OF_THE_TOY_ONLY)
    ]


def _registers(toy: RunResult, linux: RunResult) -> Fact:
    """In words, those that differ."""
    one, other = ({**result.registers} for result in (toy, linux))
    for registers in (one, other):
        registers["rflags"] &= ~RFLAGS_RF
    differ = [name for name in one if one[name] != other[name]]
    if not differ:
        return Fact(REGISTERS, f"{len(one)}", f"{len(other)}", True)
    if len(differ) > 1:
        differ = [*differ[:1], f"and {len(differ) - 1} more"]
    return Fact(REGISTERS, _some(one, differ), _some(other, differ), False)


def _some(registers: dict[str, int], names: list[str]) -> str:
    return ", ".join(
        f"{name} {registers[name]:#x}" if name in registers else name for name in names
    )
