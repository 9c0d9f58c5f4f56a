"""The receiving half of virtio-net (VIRTIO 1.2, 5.1.6.3 and 5.1.6.4).

QEMU: hw/net/virtio-net.c, virtio_net_receive_rcu(). The main loop has read a frame from the
tap into QEMU's own buffer: the first copy. Here it goes on into guest RAM: the second. (vhost,
in the kernel, needs one.)

    1. Pop a buffer. While there is none, the frame waits, and the driver is asked for a kick;
       while there are some, it need not kick.
    2. Write the header, which says in how many buffers the frame lies.
    3. Copy the frame behind it, however the driver cut the buffer up.
    4. Give the buffer back with the bytes written, and interrupt, unless the driver wants none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from toyvisor.errors import GuestError
from toyvisor.qemu.device import DeviceContext
from toyvisor.qemu.virtio import rules
from toyvisor.qemu.virtio.device import VirtioDevice
from toyvisor.qemu.virtio.net_format import RECEIVE_BUFFER
from toyvisor.trace.events import DEVICE
from toyvisor.virtio.constants import Feature
from toyvisor.virtio.net import HEADER, HEADER_SIZE, MRG_RXBUF, RECEIVE
from toyvisor.virtio.ring_memory import skip, store_header
from toyvisor.virtio.split_queue import DescriptorChain, SplitQueue

if TYPE_CHECKING:
    from toyvisor.qemu.net_client import NetClient


class NetReceiver(VirtioDevice):
    """A virtio device that frames come to, from the `client` whose peer it is (`NetPeer`)."""

    __slots__ = ("bytes_received", "client", "link_up", "packets_received", "receive_dropped")

    def __init__(
        self,
        context: DeviceContext,
        client: NetClient | None,
        *,
        features: int,
        config: bytes,
        queues: Sequence[tuple[str, int]],
    ) -> None:
        super().__init__(context, features=features, config=config, queues=queues)
        self.link_up = True
        self.packets_received = 0
        self.bytes_received = 0
        self.receive_dropped = 0
        self.client = client
        if client is not None:
            client.peer = self

    def flush_client(self) -> None:
        """Let frames come in that had to wait (QEMU: qemu_flush_queued_packets)."""
        if self.client is not None:
            self.client.flush()

    def can_receive(self) -> bool:
        """Whether a frame may come; if only a buffer is missing, the driver is asked for one.

        QEMU: virtio_net_can_receive, virtio_net_has_buffers. With the cable out no frame
        waits for anything: it comes, and is lost.
        """
        if not self.link_up:
            return True
        ring = self.queues[RECEIVE].ring
        if ring is None or not self.live:
            return False
        try:
            return _has_buffers(ring)
        except GuestError as error:
            self.needs_reset(error)
            return False

    def receive(self, frame: memoryview) -> bool:
        """Take a frame from the network, or drop it (QEMU: virtio_net_receive).

        False: there is no room for it now; it waits until the receive queue is kicked.
        """
        if not self.link_up:
            return self._drop(frame, "the cable is out")
        ring = self.queues[RECEIVE].ring
        if ring is None or not self.live:
            return False
        try:
            if not _has_buffers(ring):
                return False
            ring.set_notification(False)
            if self.features & MRG_RXBUF:
                return self._receive_mergeable(ring, frame)
            return self._receive_single(ring, frame)
        except GuestError as error:
            self.needs_reset(error)
            return self._drop(frame, "the receive queue is broken")

    def _receive_single(self, ring: SplitQueue, frame: memoryview) -> bool:
        """One buffer for one frame, or the frame is dropped and the buffer stays."""
        chain = ring.pop()
        if chain is None:
            return False
        room = self._room(chain)
        if room >= HEADER_SIZE + len(frame):
            self._fill(ring, [chain], frame)
            return True
        ring.unpop()
        where = f"the buffer at descriptor {chain.head}, of {room} bytes"
        # A longer frame than Ethernet has is not what a driver must be prepared for.
        if room < RECEIVE_BUFFER:
            self._remark(rules.NET_RX_SMALL.broken(f"a frame of {len(frame)} bytes for {where}"))
        return self._drop(frame, f"too long for {where}")

    def _receive_mergeable(self, ring: SplitQueue, frame: memoryview) -> bool:
        """As many buffers as the frame and its header take (VIRTIO_NET_F_MRG_RXBUF).

        All or none: QEMU adds up what is there beforehand (virtqueue_avail_bytes), we take
        the buffers and put them back if they are too few, as vhost-net does (get_rx_bufs).
        """
        chains: list[DescriptorChain] = []
        room = 0
        while room < HEADER_SIZE + len(frame):
            # If they are too few, a kick is asked for when all are taken: for one more.
            chain = ring.pop() if _has_buffers(ring) else None
            if chain is None:
                ring.unpop(len(chains))
                return self._drop_if_hopeless(ring, chains, room, frame)
            chains.append(chain)
            length = self._room(chain)
            if length < HEADER_SIZE:
                ring.unpop(len(chains))
                where = f"the buffer at descriptor {chain.head} has {length} bytes"
                self._remark(rules.NET_RX_HEADER.broken(where))
                return self._drop(frame, where)
            room += length
        ring.set_notification(False)
        self._fill(ring, chains, frame)
        return True

    def _drop_if_hopeless(
        self, ring: SplitQueue, chains: list[DescriptorChain], room: int, frame: memoryview
    ) -> bool:
        """Not enough buffers for a frame: let it wait, unless the driver can add no more.

        QEMU lets it wait, and all frames behind it, for ever.
        """
        entries = sum(len(chain.readable) + len(chain.writable) for chain in chains)
        direct = not self.features & Feature.INDIRECT_DESC
        if len(chains) < ring.size and not (direct and entries >= ring.size):
            return False
        where = f"all {len(chains)} buffers of the queue, {room} bytes"
        if room < RECEIVE_BUFFER:
            self._remark(rules.NET_RX_FULL_RING.broken(f"{len(frame)} bytes of frame for {where}"))
        return self._drop(frame, f"too long for {where}")

    def _room(self, chain: DescriptorChain) -> int:
        """Bytes a receive buffer takes; raises if it is none."""
        if not chain.writable:
            raise rules.NET_RX_NOT_WRITABLE.broken(
                f"the buffer at descriptor {chain.head} has no device-writable descriptor"
            )
        if chain.readable:
            self._remark(
                rules.NET_RX_READABLE.broken(
                    f"the buffer at descriptor {chain.head} has {len(chain.readable)} "
                    f"device-readable descriptors"
                )
            )
        return chain.writable_length

    def _fill(self, ring: SplitQueue, chains: list[DescriptorChain], frame: memoryview) -> None:
        """Header and frame into buffers with room for them; all are given back at once.

        The header is 12 bytes of the device's own making, so no copy: a control access, as
        it is on transmit. Flags and offloads are 0 for lack of GUEST_CSUM and GUEST_TSO
        (5.1.6.4.1), so all it says is in how many buffers the frame lies.
        """
        ledger = self.context.ledger
        header = HEADER.pack(0, 0, 0, 0, 0, 0, len(chains))
        store_header(ledger, chains[0].writable, header)
        written, start = HEADER_SIZE, 0
        for chain in chains:
            for part in skip(chain.writable, written):
                piece = frame[start : start + len(part)]
                if not piece:
                    break
                ledger.copy(ledger.qemu_to_guest, part, 0, piece)
                start += len(piece)
                written += len(piece)
            ring.push(chain, written)
            written = 0
        ring.flush()
        self.packets_received += 1
        self.bytes_received += len(frame)
        if self.context.trace.enabled:
            self.context.trace.emit(DEVICE, self.name, f"receive {len(frame)} bytes")
        self.notify_driver(ring)

    def _remark(self, error: GuestError) -> None:
        self.context.errors.report(self.name, error)

    def _drop(self, frame: memoryview, why: str) -> bool:
        """A frame is lost; True, as nobody need keep it."""
        self.receive_dropped += 1
        if self.context.trace.enabled:
            self.context.trace.emit(DEVICE, self.name, f"drop {len(frame)} bytes: {why}")
        return True


def _has_buffers(ring: SplitQueue) -> bool:
    """Whether a buffer is there; if not, the driver shall kick when it adds one.

    It may have done so after our look and before it could see that we want a kick, so there
    is a second look. Raises GuestError if the ring is broken.
    """
    return ring.has_available() or ring.set_notification(True)
