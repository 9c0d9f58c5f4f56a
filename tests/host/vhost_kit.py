"""vhost-net with a driver at one side and a tap at the other: no guest, no QEMU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace

from toyvisor.errors import GuestError
from toyvisor.host.eventfd import EventFd
from toyvisor.host.scheduler import Scheduler
from toyvisor.host.tap import Tap
from toyvisor.host.vhost_net import VhostNet
from toyvisor.host.wire import Wire
from toyvisor.memory import GuestMemory
from toyvisor.trace.events import Trace
from toyvisor.trace.ledger import Ledger
from toyvisor.virtio.constants import Feature
from toyvisor.virtio.driver import DriverQueue, UsedBuffer
from toyvisor.virtio.net import HEADER, MRG_RXBUF, RECEIVE, TRANSMIT
from toyvisor.virtio.split_queue import DescriptorChain, SplitQueue

RAM = 1 << 20
#: a second block of RAM after a hole
HIGH_BASE, HIGH = 1 << 21, 1 << 16
RINGS, BUFFERS, FRAMES = 0x1000, 0x40000, 0x80000
HEADER_SIZE = HEADER.size

PLAIN = 0
INDIRECT = int(Feature.INDIRECT_DESC)
EVENT_IDX = int(Feature.EVENT_IDX)
MERGEABLE = MRG_RXBUF
#: room for a header and the longest Ethernet frame (5.1.6.3.1)
BUFFER_SIZE = 1526


def frame(number: int = 0, length: int = 60) -> bytes:
    """An Ethernet frame that is like no other."""
    head = bytes.fromhex("ffffffffffff52540012345688b5") + number.to_bytes(4, "big")
    return head + bytes((number + place) & 0xFF for place in range(length - len(head)))


class Processors:
    """A machine with more than one: between any two steps of vhost the driver may take some."""

    def __init__(self) -> None:
        #: how many steps of vhost later, and what the driver does then
        self.coming: list[tuple[int, Callable[[], None]]] = []

    def step(self) -> None:
        """vhost is about to look at, or to change, what the driver looks at or changes."""
        now = [what for when, what in self.coming if when == 0]
        self.coming = [(when - 1, what) for when, what in self.coming if when > 0]
        for what in now:
            what()


class SharedRing(SplitQueue):
    """vhost's end of a ring whose driver runs at the same time."""

    __slots__ = ()
    processors = Processors()

    def pop(self) -> DescriptorChain | None:
        self.processors.step()
        return super().pop()

    def set_notification(self, enabled: bool) -> bool:
        self.processors.step()
        return super().set_notification(enabled)

    def flush(self) -> None:
        self.processors.step()
        super().flush()

    def should_notify(self) -> bool:
        self.processors.step()
        return super().should_notify()


class SharedTap(Tap):
    """A tap to which frames come at any time."""

    __slots__ = ()

    def recv(self) -> bytes | None:
        frame = super().recv()
        SharedRing.processors.step()
        return frame


