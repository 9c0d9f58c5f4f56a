"""The experiment measured: the same packets on Linux's KVM, and the processor time they take.

The toy counts what happens; Linux shows what it costs. Each figure is a difference of two runs,
as the counts are, and the median of several. Time is the processor's (CLOCK_PROCESS_CPUTIME_ID):
all threads of this process, guest and kernel included, and no waiting. So QEMU's part is
Python's, many times slower than C; the part in KVM_RUN is the guest's and KVM's, and some two
microseconds an exit of Python around the system call.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

from toyvisor.guest.program import Program
from toyvisor.kvm.file_descriptors import VcpuFd
from toyvisor.learn.measure import run_setup
from toyvisor.learn.setups import Setup
from toyvisor.qemu.accel import AccelName
from toyvisor.qemu.machine import Machine

DEFAULT_REPEATS = 3
#: Time units from one packet that comes in to the next (host/real_time.py: 4.8 in a microsecond):
#: so much, and so much for each byte of it that has to go through a card's registers.
_PAUSE, _PAUSE_PER_BYTE = 10_000, 50


@dataclass(frozen=True, slots=True)
class Measured:
    """What one packet took on Linux's KVM: processor time in nanoseconds, and exits.

    `cpu_ns` is the median of `repeats` differences, `lowest_ns` and `highest_ns` their range.
    `kvm_run_ns` is the part of it that the vCPU's thread spent in KVM_RUN: the guest and KVM.
    `exits` are all that KVM counted, None if this kernel does not tell.
    """

    repeats: int
    cpu_ns: float
    lowest_ns: float
    highest_ns: float
    kvm_run_ns: float
    userspace_returns: float
    exits: float | None

    def to_json(self) -> dict[str, Any]:
        """Every figure by its name."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(slots=True)
class _Run:
    """One run's totals."""

    cpu_ns: int = 0
    kvm_run_ns: int = 0
    userspace_returns: int = 0
    exits: int | None = None


class _TimedVcpu:
    """A vCPU with a watch: how long its thread is in KVM_RUN, in processor time."""

    def __init__(self, vcpu: VcpuFd) -> None:
        self._vcpu = vcpu
        self.in_kvm_run = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._vcpu, name)

    def run(self) -> None:
        """KVM_RUN."""
        begin = time.thread_time_ns()
        self._vcpu.run()
        self.in_kvm_run += time.thread_time_ns() - begin


def measure_on_linux(
    setup: Setup,
    program: Program,
    batch: int | None,
    first: Sequence[bytes],
    frames: Sequence[bytes],
    repeats: int = DEFAULT_REPEATS,
) -> Measured:
    """What each of `frames` after the `first` takes. Raises MachineError without /dev/kvm."""
    packets = len(frames) - len(first)
    pairs = [
        (_run(setup, program, batch, first), _run(setup, program, batch, frames))
        for _ in range(repeats)
    ]
    cpu = [(full.cpu_ns - empty.cpu_ns) / packets for empty, full in pairs]
    in_kvm = [(full.kvm_run_ns - empty.kvm_run_ns) / packets for empty, full in pairs]
    returns = [
        (full.userspace_returns - empty.userspace_returns) / packets for empty, full in pairs
    ]
    exits = [
        (full.exits - empty.exits) / packets
        for empty, full in pairs
        if full.exits is not None and empty.exits is not None
    ]
    return Measured(
        repeats, median(cpu), min(cpu), max(cpu), median(in_kvm), median(returns),
        median(exits) if exits else None,
    )  # fmt: skip


def _run(setup: Setup, program: Program, batch: int | None, frames: Sequence[bytes]) -> _Run:
    found = _Run()

    @contextmanager
    def watch(machine: Machine) -> Iterator[None]:
        timed = _TimedVcpu(machine.vcpu)
        machine.vcpu = timed
        begin = time.process_time_ns()
        yield
        found.cpu_ns = time.process_time_ns() - begin
        found.kvm_run_ns = timed.in_kvm_run

    size = len(frames[0]) if frames else 0
    pause = _PAUSE + (0 if setup.program.startswith("virtio") else size * _PAUSE_PER_BYTE)
    result = run_setup(setup, program, batch, frames, accel=AccelName.KVM, pause=pause, watch=watch)
    found.userspace_returns = result.userspace_exits
    found.exits = result.total_exits if result.kvm_stats is not None else None
    return found
