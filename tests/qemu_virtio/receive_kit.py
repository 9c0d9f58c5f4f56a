"""A virtio-net card that frames come to: a tap, QEMU's net client, and the receive queue."""

from __future__ import annotations

from typing import NamedTuple

from virtio_kit import FRAMES, LIVE, VERSION_1, Machine

from toyvisor.host.scheduler import Scheduler
from toyvisor.host.tap import Tap
from toyvisor.qemu.main_loop import MainLoop
from toyvisor.qemu.net_client import NetClient
from toyvisor.qemu.virtio.registers import Reg
from toyvisor.virtio.net import HEADER, HEADER_SIZE, MRG_RXBUF, RECEIVE, TRANSMIT

#: between the parts of a buffer, and behind it: what must stay as it is
GAP = b"\xa5" * 16


class Got(NamedTuple):
    """A buffer that came back: used.len, and the bytes that are said to be there."""

    length: int
    data: bytes


class Card(Machine):
    """`queue` is the driver's end of the receive queue. No main loop: see `turn()`."""

    def make_client(self):
        self.network = Tap("tap0")
        self.client = NetClient(self.ledger, self.network, self.make_main_loop())
        self.parts: dict[int, list[tuple[int, int]]] = {}
        self.room = FRAMES
        return self.client

    def make_main_loop(self):
        return None

    def turn(self) -> None:
        """What the main loop does when the tap can be read."""
        while self.client.polling and self.network.readable:
            self.client.tap_send()

    # The driver -------------------------------------------------------------------------

    def bring_up(self, features: int = VERSION_1, size: int = 8) -> Card:
        """Steps 1 to 8 with one receive queue, as yet without buffers."""
        self.negotiate(features | VERSION_1)
        self.queue = self.lay_out(RECEIVE, size, features)
        self.parts.clear()
        self.write(Reg.STATUS, LIVE)
        return self

    def add_transmit_queue(self, size: int = 8, features: int = 0):
        return self.lay_out(TRANSMIT, size, features)

    def add_receive(self, *lengths: int, indirect: bool | None = None) -> int:
        """A receive buffer of parts that do not touch each other; not yet published."""
        total = sum(lengths) + len(GAP) * (len(lengths) + 1)
        if self.room + total > len(self.memory.blocks[0][2]):
            self.room = FRAMES
        spans = []
        for length in lengths:
            self.put(self.room, GAP)
            spans.append((self.room + len(GAP), length))
            self.put(self.room + len(GAP), b"\xee" * length)
            self.room += len(GAP) + length
        self.put(self.room, GAP)
        self.room += len(GAP)
        head = self.queue.add_buffer([], spans, indirect=indirect)
        self.parts[head] = spans
        return head

    def post(self, *buffers: int | tuple[int, ...], kick: bool | None = None) -> bool:
        """Add receive buffers, publish them, and kick if the device wants it. Whether it does.

        After a kick the main loop has its turn.
        """
        for lengths in buffers:
            self.add_receive(*(lengths if isinstance(lengths, tuple) else (lengths,)))
        wanted = self.queue.publish()
        if wanted if kick is None else kick:
            self.kick(RECEIVE)
            self.turn()
        return wanted

    def reap(self) -> list[Got]:
        """Take all used buffers back; what the device did not say it wrote is untouched."""
        back = []
        for head, length in self.queue.reap():
            spans = self.parts.pop(head)
            whole = b"".join(bytes(self.memory.view(*span)) for span in spans)
            assert set(whole[length:]) <= {0xEE}, "written behind used.len"
            for address, size in spans:
                assert bytes(self.memory.view(address - len(GAP), len(GAP))) == GAP
                assert bytes(self.memory.view(address + size, len(GAP))) == GAP
            assert length <= len(whole)
            back.append(Got(length, whole[:length]))
        return back

    def received(self) -> list[bytes]:
        """Take all used buffers back: the frames in them, put together and checked."""
        frames, back = [], self.reap()
        while back:
            *others, count = HEADER.unpack(back[0].data[:HEADER_SIZE])
            assert others == [0, 0, 0, 0, 0, 0]
            assert 1 <= count <= len(back)
            assert count == 1 or self.net.features & MRG_RXBUF
            frames.append(b"".join(got.data for got in back[:count])[HEADER_SIZE:])
            back = back[count:]
        return frames

    def arrive(self, *frames: bytes) -> None:
        """Frames come in from the network, and the main loop has its turn."""
        for data in frames:
            self.network.deliver(data)
        self.turn()

    def _figures(self) -> dict[str, int]:
        ledger = self.ledger
        return super()._figures() | {
            "read": ledger.syscalls.get("read", 0),
            "received": self.net.packets_received,
            "lost": self.net.receive_dropped,
            "qemu_to_guest": ledger.qemu_to_guest.count,
            "qemu_to_guest_bytes": ledger.qemu_to_guest.bytes,
            "host_to_qemu": ledger.host_to_qemu.count,
        }


class LoopCard(Card):
    """The same with a main loop, in turns with the vCPU."""

    def make_main_loop(self):
        self.scheduler = Scheduler(self.ledger)
        self.context.main_loop = MainLoop(self.ledger, self.scheduler)
        return self.context.main_loop

    def turn(self) -> None:
        self.scheduler.run_others()
