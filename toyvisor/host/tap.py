"""A tap: the network device that a program, here QEMU, has the other side of.

What QEMU writes to the file, the kernel receives as if it had come in over a cable
(Linux: Documentation/networking/tuntap.rst, drivers/net/tun.c).
"""

from __future__ import annotations

from errno import EINVAL

from toyvisor.host.frames import ETH_HLEN, MAX_FRAME
from toyvisor.host.wire import FarEnd


class Tap:
    """The kernel's side of an open /dev/net/tun file, with far ends instead of a network."""

    __slots__ = ("far_ends", "name", "rx_frame_errors", "rx_packets")

    def __init__(self, name: str, *far_ends: FarEnd) -> None:
        self.name = name
        self.far_ends = far_ends
        # Named as `ip -s link` has them: what QEMU sends, the tap receives.
        self.rx_packets = 0
        self.rx_frame_errors = 0

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
