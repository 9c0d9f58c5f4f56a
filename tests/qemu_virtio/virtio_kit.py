"""A virtio-net card behind its registers, driven as a guest drives it: loads and stores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

from toyvisor.memory import GuestMemory
from toyvisor.qemu.device import DeviceContext, GuestErrorLog
from toyvisor.qemu.virtio.mmio import VirtioMmio
from toyvisor.qemu.virtio.net import VirtioNet
from toyvisor.qemu.virtio.net_format import FEATURES
from toyvisor.qemu.virtio.registers import Reg
from toyvisor.trace.events import Trace
from toyvisor.trace.ledger import Ledger
from toyvisor.virtio.constants import Feature
from toyvisor.virtio.driver import DriverQueue
from toyvisor.virtio.net import TRANSMIT

RAM = 1 << 20
RINGS, HEADER, FRAMES = 0x1000, 0x7F000, 0x80000
VERSION_1 = int(Feature.VERSION_1)
INDIRECT = int(Feature.INDIRECT_DESC)
EVENT_IDX = int(Feature.EVENT_IDX)
ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK, NEEDS_RESET, FAILED = 1, 2, 4, 8, 0x40, 0x80
LIVE = ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK


class FakeTap:
    """The far side of writev(): keeps the frames, or does what a test wants instead."""

    name = "tap0"

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.instead = None

    def transmit(self, frame: bytearray) -> None:
        self.frames.append(bytes(frame))
        if self.instead is not None:
            self.instead(frame)


def frame(number: int = 0, length: int = 60) -> bytes:
    """An Ethernet frame that is like no other."""
    head = bytes.fromhex("ffffffffffff52540012345688b5")
    return head + bytes((number + place) & 0xFF for place in range(length - len(head)))


class Machine:
    """RAM, a card, its registers; `queue` is the driver's end of the transmit queue."""

    def __init__(
        self, *, offered: int = FEATURES, queue_size: int = 256, ram: int = RAM, trace: bool = False
    ) -> None:
        self.memory = GuestMemory()
        self.memory.add(0, memoryview(bytearray(ram)))
        self.ledger = Ledger(Trace(enabled=trace))
        self.errors = GuestErrorLog(self.ledger.trace)
        self.context = DeviceContext(
            "virtio-net", memory=self.memory, ledger=self.ledger, errors=self.errors
        )
        self.tap = FakeTap()
        self.net = VirtioNet(
            self.context,
            self.tap,
            features=offered,
            client=self.make_client(),
            queue_size=queue_size,
        )
        self.mmio = VirtioMmio(self.context, self.net)
        self.queue: DriverQueue

    def make_client(self):
        """Whom frames come from: nobody, except in receive_kit.py."""

    # Loads and stores -------------------------------------------------------------------

    def read(self, register: int) -> int:
        return self.mmio.read(register, 4)

    def write(self, register: int, value: int) -> None:
        self.mmio.write(register, 4, value)

    @property
    def status(self) -> int:
        return self.read(Reg.STATUS)

    @property
    def interrupts(self) -> int:
        return self.read(Reg.INTERRUPT_STATUS)

    @property
    def line(self) -> int:
        return self.context.irq.level

    @property
    def rules(self) -> list[str]:
        """The rules broken so far, and forget them."""
        fired = [error.rule for _, error in self.errors.entries]
        self.errors.entries.clear()
        return fired

    # What a driver does (3.1.1) ---------------------------------------------------------

    def negotiate(self, features: int = VERSION_1) -> None:
        """Steps 1 to 6: reset to FEATURES_OK."""
        self.write(Reg.STATUS, 0)
        self.write(Reg.STATUS, ACKNOWLEDGE)
        self.write(Reg.STATUS, ACKNOWLEDGE | DRIVER)
        for page in (0, 1):
            self.write(Reg.DRIVER_FEATURES_SEL, page)
            self.write(Reg.DRIVER_FEATURES, features >> 32 * page & 0xFFFFFFFF)
        self.write(Reg.STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK)

    def set_up_queue(
        self, index: int = TRANSMIT, size: int = 8, desc: int = 0, avail: int = 0, used: int = 0
    ) -> int:
        """Step 7, for one queue (4.2.3.2). Returns QueueReady as read back."""
        self.write(Reg.QUEUE_SEL, index)
        self.write(Reg.QUEUE_NUM, size)
        for register, address in (
            (Reg.QUEUE_DESC_LOW, desc),
            (Reg.QUEUE_DRIVER_LOW, avail),
            (Reg.QUEUE_DEVICE_LOW, used),
        ):
            self.write(register, address & 0xFFFFFFFF)
            self.write(register + 4, address >> 32)
        self.write(Reg.QUEUE_READY, 1)
        return self.read(Reg.QUEUE_READY)

    def lay_out(self, index: int = TRANSMIT, size: int = 8, features: int = 0) -> DriverQueue:
        """A ring in RAM, made known to the device."""
        queue = DriverQueue(self.memory, RINGS + 0x20000 * index, size, features=features)
        assert self.set_up_queue(index, size, queue.desc, queue.avail, queue.used) == 1
        return queue

    def bring_up(self, features: int = VERSION_1, size: int = 8) -> Machine:
        """Steps 1 to 8 with one transmit queue."""
        self.negotiate(features | VERSION_1)
        self.queue = self.lay_out(TRANSMIT, size, features)
        self.write(Reg.STATUS, LIVE)
        return self

    def put(self, address: int, data: bytes) -> tuple[int, int]:
        self.memory.view(address, len(data))[:] = data
        return address, len(data)

    def add(self, data: bytes, header: bytes = bytes(12), at: int = FRAMES) -> int:
        """Place a packet: one descriptor for header and frame together."""
        return self.queue.add_buffer([self.put(at, header + data)])

    def kick(self, index: int = TRANSMIT) -> None:
        self.write(Reg.QUEUE_NOTIFY, index)

    def send(self, data: bytes, header: bytes = bytes(12)) -> None:
        """Place a packet, publish it, and kick, whether the device wants it or not."""
        self.add(data, header)
        self.queue.publish()
        self.kick()

    @contextmanager
    def delta(self) -> Iterator[SimpleNamespace]:
        """What the ledger counts inside: filled in on leaving."""
        before = self._figures()
        result = SimpleNamespace()
        yield result
        for name, value in self._figures().items():
            setattr(result, name, value - before[name])

    def _figures(self) -> dict[str, int]:
        ledger = self.ledger
        figures = {hop.name: hop.count for hop in ledger.hops}
        figures |= {
            "copies": ledger.copies,
            "bytes": ledger.bytes_copied,
            "writev": ledger.syscalls.get("writev", 0),
            "ring_reads": ledger.ring_reads,
            "ring_writes": ledger.ring_writes,
            "ring_bytes": ledger.ring_bytes,
            "suppressed": ledger.suppressed,
            "sent": self.net.packets_sent,
            "dropped": self.net.packets_dropped,
            "errors": self.errors.count,
        }
        return figures
