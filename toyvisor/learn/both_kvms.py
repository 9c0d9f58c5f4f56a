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
    OUTCOME,
    RECEIVED,
    REGISTERS,
    SENT,
    Difference,
    known,
)
from toyvisor.modes import RFLAGS_RF
from toyvisor.qemu.accel import AccelName, Limits
from toyvisor.qemu.exit_log import ExitEntry, LoggedVcpu
from toyvisor.qemu.machine import Machine
from toyvisor.qemu.result import RunResult, collect
from toyvisor.qemu.vcpu_thread import Outcome

_OF_THE_TOY_ONLY = ("pic.", "cpu.")


class Side(NamedTuple):
    """One of the two runs. `seconds`: from the first entry to the last exit."""

    result: RunResult
    exits: list[ExitEntry]
    seconds: float


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
) -> Comparison:
    """Run a program on the toy and on Linux's KVM, each with a network and a console of its own.

    Raises MachineError where there is no Linux's KVM.
    """
    from toyvisor.kvm.linux import is_software

    toy = _run(program, AccelName.TOY, net(), console(), options, limits)
    linux = _run(program, AccelName.KVM, net(), console(), options, limits)
    return Comparison(
        program.name, toy, linux, _facts(toy, linux), known(program.name, software=is_software())
    )


def _run(
    program: Program,
    accel: AccelName,
    net: NetBackend,
    console: Console,
    options: Mapping[str, Mapping[str, Any]] | None,
    limits: Limits,
) -> Side:
    with net, Machine(program, net, console=console, options=options, accel=accel) as machine:
        log = LoggedVcpu(machine.vcpu)
        machine.vcpu = log
        begin = time.perf_counter()
        ending = machine.run(limits.instructions, limits.seconds)
        seconds = time.perf_counter() - begin
        return Side(collect(machine, ending), log.entries, seconds)


def _facts(toy: Side, linux: Side) -> list[Fact]:
    one, other = toy.result, linux.result
    facts = [
        _exits(toy, linux),
        _fact(OUTCOME, one.outcome, other.outcome),
        _fact(CONSOLE, one.console, other.console),
        _fact(SENT, one.sent, other.sent),
        _fact(RECEIVED, one.received, other.received),
        _fact(GUEST_ERRORS, _errors(one), _errors(other)),
    ]
    if not one.outcome == other.outcome == Outcome.BUDGET:
        facts.append(_registers(one, other))
    return facts


def _exits(toy: Side, linux: Side) -> Fact:
    """All of them; as many as there are in both, of guests whose time was up."""
    first = _first_difference(toy.exits, linux.exits)
    if toy.result.outcome is linux.result.outcome is Outcome.BUDGET:
        shorter = min(len(toy.exits), len(linux.exits))
        first = first if first is not None and first < shorter else None
    counts = f"{len(toy.exits):,}", f"{len(linux.exits):,}"
    return Fact(EXITS, *counts, first is None)


def _first_difference(one: list[ExitEntry], other: list[ExitEntry]) -> int | None:
    for number, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return number
    return None if len(one) == len(other) else min(len(one), len(other))


def _fact(name: str, toy: Any, linux: Any) -> Fact:
    return Fact(name, _in_words(name, toy), _in_words(name, linux), toy == linux)


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
