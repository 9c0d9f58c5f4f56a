"""Rules a driver can break, and the one exception that says it did.

A rule is written down once, with its section and what the specification (or, where that
is silent, QEMU) does about it. Code raises `rule.broken("what the guest did")`; whoever
let the guest's access in catches it. Nothing here ever leaves a device model.
"""

from __future__ import annotations

from typing import ClassVar

from toyvisor.errors import GuestError

SPECIFICATION = "VIRTIO 1.2"


class VirtioError(GuestError):
    """The driver broke a rule of the VIRTIO specification."""


class Rule:
    """One rule: a stable name, where it stands, and what it says."""

    __slots__ = ("hint", "name", "section")

    #: every rule there is, by name; tests see to it that each one can fire
    catalogue: ClassVar[dict[str, Rule]] = {}

    def __init__(self, name: str, section: str, hint: str) -> None:
        self.name = name
        self.section = f"{SPECIFICATION}, {section}"
        self.hint = hint
        Rule.catalogue[name] = self

    def broken(self, message: str) -> VirtioError:
        """The exception for one breach; `message` says what the guest did."""
        return VirtioError(message, rule=self.name, section=self.section, hint=self.hint)

    def __repr__(self) -> str:
        return f"<{self.name}, {self.section}>"


# Setting up a split virtqueue -------------------------------------------------------

SIZE = Rule(
    "virtio.split.size",
    "2.7",
    "the queue size is a power of 2, at least 1, at most QueueNumMax and 32768",
)
ALIGNMENT = Rule(
    "virtio.split.alignment",
    "2.7.1",
    "the descriptor table is aligned to 16, the available ring to 2, the used ring to 4",
)
AREA_RANGE = Rule(
    "virtio.split.area-range",
    "2.7",
    "each part is contiguous guest memory: 16*N, 6+2*N and 6+8*N bytes for queue size N",
)

# Making buffers available -----------------------------------------------------------

AVAIL_JUMP = Rule(
    "virtio.split.avail-jump",
    "2.7.6.1",
    "idx only grows, by one for each chain, and at most queue-size chains are available at a "
    "time; QEMU: 'Guest moved used index'",
)
HEAD_RANGE = Rule(
    "virtio.split.head-range",
    "2.7.6",
    "each entry of the available ring is the index of a descriptor table entry; QEMU: "
    "'Guest says index ... is available'",
)
IN_FLIGHT = Rule(
    "virtio.split.in-flight",
    "2.7",
    "a queue of size N holds at most N buffers the device has not yet returned; QEMU: "
    "'Virtqueue size exceeded'",
)

# A chain of descriptors -------------------------------------------------------------

NEXT_RANGE = Rule(
    "virtio.split.next-range",
    "2.7.5",
    "next is the index of an entry of the same table; QEMU: 'Desc next is ...'",
)
CHAIN_LOOP = Rule(
    "virtio.split.chain-loop",
    "2.7.5.2",
    "a chain ends with a descriptor without NEXT; one longer than its table visits an entry "
    "twice; QEMU: 'Looped descriptor'",
)
CHAIN_LENGTH = Rule(
    "virtio.split.chain-length",
    "2.7.5.3.1",
    "a chain has at most queue-size descriptors, those in an indirect table counted",
)
CHAIN_BYTES = Rule(
    "virtio.split.chain-bytes", "2.7.5.2", "the buffers of a chain are at most 2^32 bytes in all"
)
BUFFER_ORDER = Rule(
    "virtio.split.readable-after-writable",
    "2.7.4.2",
    "all device-readable descriptors come before all device-writable ones; QEMU: "
    "'Incorrect order for descriptors'",
)
BUFFER_RANGE = Rule(
    "virtio.split.buffer-range",
    "2.7.5",
    "addr is a guest-physical address, and addr to addr+len-1 is RAM; a device can't do DMA "
    "to device registers",
)
BUFFER_EMPTY = Rule(
    "virtio.split.buffer-empty",
    "2.7.5",
    "the specification leaves open what a descriptor of length 0 would be; QEMU refuses it "
    "('zero sized buffers are not allowed'), and so does Toyvisor",
)

# Indirect tables --------------------------------------------------------------------

INDIRECT_REFUSED = Rule(
    "virtio.split.indirect-not-negotiated",
    "2.7.5.3.1",
    "INDIRECT may be set only if VIRTIO_F_INDIRECT_DESC was negotiated",
)
INDIRECT_NESTED = Rule(
    "virtio.split.indirect-nested",
    "2.7.5.3.1",
    "a descriptor in an indirect table can't have INDIRECT: one table for each chain",
)
INDIRECT_NEXT = Rule(
    "virtio.split.indirect-and-next",
    "2.7.5.3.1",
    "INDIRECT and NEXT exclude each other: the chain goes on in the table and ends there",
)
INDIRECT_LENGTH = Rule(
    "virtio.split.indirect-length",
    "2.7.5.3",
    "an indirect table is len/16 descriptors: len is a multiple of 16, not 0; QEMU: "
    "'Invalid size for indirect buffer table'",
)
INDIRECT_RANGE = Rule(
    "virtio.split.indirect-range",
    "2.7.5.3",
    "the whole table is in RAM; QEMU: 'Cannot map indirect buffer'",
)
