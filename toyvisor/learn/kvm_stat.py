"""How often the guest left and what that would cost, by exit reason: `perf kvm stat report`.

perf measures from kvm_exit to kvm_entry. Here no real time passes in between, so the time is
what the steps of the exit would cost by the cost table: an estimate, as in the experiment. The
device's accesses to virtqueues are no events, so they are not in it, nor is the guest's sleep
in HLT, which perf has.

Linux: tools/perf/builtin-kvm.c (what is counted), tools/perf/util/stat.c (mean and deviation).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import sqrt
from typing import Any

from toyvisor.exit_reasons import ExitReason
from toyvisor.learn.cost_model import CostTable

Event = dict[str, Any]

#: The table has cycles; a round figure for a processor of its time and of ours.
GIGAHERTZ = 3.0

_MMIO = (ExitReason.EPT_VIOLATION, ExitReason.EPT_MISCONFIG)
_REASONS = {int(reason): reason.name for reason in ExitReason}


@dataclass(slots=True)
class ExitTimes:
    """The exits with one reason. Times are in cycles."""

    reason: str
    samples: int = 0
    total: float = 0.0
    shortest: float = 0.0
    longest: float = 0.0
    #: perf's update_stats(): the mean so far, and the sum of squared distances from it
    mean: float = 0.0
    squares: float = 0.0

    def add(self, cycles: float) -> None:
        """One exit more."""
        self.shortest = cycles if not self.samples else min(self.shortest, cycles)
        self.longest = max(self.longest, cycles)
        self.samples += 1
        self.total += cycles
        distance = cycles - self.mean
        self.mean += distance / self.samples
        self.squares += distance * (cycles - self.mean)

    @property
    def relative_deviation(self) -> float:
        """The standard deviation of the mean, in percent of it (rel_stddev_stats)."""
        if self.samples < 2 or not self.mean:
            return 0.0
        variance_of_mean = self.squares / (self.samples - 1) / self.samples
        return 100.0 * sqrt(variance_of_mean) / self.mean


def exit_times(events: Iterable[Event], costs: CostTable) -> list[ExitTimes]:
    """The exits of a stream by reason, the most frequent first.

    An exit lasts until the next entry; the last one, which the guest does not come back from,
    until the end of the stream (perf leaves it out).
    """
    price = _Prices(costs)
    found: dict[str, ExitTimes] = {}
    current: ExitTimes | None = None
    cycles = 0.0
    for event in events:
        kind = event["event"]
        if kind in ("vm_exit", "vm_entry"):
            if current is not None:
                current.add(cycles)
            current, cycles = None, 0.0
        if kind == "vm_exit":
            reason = _reason(event.get("reason"))
            current = found.setdefault(reason, ExitTimes(reason))
        if current is not None:
            cycles += price.of(event)
    if current is not None:
        current.add(cycles)
    return sorted(found.values(), key=lambda times: (-times.samples, times.reason))


def microseconds(cycles: float) -> float:
    """Cycles as time."""
    return cycles / (GIGAHERTZ * 1000)


def _reason(number: object) -> str:
    name = _REASONS.get(number) if isinstance(number, int) else None
    return name or "UNKNOWN"


class _Prices:
    """What each event costs. The sum over a run is the cost model's (cost_model.py)."""

    def __init__(self, costs: CostTable) -> None:
        def cycles(key: str) -> float:
            return costs[key].cycles

        self._copy, self._byte = cycles("copy"), cycles("copied_byte")
        self._exit, self._mmio = cycles("vmexit"), cycles("mmio_emulation")
        self._syscall = cycles("syscall")
        self._others = {
            "kvm_userspace_exit": cycles("userspace_return"),
            "syscall": self._syscall,
            "sched_switch": cycles("context_switch"),
            "kvm_inj_virq": cycles("interrupt"),
            "kvm_inj_nmi": cycles("interrupt"),
        }

    def of(self, event: Event) -> float:
        """The cycles of one event."""
        kind = event["event"]
        if kind == "vm_exit":
            return self._exit + (self._mmio if event.get("reason") in _MMIO else 0.0)
        if kind == "copy":
            size = event.get("bytes")
            return self._copy + self._byte * (size if isinstance(size, int) else 0)
        if kind == "ioctl":  # KVM_RUN itself is the return to userspace
            return 0.0 if event.get("request") == "KVM_RUN" else self._syscall
        return self._others.get(kind, 0.0)
