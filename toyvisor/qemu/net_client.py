"""What lies between a tap and a network device in QEMU: net/tap.c and net/net.c.

A frame on the tap wakes the main loop, whose handler read()s it into QEMU's own buffer and
hands it to the device, the peer. A device that has no room is not asked to take more:
its frames wait in the kernel, whose queue is bounded, and are dropped there.
"""

from __future__ import annotations

from typing import Protocol

from toyvisor.host.syscalls import NetFile, read
from toyvisor.qemu.main_loop import MainLoop
from toyvisor.trace.ledger import Ledger

#: the longest packet and a virtio_net_hdr (QEMU, include/net/net.h: NET_BUFSIZE)
NET_BUFSIZE = 4096 + 65536
#: "so that other handlers get their turn" (net/tap.c, tap_send)
MAX_PACKETS_A_TURN = 50


class NetPeer(Protocol):
    """A network device as its backend sees it (QEMU: NetClientInfo)."""

    def can_receive(self) -> bool:
        """Whether the device would take a frame now."""
        ...

    def receive(self, frame: memoryview) -> bool:
        """Take a frame, which is the caller's again afterwards, or drop it: True.

        False: no room, keep it until `NetClient.flush` is called.
        """
        ...


class NetClient:
    """The tap's end of the connection; a device becomes its `peer`."""

    __slots__ = ("_buffer", "_file", "_held", "_ledger", "_main_loop", "peer", "polling")

    def __init__(self, ledger: Ledger, file: NetFile, main_loop: MainLoop | None = None) -> None:
        self._ledger = ledger
        self._file = file
        self._main_loop = main_loop
        self._buffer = memoryview(bytearray(NET_BUFSIZE))
        #: bytes of a frame in the buffer that the peer had no room for
        self._held = 0
        self.peer: NetPeer | None = None
        #: whether the main loop waits for the tap (QEMU: read_poll)
        self.polling = False
        self._read_poll(True)

    def tap_send(self) -> None:
        """The tap can be read: hand its frames to the peer, as long as it takes them.

        After `MAX_PACKETS_A_TURN` the loop's other files have their turn.
        """
        if self._held:  # the loop does not poll now; a test may
            self.flush()
            return
        for _ in range(MAX_PACKETS_A_TURN):
            if self.peer is None or not self.peer.can_receive():
                self._read_poll(False)
                return
            length = read(self._ledger, self._file, self._buffer)
            if length <= 0 or not self._deliver(length):
                return

    def flush(self) -> None:
        """The peer has room again: go on (QEMU: qemu_flush_queued_packets).

        A frame that it had no room for is handed over at once, by whoever calls.
        """
        if self.peer is None or not self.peer.can_receive():
            return
        if not self._held or self._deliver(self._held):
            self._read_poll(True)

    def suspend(self) -> None:
        """Leave the tap to vhost, until `flush`; a frame that was held back is lost.

        QEMU: tap_poll(nc, false), and virtio_net_vhost_status(), which purges what is queued.
        """
        self._held = 0
        self._read_poll(False)

    def _deliver(self, length: int) -> bool:
        """Hand over the frame in the buffer; if there is no room, it stays and we wait."""
        assert self.peer is not None
        taken = self.peer.receive(self._buffer[:length])
        self._held = 0 if taken else length
        if not taken:
            self._read_poll(False)
        return taken

    def _read_poll(self, on: bool) -> None:
        """Whether the main loop is to wait for the tap (tap_read_poll)."""
        if on == self.polling:
            return
        self.polling = on
        if self._main_loop is not None:
            self._main_loop.set_fd_handler(self._file, self.tap_send if on else None)
