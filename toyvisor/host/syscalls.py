"""The boundary between QEMU and the host kernel.

A QEMU device leaves the machine through these calls only. Each costs a system call and,
where data crosses, a copy between user and kernel memory (copy_from_user/copy_to_user),
made and counted here.
"""

from __future__ import annotations

from collections.abc import Sequence
from errno import EAGAIN, EIO
from typing import Protocol

from toyvisor.host.waiters import PolledFile
from toyvisor.trace.events import IOCTL, SYSCALL
from toyvisor.trace.ledger import Ledger, ReadableBuffer


class NetFile(PolledFile, Protocol):
    """The kernel's side of an open network file: a tap's file operations."""

    def transmit(self, frame: bytearray) -> None:
        """Take one whole Ethernet frame (without FCS) from the kernel's buffer (skb).

        Raises OSError where the kernel's function would return a negative errno.
        """
        ...

    def recv(self) -> bytes | None:
        """The next whole frame, or None if there is none (EAGAIN). May raise OSError."""
        ...


class CharFile(Protocol):
    """The kernel's side of an open character file: a terminal, a pipe, a log."""

    name: str

    def accept(self, data: bytearray) -> None:
        """Take the bytes of one write() from the kernel's buffer."""
        ...


class CharInput(PolledFile, Protocol):
    """The kernel's side of a character file that is read: a stream without frames."""

    def recv(self, size: int) -> bytes | None:
        """Up to `size` bytes; none at the end of the file, None if there are none yet."""
        ...


class EventFile(Protocol):
    """The kernel's side of an eventfd (host/eventfd.py)."""

    name: str

    def signal(self) -> None:
        """Add 1 to the counter and wake who waits."""
        ...

    def read(self) -> int:
        """Take the counter, and leave 0."""
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


def read(ledger: Ledger, file: NetFile, buffer: memoryview) -> int:
    """read(2) on a non-blocking tap: the next frame, whole, into `buffer`.

    Linux: drivers/net/tun.c, tun_do_read(): the one copy is skb_copy_datagram_iter() out of
    the skb. A frame longer than `buffer` loses its end, as every datagram does. Returns the
    bytes read, or a negative errno: -EAGAIN if no frame waits.
    """
    try:
        frame = file.recv()
    except OSError as error:
        return _count(ledger, "read", file.name, -(error.errno or EIO))
    return _copy_to_user(ledger, file.name, frame, buffer)


def read_char(ledger: Ledger, file: CharInput, buffer: memoryview) -> int:
    """read(2) on a non-blocking character file: as many bytes as there are and fit.

    Linux: drivers/tty/tty_io.c, tty_read(). Returns the bytes read, 0 at the end of the file,
    or a negative errno: -EAGAIN if there are none yet.
    """
    try:
        data = file.recv(len(buffer))
    except OSError as error:
        return _count(ledger, "read", file.name, -(error.errno or EIO))
    return _copy_to_user(ledger, file.name, data, buffer)


def event_notifier_set(ledger: Ledger, event: EventFile) -> None:
    """write(2) of 8 bytes to an eventfd (QEMU: util/event_notifier-posix.c).

    The 8 bytes are a number to add, no data of anybody's: not a copy.
    """
    _count(ledger, "write(eventfd)", event.name, 8)
    event.signal()


def event_notifier_test_and_clear(ledger: Ledger, event: EventFile) -> bool:
    """read(2) of an eventfd: whether it was signalled since the last time, and reset it."""
    was_set = event.read() > 0
    _count(ledger, "read(eventfd)", event.name, 8 if was_set else -EAGAIN)
    return was_set


def ioctl(ledger: Ledger, request: str) -> None:
    """ioctl(2): a request to the kernel, by its name (KVM_RUN has its own count)."""
    call = f"ioctl({request})"
    ledger.syscalls[call] = ledger.syscalls.get(call, 0) + 1
    if ledger.trace.enabled:
        ledger.trace.emit(IOCTL, request)


def ppoll(ledger: Ledger, files: Sequence[PolledFile]) -> list[PolledFile]:
    """ppoll(2): those of `files` that can be read, in their order."""
    ready = [file for file in files if file.readable]
    what = f"{len(files)} files" if ledger.trace.enabled else ""
    _count(ledger, "ppoll", what, len(ready))
    return ready


def _copy_to_user(ledger: Ledger, name: str, data: bytes | None, buffer: memoryview) -> int:
    """The end of both reads: the copy, and the call on record."""
    if data is None:
        return _count(ledger, "read", name, -EAGAIN)
    part = data[: len(buffer)]
    if part:
        ledger.copy(ledger.host_to_qemu, buffer, 0, part)
    return _count(ledger, "read", name, len(part))


def _count(ledger: Ledger, call: str, name: str, result: int) -> int:
    """One system call more; `result` is the bytes it moved, or a negative errno."""
    ledger.syscalls[call] = ledger.syscalls.get(call, 0) + 1
    if ledger.trace.enabled:
        ledger.trace.emit(SYSCALL, call, name, result)
    return result