class Bench:
    """Both rings are set up, and vhost has its tap."""

    def __init__(
        self,
        features: int = PLAIN,
        *,
        size: int = 8,
        base: int = 0,
        ram: int = RAM,
        trace: bool = False,
        queues: tuple[int, ...] = (RECEIVE, TRANSMIT),
        tap: type[Tap] = Tap,
    ) -> None:
        self.features = features
        self.memory = GuestMemory()
        self.memory.add(0, memoryview(bytearray(ram)))
        self.memory.add(max(HIGH_BASE, 2 * ram), memoryview(bytearray(HIGH)))
        self.ledger = Ledger(Trace(enabled=trace))
        self.scheduler = Scheduler(self.ledger)
        self.wire = Wire()
        self.tap = tap("tap0", self.wire)
        self.vhost = VhostNet(self.ledger, self.memory, self.scheduler)
        self.errors: list[tuple[int, GuestError]] = []
        self.vhost.on_error = lambda index, error: self.errors.append((index, error))
        self.vhost.set_features(features)
        self.kicks = [EventFd("rx kick"), EventFd("tx kick")]
        self.calls = [EventFd("rx call"), EventFd("tx call")]
        self.rings = [
            DriverQueue(self.memory, RINGS + 0x18000 * index, size, features=features, start=base)
            for index in (RECEIVE, TRANSMIT)
        ]
        for index in queues:
            self.vhost.set_vring(
                index, self.rings[index].config, base, self.kicks[index], self.calls[index]
            )
        self.vhost.set_backend(self.tap)
        self.run()

    def share(self) -> Processors:
        """From now on driver and vhost run at the same time."""
        SharedRing.processors = Processors()
        for queue in self.vhost.queues:
            assert queue.ring is not None
            queue.ring.__class__ = SharedRing
        return SharedRing.processors

    @property
    def rx(self) -> DriverQueue:
        return self.rings[RECEIVE]

    @property
    def tx(self) -> DriverQueue:
        return self.rings[TRANSMIT]

    def put(self, address: int, data: bytes) -> tuple[int, int]:
        self.memory.view(address, len(data))[:] = data
        return address, len(data)

    def run(self) -> int:
        """Turns until nobody wants one; how many."""
        turns = 0
        while self.vhost.runnable:
            self.vhost.run()
            turns += 1
            assert turns < 100, "it never sleeps"
        return turns

    # What the driver does ------------------------------------------------------------------

    def publish(self, index: int) -> bool:
        """Publish what was added; kick if vhost wants it."""
        kicked = self.rings[index].publish()
        if kicked:
            self.kicks[index].signal()
        return kicked

    def add(self, data: bytes, at: int = FRAMES) -> int:
        return self.tx.add_buffer([self.put(at, bytes(HEADER_SIZE) + data)])

    def send(self, *frames: bytes) -> bool:
        for number, data in enumerate(frames):
            self.add(data, FRAMES + 0x800 * number)
        return self.publish(TRANSMIT)

    def give(self, count: int = 1, size: int = BUFFER_SIZE) -> bool:
        """Receive buffers, each at a place of its own."""
        for _ in range(count):
            place = self.rx.avail_idx % self.rx.size
            self.rx.add_buffer([], [(BUFFERS + 0x800 * place, size)])
        return self.publish(RECEIVE)

    def received(self) -> list[tuple[tuple[int, ...], bytes]]:
        """Header and frame of each frame that came in, with its buffers put together."""
        places = self._places(used := self.rx.reap())
        result = []
        while used:
            address, length = places[used[0].head], used[0].length
            header = HEADER.unpack(self.memory.view(address, HEADER_SIZE))
            data = bytes(self.memory.view(address, length))[HEADER_SIZE:]
            for more in used[1 : header[-1]]:
                data += bytes(self.memory.view(places[more.head], more.length))
            result.append((header, data))
            del used[: max(header[-1], 1)]
        return result

    def _places(self, used: list[UsedBuffer]) -> dict[int, int]:
        """Where the one descriptor of each chain points."""
        return {
            buffer.head: self.memory.read_u64(self.rx.desc + 16 * buffer.head) for buffer in used
        }

    # Measuring -----------------------------------------------------------------------------

    @contextmanager
    def delta(self) -> Iterator[SimpleNamespace]:
        """What is counted inside: filled in on leaving."""
        before = self._figures()
        result = SimpleNamespace()
        yield result
        for name, value in self._figures().items():
            setattr(result, name, value - before[name])

    def _figures(self) -> dict[str, int]:
        ledger = self.ledger
        return {
            "guest_to_host": ledger.guest_to_host.count,
            "host_to_guest": ledger.host_to_guest.count,
            "copies": ledger.copies,
            "bytes": ledger.bytes_copied,
            "syscalls": sum(ledger.syscalls.values()),
            "ring_reads": ledger.ring_reads,
            "ring_writes": ledger.ring_writes,
            "suppressed": ledger.suppressed,
            "rx_calls": self.calls[RECEIVE].signals,
            "tx_calls": self.calls[TRANSMIT].signals,
        }
