"""The ways of sending a packet that are compared. This list is data: one entry, one way.

To compare something more (an e1000 with DMA, EVENT_IDX, an ioeventfd, vhost), write its
guest program and add an entry to `SETUPS`; runs, table, plots, words and exports take it
from there. An option of a program that is assembled in goes into `symbols` (for example
`{"STORE_WIDTH": 8}`, an mmio-nic driver with wider stores).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

FULL = "full virtualization"
PARA = "para-virtualization"


@dataclass(frozen=True, slots=True)
class Setup:
    """One way of sending: a device, and the guest program that drives it.

    `program` sends the frames of the frame table in order, then halts. `why` says what its
    exits are, as a clause. `batch_register` is the register it takes its batch from (packets
    for one doorbell), None if a batch does not apply; `largest_batch` names the program's
    symbol for the most it takes.
    """

    name: str
    kind: str
    program: str
    why: str
    batch_register: str | None = None
    largest_batch: str | None = None
    symbols: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))


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

#: What `toyvisor compare` runs, in the order of the table.
SETUPS: tuple[Setup, ...] = (MMIO_NIC, VIRTIO_NET)
