"""A virtio-net card wired to KVM's eventfds: with ioeventfd, irqfd, or vhost."""

from __future__ import annotations

from virtio_kit import FRAMES, LIVE, VERSION_1, Machine

from toyvisor.host.scheduler import Scheduler
from toyvisor.host.tap import Tap
from toyvisor.host.wire import Wire
from toyvisor.kvm.eventfd import IoEventFds, IrqFds
from toyvisor.kvm.io_bus import KvmIoBus
from toyvisor.memory import GuestMemory
from toyvisor.qemu.device import DeviceContext, GuestErrorLog
from toyvisor.qemu.main_loop import MainLoop
from toyvisor.qemu.net_client import NetClient
from toyvisor.qemu.virtio.ioeventfd import KvmWiring, connect
from toyvisor.qemu.virtio.mmio import VirtioMmio
from toyvisor.qemu.virtio.net import VirtioNet
from toyvisor.qemu.virtio.net_format import FEATURES
from toyvisor.qemu.virtio.registers import Reg
from toyvisor.trace.events import Trace
from toyvisor.trace.ledger import Ledger
from toyvisor.virtio.driver import DriverQueue
from toyvisor.virtio.net import HEADER_SIZE, RECEIVE, TRANSMIT

RAM = 1 << 20
BASE, GSI = 0xD0001000, 6
BUFFERS = 0x60000
NOTIFY = BASE + Reg.QUEUE_NOTIFY


class FakeVm:
    """KVM's eventfds without KVM: a bus, and what would have been done to the interrupt lines."""

    def __init__(self, trace: Trace) -> None:
        self.mmio_bus = KvmIoBus(12)
        self._ioeventfds = IoEventFds(self.mmio_bus, KvmIoBus(0), trace)
        self._irqfds = IrqFds(lambda gsi, level: self.lines.append((gsi, level)), trace)
        self.lines: list[tuple[int, int]] = []
        #: what is assigned, in order
        self.ioeventfds: list[tuple[object, ...]] = []
        self.irqfds: list[tuple[object, ...]] = []

    def ioeventfd(self, eventfd, address, length, datamatch=None, *, deassign=False):
        args = (eventfd, address, length, datamatch)
        if deassign:
            self._ioeventfds.deassign(*args)
            self.ioeventfds.remove(args)
        else:
            self._ioeventfds.assign(*args)
            self.ioeventfds.append(args)

    def irqfd(self, eventfd, gsi, *, deassign=False):
        if deassign:
            self._irqfds.deassign(eventfd, gsi)
            self.irqfds.remove((eventfd, gsi))
        else:
            self._irqfds.assign(eventfd, gsi)
            self.irqfds.append((eventfd, gsi))

    @property
    def edges(self) -> int:
        """Interrupts so far, by irqfd."""
        ups, downs = self.lines[::2], self.lines[1::2]
        assert set(ups) <= {(GSI, 1)}
        assert set(downs) <= {(GSI, 0)}
        assert len(ups) == len(downs)
        return len(ups)


class Wired(Machine):
    """`queue` is the driver's end of the transmit queue, `rx` that of the receive queue.

    The other threads have turns only in `others()`.
    """

    def __init__(
        self,
        *,
        ioeventfd: bool = False,
        irqfd: bool = False,
        vhost: bool = False,
        trace: bool = False,
        offered: int = FEATURES,
    ) -> None:
        self.memory = GuestMemory()
        self.memory.add(0, memoryview(bytearray(RAM)))
        self.ledger = Ledger(Trace(enabled=trace))
        self.errors = GuestErrorLog(self.ledger.trace)
        self.scheduler = Scheduler(self.ledger)
        self.main_loop = MainLoop(self.ledger, self.scheduler)
        self.context = DeviceContext(
            "virtio-net",
            memory=self.memory,
            ledger=self.ledger,
            errors=self.errors,
            main_loop=self.main_loop,
        )
        self.wire = Wire()
        self.network = Tap("tap0", self.wire)
        self.client = NetClient(self.ledger, self.network, self.main_loop)
        self.net = VirtioNet(self.context, self.network, features=offered, client=self.client)
        self.mmio = VirtioMmio(self.context, self.net)
        self.vm = FakeVm(self.ledger.trace)
        wiring = KvmWiring(self.vm, BASE, GSI, self.main_loop, self.scheduler)
        connect(self.mmio, wiring, ioeventfd=ioeventfd, irqfd=irqfd, vhost=vhost)
        #: stores that came out to QEMU
        self.exits = 0

    def write(self, register: int, value: int) -> None:
        """A store of the guest: KVM's first, then QEMU's."""
        if not self.vm.mmio_bus.write(BASE + register, 4, value):
            self.exits += 1
            super().write(register, value)

    def others(self) -> int:
        """Let the other threads run; how many context switches that was."""
        before = self.ledger.context_switches
        assert self.scheduler.run_others() is False
        return self.ledger.context_switches - before

    # The driver -------------------------------------------------------------------------

    def bring_up(self, features: int = VERSION_1, size: int = 8) -> Wired:
        """Steps 1 to 8 with both queues; the threads have seen it."""
        self.set_up(features, size)
        self.write(Reg.STATUS, LIVE)
        self.others()
        return self

    def set_up(self, features: int = VERSION_1, size: int = 8) -> None:
        """Steps 1 to 7."""
        self.negotiate(features | VERSION_1)
        self.rx = self.lay_out(RECEIVE, size, features)
        self.queue = self.lay_out(TRANSMIT, size, features)

    def publish(self, ring: DriverQueue) -> bool:
        wanted = ring.publish()
        if wanted:
            self.kick(TRANSMIT if ring is self.queue else RECEIVE)
        return wanted

    def send(self, *frames: bytes) -> bool:
        """Packets, each at a place of its own, and a kick if it is wanted."""
        for data in frames:
            self.add(data, at=FRAMES + 0x800 * (self.queue.avail_idx % self.queue.size))
        return self.publish(self.queue)

    def give(self, count: int = 1) -> bool:
        """Receive buffers, and a kick if it is wanted."""
        for _ in range(count):
            place = self.rx.avail_idx % self.rx.size
            self.rx.add_buffer([], [(BUFFERS + 0x800 * place, 1526)])
        return self.publish(self.rx)

    def received(self) -> list[bytes]:
        return [
            bytes(
                self.memory.view(self.memory.read_u64(self.rx.desc + 16 * head), length)
            )[HEADER_SIZE:]
            for head, length in self.rx.reap()
        ]  # fmt: skip

    @property
    def sent(self) -> list[bytes]:
        return self.wire.frames

    def _figures(self) -> dict[str, int]:
        ledger = self.ledger
        return super()._figures() | {
            "exits": self.exits,
            "edges": self.vm.edges,
            "switches": ledger.context_switches,
            "syscalls": sum(ledger.syscalls.values()),
            "guest_to_host": ledger.guest_to_host.count,
            "host_to_guest": ledger.host_to_guest.count,
            **{call: ledger.syscalls.get(call, 0) for call in ("ppoll", "read")},
            "event_reads": ledger.syscalls.get("read(eventfd)", 0),
            "event_writes": ledger.syscalls.get("write(eventfd)", 0),
        }
