"""vhost-net: the queues of a virtio-net device, served by the host's kernel.

How a packet leaves, and who has a part in it:

    guest     writes a kick; the exit ends in KVM, whose ioeventfd signals the kick eventfd
    worker    pops the chain, copies the frame from guest RAM into an skb: the only copy
    tap       takes the skb
    worker    gives the chain back and signals the call eventfd; an irqfd makes it an interrupt

and how one comes in:

    tap       has a frame, which wakes the worker
    worker    pops a buffer, copies the frame from the skb into guest RAM, and so on as above

No system call, no copy into QEMU's memory, no turn of its main loop.

Linux: drivers/vhost/net.c, handle_tx_copy() and handle_rx(). The header of a packet is vhost's
own business, as the tap has none (VHOST_NET_F_VIRTIO_NET_HDR); left out are busy polling,
zero copy, and batches of skbs.
"""

from __future__ import annotations

from toyvisor.errors import GuestError
from toyvisor.host.frames import MAX_FRAME
from toyvisor.host.scheduler import Scheduler
from toyvisor.host.syscalls import NetFile
from toyvisor.host.vhost import VhostDevice, VhostPoll, VhostQueue, VhostWork
from toyvisor.memory import GuestMemory
from toyvisor.trace.events import TUN_RECVMSG, TUN_SENDMSG, VHOST_DISCARD
from toyvisor.trace.ledger import Ledger
from toyvisor.virtio.errors import Rule
from toyvisor.virtio.net import HEADER, HEADER_SIZE, MRG_RXBUF, RECEIVE, TRANSMIT
from toyvisor.virtio.ring_memory import skip, store_header
from toyvisor.virtio.split_queue import DescriptorChain, SplitQueue

#: packets and bytes after which a queue lets others have a turn, and queues itself again
VHOST_NET_PKT_WEIGHT = 256
VHOST_NET_WEIGHT = 0x80000
#: used entries that are published, and told to the guest, at once
VHOST_NET_BATCH = 64

TX_FORMAT = Rule(
    "vhost.net.tx-format",
    "5.1.6",
    "what goes to the transmit queue is device-readable only, a header of 12 bytes and a frame; "
    "vhost: 'Unexpected descriptor format for TX', 'Unexpected header len for TX'; it stops",
)
RX_FORMAT = Rule(
    "vhost.net.rx-format",
    "5.1.6.3",
    "a receive buffer is device-writable only; vhost: 'unexpected descriptor format for RX'; "
    "it stops",
)


