"""The ladder: one card, then virtio, then one short cut of the kernel's after the other.

And at its top one step back: what event indices are good for shows where two work at once.
From rung to rung one thing changes, so what is counted differently is due to that. A driver
that has to wait sleeps until it is interrupted (one that looked again and again would, on a host
with one processor, keep from working those whom it waits for). One whose device has done its
work during the kick need not wait.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from toyvisor.learn.setups import FULL, PARA, SETUPS, Pattern, Rung, Setup


class _Way(NamedTuple):
    """How a rung is climbed: with which card, and what is chosen in program and machine."""

    rung: Rung
    card: str
    symbols: Mapping[str, int]
    options: Mapping[str, Mapping[str, Any]]


_EVENT_IDX = {"EVENT_IDX": 1}
_NOTHING = {"virtio-net": {"ioeventfd": False, "irqfd": False, "vhost": False}}
_EVENTFDS = {"virtio-net": {"ioeventfd": True, "irqfd": True, "vhost": False}}
_VHOST = {"virtio-net": {"ioeventfd": True, "irqfd": True, "vhost": True}}

LADDER: tuple[_Way, ...] = (
    _Way(
        Rung("mmio-nic", "mmio-nic", "A card whose data goes through its registers.", ()),
        "mmio-nic",
        {},
        {},
    ),
    _Way(
        Rung(
            "virtio-net",
            "A ring instead of registers",
            "The driver says where in RAM a packet is; QEMU, which has that RAM mapped, fetches "
            "or puts it there itself.",
            ("exits", "copies", "bytes_copied"),
        ),
        "virtio-net",
        {},
        _NOTHING,
    ),
    _Way(
        Rung(
            "+ EVENT_IDX",
            "Suppression",
            "With VIRTIO_F_EVENT_IDX each side tells the other by an index when it wants to hear "
            "of something; without it, by a flag that says yes or no.",
            ("exits", "interrupts", "suppressed"),
        ),
        "virtio-net",
        _EVENT_IDX,
        _NOTHING,
    ),
    _Way(
        Rung(
            "+ ioeventfd/irqfd",
            "Past the vCPU's thread",
            "The same guest program. A kick ends in KVM, which signals an eventfd; the driver goes "
            "on, and QEMU's main loop works on the queue instead of the vCPU's thread. QEMU "
            "interrupts by an eventfd instead of KVM_IRQ_LINE.",
            ("exits", "userspace_returns", "context_switches", "syscalls"),
        ),
        "virtio-net",
        _EVENT_IDX,
        _EVENTFDS,
    ),
    _Way(
        Rung(
            "+ vhost",
            "Past QEMU",
            "The same guest program. A thread of the host's kernel works on the queues; QEMU sees "
            "no packet.",
            ("syscalls", "copies", "bytes_copied", "context_switches"),
        ),
        "virtio-net",
        _EVENT_IDX,
        _VHOST,
    ),
    _Way(
        Rung(
            "- EVENT_IDX",
            "Suppression, where two work at once",
            "As the row before, but by flags again. Whoever has been told and has not yet come to "
            "work can't take back a flag that asks to be told; an index speaks of one entry of the "
            "ring, and not of the next.",
            ("exits", "interrupts", "suppressed"),
        ),
        "virtio-net",
        {},
        _VHOST,
    ),
)

#: Guest programs by pattern and card.
PROGRAMS: Mapping[tuple[Pattern, str], str] = {
    (Pattern.TRANSMIT, "mmio-nic"): "mmio_nic_tx",
    (Pattern.TRANSMIT, "virtio-net"): "virtio_net_tx_sleep",
    (Pattern.RECEIVE, "mmio-nic"): "mmio_nic_rx",
    (Pattern.RECEIVE, "virtio-net"): "virtio_net_rx",
    (Pattern.REQUEST, "mmio-nic"): "mmio_nic_echo",
    (Pattern.REQUEST, "virtio-net"): "virtio_net_echo",
}
_KINDS = {"mmio-nic": FULL, "virtio-net": PARA}
_WHY = {
    "mmio-nic": "its driver carries the frame through the registers, and every access is an exit",
    "virtio-net": "its driver finds its frames in RAM, and its exits are about who hears of what",
}


def rungs(pattern: Pattern) -> tuple[Setup, ...]:
    """The ladder for one pattern, from the bottom up."""
    return tuple(_setup(pattern, way) for way in LADDER)


def setups_of(patterns: Iterable[Pattern]) -> tuple[Setup, ...]:
    """Everything there is to compare for these patterns; each pattern once."""
    found: list[Setup] = []
    for pattern in dict.fromkeys(patterns):
        if pattern is Pattern.TRANSMIT:
            found += SETUPS
        found += rungs(pattern)
    return tuple(found)


def _setup(pattern: Pattern, way: _Way) -> Setup:
    in_batches = (pattern, way.card) == (Pattern.TRANSMIT, "virtio-net")
    return Setup(
        way.rung.name,
        _KINDS[way.card],
        PROGRAMS[pattern, way.card],
        _WHY[way.card],
        batch_register="r12" if in_batches else None,
        largest_batch="MOST" if in_batches else None,
        symbols=way.symbols,
        pattern=pattern,
        options=way.options,
        tally=("r13", "r14") if pattern is Pattern.RECEIVE else None,
        rung=way.rung,
    )
