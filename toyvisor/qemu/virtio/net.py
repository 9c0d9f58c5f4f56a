"""virtio-net, the network device (VIRTIO 1.2, 5.1; QEMU: hw/net/virtio-net.c).

How one packet leaves the guest: the driver puts {header, frame} into the transmit queue
and kicks. The device pops the chain, looks at the 12 bytes of header, and hands the rest,
where it lies in guest RAM, to the tap: one writev(), whose one copy into the kernel is the
only time the frame's bytes move.

How one comes in is told in `net_receive`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from toyvisor.errors import GuestError, UsageError
from toyvisor.host.syscalls import NetFile, writev
from toyvisor.qemu.device import DeviceContext
from toyvisor.qemu.virtio import rules
from toyvisor.qemu.virtio.device import QueueSlot
from toyvisor.qemu.virtio.net_format import (
    CONFIG,
    ETHERNET_HEADER,
    FEATURES,
    LINK_UP,
    MAX_FRAME,
    STATUS,
)
from toyvisor.qemu.virtio.net_receive import NetReceiver
from toyvisor.trace.events import DEVICE
from toyvisor.virtio.constants import DeviceId
from toyvisor.virtio.net import HEADER, HEADER_SIZE, TRANSMIT
from toyvisor.virtio.ring_memory import load_header, skip
from toyvisor.virtio.split_queue import DescriptorChain, SplitQueue

if TYPE_CHECKING:
    from toyvisor.qemu.net_client import NetClient

DEFAULT_MAC = bytes.fromhex("525400123456")  # QEMU's first card
#: packets sent before the driver hears of them (QEMU: tx_burst)
TX_BURST = 256
#: an iovec for each descriptor of the longest chain: writev() takes 1024 (UIO_MAXIOV)
MAX_QUEUE_SIZE = 1024


class VirtioNet(NetReceiver):
    """A network card with one receive and one transmit queue.

    It sends to `backend`, and receives from `client`.
    """

    __slots__ = ("backend", "bytes_sent", "packets_dropped", "packets_sent", "tx_waiting")

    device_id = DeviceId.NET
    supported = FEATURES

    def __init__(
        self,
        context: DeviceContext,
        backend: NetFile,
        mac: bytes = DEFAULT_MAC,
        features: int = FEATURES,
        *,
        client: NetClient | None = None,
        queue_size: int = 256,
    ) -> None:
        if not 0 < queue_size <= MAX_QUEUE_SIZE or queue_size & (queue_size - 1):
            raise UsageError(f"a queue size is a power of 2 up to {MAX_QUEUE_SIZE}")
        if len(mac) != 6:
            raise UsageError(f"a MAC address has 6 bytes, not {len(mac)}")
        super().__init__(
            context,
            client,
            features=features,
            config=CONFIG.pack(mac, LINK_UP if features & STATUS else 0),
            queues=(("receiveq", queue_size), ("transmitq", queue_size)),
        )
        self.backend = backend
        self.tx_waiting = False
        self.packets_sent = 0
        self.bytes_sent = 0
        self.packets_dropped = 0

    def handle_queue(self, slot: QueueSlot, ring: SplitQueue) -> None:
        """A kick: send what is in the transmit queue.

        A kick of the receive queue says that there are buffers again: frames that waited for
        them can come in (QEMU: virtio_net_handle_rx).
        """
        if slot.index == TRANSMIT:
            self._transmit(ring)
        else:
            self.flush_client()

    # Transmit (5.1.6.2) --------------------------------------------------------------------

    def _transmit(self, ring: SplitQueue) -> None:
        """Empty the transmit queue (QEMU: virtio_net_tx_bh).

        While we are at it the driver need not kick. Afterwards it must again, and then we
        look once more, because it may have added a packet in between.
        """
        self.tx_waiting = False
        ring.set_notification(False)
        # At most a ring full of packets can be there. A driver that adds more while we work
        # (on another CPU) does not keep us here for ever: the rest is for a bottom half.
        for _ in range(2 + ring.size // TX_BURST):
            if self._send_burst(ring) < TX_BURST:
                if not ring.set_notification(True):
                    return
                ring.set_notification(False)
        self.tx_waiting = ring.running
        if self.tx_waiting and self.context.main_loop is not None:
            self.context.main_loop.schedule_bh(self.run_bottom_half)

    def run_bottom_half(self) -> None:
        """Go on sending, if `tx_waiting`: for the main loop (QEMU: virtio_net_tx_bh)."""
        slot = self.queues[TRANSMIT]
        if self.tx_waiting:
            self._serve(slot)

    def handle_reset(self) -> None:
        """Nothing is left to send."""
        self.tx_waiting = False

    def _send_burst(self, ring: SplitQueue) -> int:
        """Send up to TX_BURST packets, then give all their buffers back at once.

        One update of used.idx and at most one interrupt for all of them, as vhost-net does;
        QEMU's own virtio_net_flush_tx publishes each packet by itself.
        """
        count = 0
        try:
            while count < TX_BURST:
                chain = ring.pop()
                if chain is None:
                    break
                count += 1
                self._send(chain)
                ring.push(chain, 0)  # used.len is what the device wrote: nothing
        finally:
            # Also if the next chain was broken: these packets are gone, their buffers free.
            ring.flush()
            self.notify_driver(ring)
        return count

    def _send(self, chain: DescriptorChain) -> None:
        """Send one packet, or drop it and report why."""
        try:
            self._check(chain)
        except GuestError as error:
            self.packets_dropped += 1
            self.context.errors.report(self.name, error)
            return
        if not self.link_up:
            self.packets_dropped += 1
            return
        sent = writev(self.context.ledger, self.backend, skip(chain.readable, HEADER_SIZE))
        if sent < 0:  # -errno: the host would not have it; no fault of the driver's
            self.packets_dropped += 1
            return
        self.packets_sent += 1
        self.bytes_sent += sent
        if self.context.trace.enabled:
            self.context.trace.emit(DEVICE, self.name, f"transmit {sent} bytes")

    def _check(self, chain: DescriptorChain) -> None:
        """Whether a chain from the transmit queue is a packet we can send; raises if not.

        The header is looked at in place and never moved: a control access like those to the
        ring, and counted with them, not as a copy of data.
        """
        where = f"the packet at descriptor {chain.head}"
        if chain.writable:
            raise rules.NET_TX_WRITABLE.broken(
                f"{where} has {len(chain.writable)} device-writable descriptors"
            )
        length = chain.readable_length - HEADER_SIZE
        if length < 0:
            raise rules.NET_TX_HEADER.broken(
                f"{where} has {length + HEADER_SIZE} bytes, the header alone is {HEADER_SIZE}"
            )
        if length < ETHERNET_HEADER:
            raise rules.NET_TX_SHORT.broken(f"{where} has a frame of {length} bytes")
        # Before anything is allocated: the kernel's buffer is made as long as the frame.
        if length > MAX_FRAME:
            raise rules.NET_TX_LONG.broken(f"{where} has a frame of {length} bytes")
        header = load_header(self.context.ledger, chain.readable, HEADER_SIZE)
        flags, gso_type, _, _, _, _, num_buffers = HEADER.unpack(header)
        if gso_type:
            raise rules.NET_TX_GSO.broken(f"{where} has gso_type {gso_type:#x}")
        # What the device MUST ignore (5.1.6.2.2) it ignores; but a student may like to know.
        if flags:
            self._remark(rules.NET_TX_FLAGS.broken(f"{where} has flags {flags:#x}"))
        if num_buffers:
            self._remark(rules.NET_TX_NUM_BUFFERS.broken(f"{where}: num_buffers {num_buffers}"))

    # The cable ---------------------------------------------------------------------------------

    def set_link(self, up: bool) -> None:
        """Plug or pull the cable; a driver that negotiated STATUS is told (5.1.4)."""
        self.link_up = up
        if self.queue_service is not None:
            self.queue_service.update()
        self.flush_client()  # frames that wait for buffers are lost now
        if self.offered & STATUS:
            self.change_config(6, (LINK_UP if up else 0).to_bytes(2, "little"))