class VhostNet(VhostDevice):
    """An open /dev/vhost-net: two queues, one worker, a tap."""

    __slots__ = (
        "_frame",
        "_receive_poll",
        "rx_bytes",
        "rx_discarded",
        "rx_packets",
        "tap",
        "tx_bytes",
        "tx_discarded",
        "tx_packets",
    )

    def __init__(
        self, ledger: Ledger, memory: GuestMemory, scheduler: Scheduler, *, name: str = "vhost-1"
    ) -> None:
        kicks = (
            ("receiveq", VhostWork("handle_rx_kick", self.handle_rx)),
            ("transmitq", VhostWork("handle_tx_kick", self.handle_tx)),
        )
        super().__init__(ledger, memory, scheduler, kicks, name=name)
        self._receive_poll = VhostPoll(self, VhostWork("handle_rx_net", self.handle_rx))
        self.tap: NetFile | None = None
        #: taken from the tap, and not yet into the guest: vhost has to know how long the next
        #: frame is (vhost_net_buf_peek); it waits here for buffers, also while vhost is stopped
        self._frame: bytes | None = None
        self.tx_packets = 0
        self.tx_bytes = 0
        #: packets that were longer than there are, or that the tap refused
        self.tx_discarded = 0
        self.rx_packets = 0
        self.rx_bytes = 0
        #: frames too long for the buffer that the guest had ready
        self.rx_discarded = 0

    @property
    def holds_frame(self) -> bool:
        """Whether a frame was taken from the tap that there is no buffer for."""
        return self._frame is not None

    def set_backend(self, tap: NetFile | None) -> None:
        """VHOST_NET_SET_BACKEND for both queues: work may begin; or, without a tap, end.

        Each queue is looked at once, for what came before there was a tap.
        """
        self._receive_poll.stop()
        self.tap = tap
        if tap is None:
            return
        if self.queues[RECEIVE].ring is not None:
            self._receive_poll.start(tap)
        for queue in self.queues:
            if queue.ring is not None:
                self.queue_work(queue.poll.work)

    def stop(self, index: int) -> int:
        """As for all devices; and without a receive queue nobody waits for the tap."""
        if index == RECEIVE:
            self._receive_poll.stop()
        return super().stop(index)

    # Transmit -----------------------------------------------------------------------------

    def handle_tx(self) -> None:
        """Send what is in the transmit queue, up to the weight of a turn."""
        queue = self.queues[TRANSMIT]
        ring, tap = queue.ring, self.tap
        if ring is None or tap is None or not ring.running:
            return
        ring.set_notification(False)
        broken = None
        try:
            self._transmit(queue, ring, tap)
        except GuestError as error:
            broken = error
        self.signal(queue)  # what was sent was sent, whatever came after it
        if broken is not None:
            self.fail(queue, broken)

    def _transmit(self, queue: VhostQueue, ring: SplitQueue, tap: NetFile) -> None:
        rounds = total = done = 0
        while rounds < VHOST_NET_PKT_WEIGHT and total < VHOST_NET_WEIGHT:
            rounds += 1
            if done == VHOST_NET_BATCH:
                self.signal(queue)
                done = 0
            chain = ring.pop()
            if chain is None:
                # A buffer that came after our look, and before the driver could see that we
                # want a kick, had none.
                if not ring.set_notification(True):
                    return
                ring.set_notification(False)
                continue
            total += self._send(queue, chain, tap)
            ring.push(chain, 0)
            done += 1
        self.queue_work(queue.poll.work)  # the rest after the others' turn, without a kick

    def _send(self, queue: VhostQueue, chain: DescriptorChain, tap: NetFile) -> int:
        """Hand one packet to the tap; returns the frame's length. Raises for no packet."""
        where = f"the packet at descriptor {chain.head}"
        if chain.writable:
            raise TX_FORMAT.broken(f"{where} has {len(chain.writable)} device-writable descriptors")
        length = chain.readable_length - HEADER_SIZE
        if length <= 0:
            raise TX_FORMAT.broken(f"{where} has {length + HEADER_SIZE} bytes: no frame")
        if length > MAX_FRAME:  # no skb is as long as a guest says
            self._discard_packet(queue, length, "longer than a packet can be")
            return MAX_FRAME
        ledger = self.ledger
        skb = bytearray(length)
        start = 0
        for part in skip(chain.readable, HEADER_SIZE):
            ledger.copy(ledger.guest_to_host, skb, start, part)
            start += len(part)
        if ledger.trace.enabled:
            ledger.trace.emit(TUN_SENDMSG, tap.name, length)
        try:
            tap.transmit(skb)
        except OSError as error:
            self._discard_packet(queue, length, error.strerror or "refused")
        else:
            self.tx_packets += 1
            self.tx_bytes += length
        return length

    def _discard_packet(self, queue: VhostQueue, length: int, why: str) -> None:
        self.tx_discarded += 1
        if self.ledger.trace.enabled:
            self.ledger.trace.emit(VHOST_DISCARD, queue.name, length, why)

    # Receive ------------------------------------------------------------------------------

    def handle_rx(self) -> None:
        """Bring in what waits in the tap, up to the weight of a turn.

        Frames without buffers wait for a kick, buffers without frames for the tap: while one
        is missing the other wakes nobody.
        """
        queue = self.queues[RECEIVE]
        ring, tap = queue.ring, self.tap
        if ring is None or tap is None or not ring.running:
            return
        ring.set_notification(False)
        self._receive_poll.stop()
        broken = None
        try:
            self._receive(queue, ring, tap)
        except GuestError as error:
            broken = error
        self.signal(queue)
        if broken is not None:
            self.fail(queue, broken)

    def _receive(self, queue: VhostQueue, ring: SplitQueue, tap: NetFile) -> None:
        rounds = total = done = 0
        while rounds < VHOST_NET_PKT_WEIGHT and total < VHOST_NET_WEIGHT:
            rounds += 1
            frame = self._peek(tap)
            if frame is None:
                self._receive_poll.start(tap)
                return
            chains = self._take_buffers(ring, HEADER_SIZE + len(frame))
            if not chains:
                return
            self._frame = None
            total += HEADER_SIZE + len(frame)
            if not self._fill(queue, ring, chains, memoryview(frame)):
                continue
            done += len(chains)
            if done > VHOST_NET_BATCH:
                self.signal(queue)
                done = 0
        self.queue_work(queue.poll.work)

    def _peek(self, tap: NetFile) -> bytes | None:
        """The next frame; None if there is none."""
        if self._frame is None:
            try:
                self._frame = tap.recv()
            except OSError:  # the device behind a real tap is down
                return None
            if self._frame is not None and self.ledger.trace.enabled:
                self.ledger.trace.emit(TUN_RECVMSG, tap.name, len(self._frame))
        return self._frame

    def _take_buffers(self, ring: SplitQueue, length: int) -> list[DescriptorChain]:
        """Buffers for `length` bytes (get_rx_bufs); none if the driver has to add some first.

        Without MRG_RXBUF it is one buffer, be it long enough or not. Of too few buffers none
        is taken, and the kick is asked for behind them: for one more.
        """
        quota = ring.size if self.features & MRG_RXBUF else 1
        chains: list[DescriptorChain] = []
        room = 0
        try:
            while room < length and len(chains) < quota:
                chain = ring.pop()
                if chain is None:
                    if ring.set_notification(True):
                        ring.set_notification(False)
                        continue
                    ring.unpop(len(chains))
                    return []
                chains.append(chain)
                if chain.readable or not chain.writable:
                    raise RX_FORMAT.broken(
                        f"the buffer at descriptor {chain.head} has {len(chain.readable)} "
                        f"device-readable and {len(chain.writable)} device-writable descriptors"
                    )
                room += chain.writable_length
        except GuestError:
            ring.unpop(len(chains))
            raise
        return chains

    def _fill(
        self,
        queue: VhostQueue,
        ring: SplitQueue,
        chains: list[DescriptorChain],
        frame: memoryview,
    ) -> bool:
        """Header and frame into the buffers; False if they have no room, and the frame is lost.

        The header is 12 bytes that vhost makes up: a control access like those to the ring,
        not a copy. num_buffers counts the buffers; it is 1 without MRG_RXBUF, too (5.1.6.4.1;
        Linux left it 0 until 6.14).
        """
        parts = [part for chain in chains for part in chain.writable]
        left = HEADER_SIZE + len(frame)
        if sum(map(len, parts)) < left:
            ring.unpop(len(chains))
            self.rx_discarded += 1
            if self.ledger.trace.enabled:
                self.ledger.trace.emit(VHOST_DISCARD, queue.name, len(frame), "no room for it")
            return False
        store_header(self.ledger, parts, HEADER.pack(0, 0, 0, 0, 0, 0, len(chains)))
        start = 0
        for part in skip(parts, HEADER_SIZE):
            piece = frame[start : start + len(part)]
            if not piece:
                break
            self.ledger.copy(self.ledger.host_to_guest, part, 0, piece)
            start += len(piece)
        for chain in chains:
            ring.push(chain, min(left, chain.writable_length))
            left -= chain.writable_length
        self.rx_packets += 1
        self.rx_bytes += len(frame)
        return True
