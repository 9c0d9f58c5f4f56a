"""All that is counted, as it stood at any moment: the ledger, rolled forward by the stream."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from toyvisor.exit_reasons import ExitReason
from toyvisor.qemu.result import REASON_NAMES
from toyvisor.trace.events import (
    COPY,
    IOCTL,
    KVM_INJ_NMI,
    KVM_INJ_VIRQ,
    KVM_USERSPACE_EXIT,
    SCHED_SWITCH,
    SYSCALL,
    VHOST_SIGNAL,
    VIRTIO_NOTIFY,
    VM_EXIT,
    EventView,
)
from toyvisor.trace.ledger import Ledger

#: What sets ioeventfds, irqfds and vhost up is told, but no packet's cost: nobody counts it.
_COUNTED_IOCTL = "KVM_IRQ_LINE"
_INTERRUPTS = (KVM_INJ_VIRQ, KVM_INJ_NMI)


@dataclass(slots=True)
class Counters:
    """Exits, copies and the rest at one moment. `copies` and `syscalls` by name.

    `exits` by the names of `run --json`: mmio, io, hlt, ...
    """

    exits: dict[str, int] = field(default_factory=dict)
    userspace: int = 0
    copies: dict[str, tuple[int, int]] = field(default_factory=dict)
    syscalls: dict[str, int] = field(default_factory=dict)
    injected: int = 0
    suppressed: int = 0
    context_switches: int = 0

    @property
    def total_exits(self) -> int:
        """Vmexits of every kind."""
        return sum(self.exits.values())

    @property
    def lightweight(self) -> int:
        """Vmexits that KVM finished by itself, or has not passed on yet."""
        return self.total_exits - self.userspace

    @property
    def copy_count(self) -> int:
        """Copies over all hops."""
        return sum(count for count, _ in self.copies.values())

    @property
    def bytes_copied(self) -> int:
        """Bytes over all hops."""
        return sum(size for _, size in self.copies.values())

    @classmethod
    def of(cls, ledger: Ledger) -> Counters:
        """What a ledger says now."""
        counters = cls(
            userspace=ledger.userspace_exits,
            copies={hop.name: (hop.count, hop.bytes) for hop in ledger.hops if hop.count},
            syscalls=dict(ledger.syscalls),
            injected=ledger.injected,
            suppressed=ledger.suppressed,
            context_switches=ledger.context_switches,
        )
        for reason, count in enumerate(ledger.exits):
            if count:
                counters._exit(reason, count)
        return counters

    def copy(self) -> Counters:
        """Another one to be rolled forward."""
        return Counters(
            dict(self.exits), self.userspace, dict(self.copies), dict(self.syscalls),
            self.injected, self.suppressed, self.context_switches,
        )  # fmt: skip

    def roll_forward(self, events: Iterable[EventView]) -> Counters:
        """Count what some more events tell."""
        for event in events:
            kind, fields = event.kind, event.fields
            if kind is VM_EXIT:
                self._exit(fields["reason"], 1)
            elif kind is COPY:
                count, size = self.copies.get(fields["hop"], (0, 0))
                self.copies[fields["hop"]] = (count + 1, size + fields["bytes"])
            elif kind is KVM_USERSPACE_EXIT:
                self.userspace += 1
            elif kind is SYSCALL:
                self._syscall(fields["name"])
            elif kind is IOCTL and fields["request"] == _COUNTED_IOCTL:
                self._syscall(f"ioctl({fields['request']})")
            elif kind is SCHED_SWITCH:
                self.context_switches += 1
            elif kind in _INTERRUPTS:
                self.injected += 1
            elif kind in (VIRTIO_NOTIFY, VHOST_SIGNAL):
                self.suppressed += bool(fields["suppressed"])
        return self

    def _exit(self, reason: int, count: int) -> None:
        known = reason in ExitReason.__members__.values()
        name = REASON_NAMES.get(ExitReason(reason), str(reason)) if known else str(reason)
        self.exits[name] = self.exits.get(name, 0) + count

    def _syscall(self, name: str) -> None:
        self.syscalls[name] = self.syscalls.get(name, 0) + 1
