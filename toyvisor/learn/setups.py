"""The ways of passing a packet that are compared. These lists are data: one entry, one way.

To compare something more (an e1000 with DMA, a packed ring), write its guest program and add an
entry to `SETUPS`, or a rung to `LADDER` (ladder.py); runs, table, plots, words and exports take
it from there. An option of a program that is assembled in goes into `symbols` (for example
`{"STORE_WIDTH": 8}`, an mmio-nic driver with wider stores), one of the machine into `options`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

FULL = "full virtualization"
PARA = "para-virtualization"


class Pattern(StrEnum):
    """Who sends, and when the next packet comes."""

    TRANSMIT = "transmit"  # the guest has packets and sends them
    RECEIVE = "receive"  # packets come by the clock, whatever the guest does
    REQUEST = "request"  # a packet comes, is answered, and only then the next one comes


@dataclass(frozen=True, slots=True)
class Rung:
    """A step of the ladder: the setup before it, and one thing more.

    `isolates` says what that one thing is, in sentences; `watches` are the quantities (names of
    counts) that it is about.
    """

    name: str
    title: str
    isolates: str
    watches: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Setup:
    """One way of passing packets: a device, and the guest program that drives it.

    To transmit, `program` sends the frames of the frame table in order, then halts. To receive,
    it has counted frames and their bytes in the registers `tally`, by the time that no more
    come. To answer, it sends each frame back with its addresses exchanged. `why` says what its
    exits are, as a clause. `batch_register` is the register it takes its batch from (packets for
    one doorbell), None if a batch does not apply; `largest_batch` names the program's symbol
    for the most it takes. `options` are of the machine's devices. A setup with a `rung` has a
    driver that sleeps until it is interrupted; one without looks itself.
    """

    name: str
    kind: str
    program: str
    why: str
    batch_register: str | None = None
    largest_batch: str | None = None
    symbols: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    pattern: Pattern = Pattern.TRANSMIT
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: MappingProxyType({}))
    tally: tuple[str, str] | None = None
    rung: Rung | None = None

    def batches(self, batches: Iterable[int]) -> list[int | None]:
        """Which of `batches` apply: packets for one doorbell, or that come in at once."""
        if self.batch_register is None and self.pattern is not Pattern.RECEIVE:
            return [None]
        return list(batches)

    @property
    def title(self) -> str:
        """The name, and for a rung of the ladder its pattern: several have that name."""
        return self.name if self.rung is None else f"{self.pattern}, {self.name}"


MMIO_NIC = Setup(
    "mmio-nic",
    FULL,
    "mmio_nic_tx",
    "its driver carries the frame into the card's registers, and every store is an exit",
)
VIRTIO_NET = Setup(
    "virtio-net",
    PARA,
    "virtio_net_tx_batch",
    "its driver only writes down where the frame lies in RAM, and the kick is the exit",
    batch_register="r12",
    largest_batch="MOST",
)

#: Drivers that look at the device themselves, in the order of the table.
SETUPS: tuple[Setup, ...] = (MMIO_NIC, VIRTIO_NET)
