"""What the counts of a run would cost on real hardware: an estimate, not a measurement.

The cost of a packet is the sum, over the entries of a table, of how often a thing happened
(counted) times what it costs once (a figure of the table, with its source). `costs.toml`
beside this file is the table that is shipped; `cost_file.py` reads it and changes to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from toyvisor.learn.counts import Counts


@dataclass(frozen=True, slots=True)
class Entry:
    """One kind of cost: what it is, the count it multiplies, and the share it belongs to."""

    key: str
    meaning: str
    quantity: str
    share: str


#: The shares that the estimated cost is broken up into, in the order they are shown.
SHARES = (
    "exits",
    "system calls",
    "copies",
    "ring accesses",
    "guest instructions",
    "context switches",
    "interrupts",
)

#: The terms of the sum. A further one is a further entry here, its figure in costs.toml, and
#: its count in `Counts`.
ENTRIES: tuple[Entry, ...] = (
    Entry("guest_instruction", "one guest instruction", "instructions", "guest instructions"),
    Entry("vmexit", "out of the guest, KVM's handler, and in again", "exits", "exits"),
    Entry("mmio_emulation", "KVM decodes and emulates one MMIO access", "mmio_exits", "exits"),
    Entry(
        "userspace_return",
        "KVM_RUN returns, QEMU finds the device, KVM_RUN again",
        "userspace_returns",
        "exits",
    ),
    Entry("copy", "beginning one copy, of any length", "copies", "copies"),
    Entry("copied_byte", "each byte of a copy", "bytes_copied", "copies"),
    Entry("syscall", "one system call of QEMU, without what it does", "syscalls", "system calls"),
    Entry("ring_access", "one load or store of the device on a ring", "ring_accesses",
          "ring accesses"),
    Entry("context_switch", "another thread of the host gets the processor", "context_switches",
          "context switches"),
    Entry("interrupt", "KVM injects an interrupt, the guest's handler begins and returns",
          "interrupts", "interrupts"),
)  # fmt: skip

KEYS: tuple[str, ...] = tuple(entry.key for entry in ENTRIES)


@dataclass(frozen=True, slots=True)
class Cost:
    """One figure of the table.

    `basis` is how it is known (measured, derived, published, assumed, yours), `source` who says so.
    """

    cycles: float
    basis: str
    source: str


@dataclass(frozen=True, slots=True)
class Estimate:
    """Cycles of one packet, by entry of the cost table."""

    by_entry: Mapping[str, float]
    total: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "total", sum(self.by_entry.values()))

    def by_share(self) -> dict[str, float]:
        """Cycles of each of `SHARES`."""
        shares = dict.fromkeys(SHARES, 0.0)
        for entry in ENTRIES:
            shares[entry.share] += self.by_entry[entry.key]
        return shares

    def fractions(self) -> dict[str, float]:
        """Each share as a part of 1; all 0 if the whole costs nothing."""
        return {
            name: cycles / self.total if self.total else 0.0
            for name, cycles in self.by_share().items()
        }


@dataclass(frozen=True, slots=True)
class CostTable:
    """A cost for each of `ENTRIES`."""

    costs: Mapping[str, Cost]

    def __getitem__(self, key: str) -> Cost:
        return self.costs[key]

    def changed(self, costs: Mapping[str, Cost]) -> CostTable:
        """This table with some costs replaced."""
        return CostTable({**self.costs, **costs})

    def estimate(self, counts: Counts, packets: int) -> Estimate:
        """The cost of one packet, if `packets` of them came to these counts together."""
        return Estimate(
            {
                entry.key: getattr(counts, entry.quantity) / packets * self.costs[entry.key].cycles
                for entry in ENTRIES
            }
        )
