"""An eventfd: a counter in the kernel that one thread adds to and another waits for.

Linux: fs/eventfd.c. It carries no data, only "something has happened": a kick of the guest on
its way to QEMU's main loop or to vhost (ioeventfd), an interrupt on its way back (irqfd).
"""

from __future__ import annotations

from toyvisor.host.waiters import WaitQueue


class EventFd(WaitQueue):
    """One eventfd, as eventfd2(0, EFD_NONBLOCK) makes it."""

    __slots__ = ("count", "name", "signals")

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        #: what read() would give
        self.count = 0
        #: how often it was ever signalled
        self.signals = 0

    def signal(self) -> None:
        """Add 1 and wake who waits (eventfd_signal; write(2) of an 8-byte 1 does the same)."""
        self.count += 1
        self.signals += 1
        self.wake_up()

    def read(self) -> int:
        """Take the counter, and leave 0 (eventfd_read). 0 where read(2) says EAGAIN."""
        count = self.count
        self.count = 0
        return count

    def close(self) -> None:
        """Nobody needs it any more."""

    @property
    def readable(self) -> bool:
        """Whether poll(2) would say POLLIN."""
        return self.count > 0
