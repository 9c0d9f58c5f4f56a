"""The boundary between QEMU and the host kernel.

A QEMU device leaves the machine through these calls only. Each costs a system call and,
where data crosses, a copy between user and kernel memory (copy_from_user/copy_to_user),
made and counted here.
"""

from __future__ import annotations

from collections.abc import Sequence
from errno import EIO
from typing import Protocol

from toyvisor.trace.events import SYSCALL
from toyvisor.trace.ledger import Ledger, ReadableBuffer


class NetFile(Protocol):
    """The kernel's side of an open network file: a tap's file operations."""

    name: str

    def transmit(self, frame: bytearray) -> None:
        """Take one whole Ethernet frame (without FCS) from the kernel's buffer (skb).

        Raises OSError where the kernel's function would return a negative errno.
        """
        ...


class CharFile(Protocol):
    """The kernel's side of an open character file: a terminal, a pipe, a log."""

    name: str

    def accept(self, data: bytearray) -> None:
        """Take the bytes of one write() from the kernel's buffer."""
        ...


def writev(ledger: Ledger, file: NetFile, iov: Sequence[ReadableBuffer]) -> int:
    """writev(2) on a tap: gather `iov` into one skb and hand it to the file.

    Linux: drivers/net/tun.c, tun_get_user(): the one copy is copy_from_iter() into the skb.
    Each iovec is one copy. Returns the bytes written, or a negative errno if the file
    refuses the frame (the copy has been made by then, as in Linux).
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
    try:
        file.transmit(skb)
    except OSError as error:
        return -(error.errno or EIO)
    return total


def write(ledger: Ledger, file: CharFile, data: ReadableBuffer) -> int:
    """write(2) on a character file, as QEMU's chardev makes it (chardev/char-fd.c).

    Linux: drivers/tty/tty_io.c, file_tty_write(): one copy into the kernel's buffer.
    Returns the bytes written.
    """
    total = len(data)
    buffer = bytearray(total)
    ledger.copy(ledger.qemu_to_host, buffer, 0, data)
    ledger.syscalls["write"] = ledger.syscalls.get("write", 0) + 1
    if ledger.trace.enabled:
        ledger.trace.emit(SYSCALL, "write", file.name, total)
    file.accept(buffer)
    return total
