"""The boundary between QEMU and the host kernel.

A QEMU device leaves the machine through these calls only. Each costs a system call and,
where data crosses, a copy between user and kernel memory (copy_from_user/copy_to_user),
made and counted here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from toyvisor.trace.events import SYSCALL
from toyvisor.trace.ledger import Ledger, ReadableBuffer


class NetFile(Protocol):
    """The kernel's side of an open network file: a tap's file operations."""

    name: str

    def transmit(self, frame: bytearray) -> None:
        """Take one whole Ethernet frame (without FCS) from the kernel's buffer (skb)."""
        ...


def writev(ledger: Ledger, file: NetFile, iov: Sequence[ReadableBuffer]) -> int:
    """writev(2) on a tap: gather `iov` into one skb and hand it to the file.

    Linux: drivers/net/tun.c, tun_get_user(): the one copy is copy_from_iter() into the skb.
    Each iovec is one copy. Returns the bytes written.
    """
    total = sum(len(part) for part in iov)
    skb = bytearray(total)
    start = 0
    for part in iov:
        ledger.copy(ledger.qemu_to_host, skb, start, part)
        start += len(part)
    ledger.syscalls["writev"] = ledger.syscalls.get("writev", 0) + 1
    if ledger.trace.enabled:
        ledger.trace.emit(SYSCALL, "writev", file.name, total)
    file.transmit(skb)
    return total
