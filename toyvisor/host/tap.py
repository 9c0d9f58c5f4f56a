"""A tap: the network device that a program, here QEMU, has the other side of.

What QEMU writes to the file, the kernel receives as if it had come in over a cable; what the
kernel sends through the device, QEMU reads from the file
(Linux: Documentation/networking/tuntap.rst, drivers/net/tun.c).
"""

from __future__ import annotations

from collections import deque
from errno import EINVAL

from toyvisor.host.frames import ETH_HLEN, MAX_FRAME
from toyvisor.host.waiters import WaitQueue
from toyvisor.host.wire import FarEnd

#: frames that wait for the program at most (drivers/net/tun.c: TUN_READQ_SIZE)
TX_QUEUE_LEN = 500


class Tap(WaitQueue):
    """The kernel's side of an open /dev/net/tun file, with far ends instead of a network.

    `watcher` sees every frame that is read from the file (as tcpdump on the device would).
    """

    __slots__ = (
        "_queue",
        "far_ends",
        "name",
        "rx_frame_errors",
        "rx_packets",
        "tx_dropped",
        "tx_packets",
        "watcher",
    )

    def __init__(self, name: str, *far_ends: FarEnd, watcher: FarEnd | None = None) -> None:
        super().__init__()
        self.name = name
        self.far_ends = far_ends
        self.watcher = watcher
        self._queue: deque[bytes] = deque()
        # Named as `ip -s link` has them: what QEMU sends, the tap receives.
        self.rx_packets = 0
        self.rx_frame_errors = 0
        self.tx_packets = 0
        self.tx_dropped = 0

    def connect(self, far_end: FarEnd) -> None:
        """One more who hears what QEMU sends."""
        self.far_ends = (*self.far_ends, far_end)

    # QEMU to the network ------------------------------------------------------------------

    def transmit(self, frame: bytearray) -> None:
        """Take a frame from the skb, or refuse it as tun_get_user() does."""
        if not ETH_HLEN <= len(frame) <= MAX_FRAME:
            self.rx_frame_errors += 1
            raise OSError(
                EINVAL,
                f"{self.name}: a frame has {ETH_HLEN} to {MAX_FRAME} bytes, not {len(frame)}",
            )
        self.rx_packets += 1
        sent = bytes(frame)
        for far_end in self.far_ends:
            far_end.receive(sent)

    # The network to QEMU ------------------------------------------------------------------

    def deliver(self, frame: bytes) -> bool:
        """A frame comes in from the network (tun_net_xmit); False if there was no room.

        It waits in a queue of `TX_QUEUE_LEN`. What finds the queue full is dropped and
        counted, as a program that does not read must not cost the kernel its memory.
        """
        if len(self._queue) >= TX_QUEUE_LEN:
            self.tx_dropped += 1
            return False
        self._queue.append(frame)
        self.wake_up()
        return True

    def recv(self) -> bytes | None:
        """The next frame for the program (tun_do_read); None where read(2) says EAGAIN."""
        if not self._queue:
            return None
        frame = self._queue.popleft()
        self.tx_packets += 1
        if self.watcher is not None:
            self.watcher.receive(frame)
        return frame

    @property
    def readable(self) -> bool:
        """Whether poll(2) would say POLLIN (tun_chr_poll)."""
        return bool(self._queue)

    @property
    def queued(self) -> int:
        """Frames that wait to be read."""
        return len(self._queue)
