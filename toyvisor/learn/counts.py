"""What a run counted, as something that can be subtracted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from toyvisor.qemu.result import RunResult


@dataclass(frozen=True, slots=True)
class Counts:
    """Events of a run, or the difference of two. All are whole numbers of events or bytes.

    `instructions` are the guest's. `ring_reads` and `ring_writes` are the device's accesses
    to virtqueues (the guest's own are instructions). `syscalls` are QEMU's, without
    ioctl(KVM_RUN), which is in `userspace_returns`. `interrupts` are those KVM injected,
    `suppressed` the notifications that the driver did not want, `context_switches` those from
    one thread of the host to another; `timer_exits` are ends of time slices, and timers.
    """

    instructions: int = 0
    exits: int = 0
    mmio_exits: int = 0
    userspace_returns: int = 0
    lightweight_exits: int = 0
    copies: int = 0
    bytes_copied: int = 0
    syscalls: int = 0
    ring_reads: int = 0
    ring_writes: int = 0
    ring_bytes: int = 0
    interrupts: int = 0
    suppressed: int = 0
    context_switches: int = 0
    timer_exits: int = 0

    @property
    def ring_accesses(self) -> int:
        """The device's loads and stores on virtqueues."""
        return self.ring_reads + self.ring_writes

    def __sub__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, n) - getattr(other, n) for n in COUNTED))

    def to_json(self) -> dict[str, int]:
        """Every count by its name."""
        return {name: getattr(self, name) for name in COUNTED}


#: The names of what is counted.
COUNTED: tuple[str, ...] = tuple(one.name for one in fields(Counts))

#: hop -> (copies, bytes)
Hops = Mapping[str, tuple[int, int]]


def counts_of(result: RunResult) -> Counts:
    """The counts of one run."""
    figures: dict[str, Any] = {
        "instructions": result.instructions or 0,
        "exits": result.total_exits,
        "mmio_exits": result.exits_by_reason.get("mmio", 0),
        "userspace_returns": result.userspace_exits,
        "lightweight_exits": result.lightweight_exits,
        "copies": result.copies,
        "bytes_copied": result.bytes_copied,
        "syscalls": sum(result.syscalls.values()),
        "ring_reads": result.ring_reads,
        "ring_writes": result.ring_writes,
        "ring_bytes": result.ring_bytes,
        "interrupts": result.injected,
        "suppressed": result.suppressed,
        "context_switches": result.context_switches,
        "timer_exits": result.exits_by_reason.get("timer", 0),
    }
    return Counts(**figures)


def hop_difference(larger: Hops, smaller: Hops) -> dict[str, tuple[int, int]]:
    """Copies and bytes of each hop in `larger` beyond those in `smaller`."""
    found = {}
    for hop, (count, size) in larger.items():
        less_count, less_size = smaller.get(hop, (0, 0))
        if count != less_count or size != less_size:
            found[hop] = (count - less_count, size - less_size)
    return found
