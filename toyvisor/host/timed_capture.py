"""Every frame of a run in both directions, with the guest's time, as a capture file has them."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from io import BytesIO
from typing import NamedTuple

from toyvisor.host.frames import MAX_FRAME
from toyvisor.host.tap import Tap
from toyvisor.host.wire import FarEnd, Wire
from toyvisor.trace.guest_time import nanoseconds

_NANOSECONDS = 1_000_000_000


class TimedCapture(Wire):
    """What tcpdump on the tap would see: what QEMU sends, and what it reads.

    `now` gives the guest's time in instructions. As on any `Wire`, of very many frames only the
    first ones are kept.
    """

    __slots__ = ("_now", "_times")

    def __init__(self, now: Callable[[], int]) -> None:
        super().__init__("capture")
        self._now = now
        self._times: list[int] = []

    def attach(self, tap: Tap) -> None:
        """Hear what goes through a tap, beside whoever does already."""
        tap.connect(self)
        tap.watcher = self if tap.watcher is None else _Both(tap.watcher, self)

    def receive(self, frame: bytes) -> None:
        """Keep one frame."""
        super().receive(frame)
        if len(self.frames) > len(self._times):
            self._times.append(nanoseconds(self._now()))

    def to_pcap(self) -> bytes:
        """A classic pcap file with times in nanoseconds."""
        from dpkt import pcap  # imported late: it costs more than a whole small run

        file = BytesIO()
        writer = pcap.Writer(file, snaplen=MAX_FRAME, linktype=pcap.DLT_EN10MB, nano=True)
        for time, frame in zip(self._times, self.frames, strict=True):
            writer.writepkt_time(frame, Fraction(time, _NANOSECONDS))
        return file.getvalue()


class _Both(NamedTuple):
    """Two far ends in the place of one."""

    first: FarEnd
    second: FarEnd

    def receive(self, frame: bytes) -> None:
        """To one after the other."""
        self.first.receive(frame)
        self.second.receive(frame)
