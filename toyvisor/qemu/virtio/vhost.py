"""vhost, seen from QEMU: hand the queues of a virtio-net device to the kernel, and back.

While the driver is there (DRIVER_OK) and the cable is in, vhost serves both queues: the kick
eventfds go to it instead of to the main loop, and its call eventfds go to KVM as irqfds. QEMU
sees no packet, and no interrupt. At a reset, or when the cable is pulled, QEMU takes the queues
back where vhost left off (VHOST_GET_VRING_BASE).

QEMU: hw/net/vhost_net.c, hw/virtio/vhost.c, and virtio_net_vhost_status() in virtio-net.c.

InterruptStatus. A driver on virtio-mmio reads it in its handler, and QEMU has to answer with
bit 0 if buffers were used, although it was not there when vhost used them. Three ways are taken:

    QEMU, kvmtool    no irqfd on virtio-mmio: a thread of QEMU reads vhost's call eventfd, sets
                     the bit, and raises the interrupt itself (virtio_mmio_set_guest_notifiers:
                     with_irqfd = false; kvmtool: virtio_vhost_signal_vq). Exact, and a detour
                     of two system calls and a thread for each interrupt.
    Firecracker      an irqfd, and the bit is always set, unless the interrupt was for a
                     configuration change (vhost-user; transport/mmio.rs). No detour, and a
                     driver that asks again after its acknowledgement is told lies.
    here             an irqfd, and QEMU looks into the used rings when the register is read: the
                     bit is set if used.idx has moved since the last look, and stays until it
                     is acknowledged. Each look is a load of 2 bytes from shared memory.

Asking the call eventfd instead would not do: KVM takes its counter (Linux 5.11 and later), so
QEMU finds 0. The look is as exact as a driver can want: what is used before it is shown, and
what is used after it comes with an interrupt of its own. One thing differs: buffers for which
the driver wanted no interrupt set the bit, too.
"""

from __future__ import annotations

from toyvisor.errors import GuestError
from toyvisor.host.eventfd import EventFd
from toyvisor.host.syscalls import event_notifier_test_and_clear
from toyvisor.host.vhost_net import VhostNet
from toyvisor.qemu.virtio.device import QueueSlot
from toyvisor.qemu.virtio.ioeventfd import HostNotifiers, IoEventFdService, KvmWiring
from toyvisor.qemu.virtio.mmio import VirtioMmio
from toyvisor.qemu.virtio.net import VirtioNet
from toyvisor.trace.events import IOCTL, VHOST_DEV_START, VHOST_DEV_STOP, EventKind
from toyvisor.virtio.ring_memory import LE16, RingMemory

_USED_IDX = 2  # its offset in struct virtq_used (2.7.8)


class GuestNotifier:
    """One queue's way back to the guest: vhost's call, and what QEMU has seen of its ring."""

    __slots__ = ("_seen", "_used", "eventfd")

    def __init__(self, eventfd: EventFd, used: RingMemory) -> None:
        self.eventfd = eventfd
        self._used = used
        self._seen = self._used_idx()

    def has_moved(self) -> bool:
        """Whether used.idx is another one than at the last look."""
        before, self._seen = self._seen, self._used_idx()
        return self._seen != before

    @property
    def would_have_moved(self) -> bool:
        """The same for a debugger: a look that leaves no trace, and is not remembered."""
        return bool(LE16.unpack_from(self._used.ram, _USED_IDX)[0] != self._seen)

    def _used_idx(self) -> int:
        idx: int = self._used.load(LE16, _USED_IDX)[0]
        return idx


class VhostNetService:
    """vhost works on the queues of a virtio-net device (a `QueueService`).

    Without a cable QEMU's main loop does, which throws away what is sent.
    """

    __slots__ = (
        "_device",
        "_err",
        "_errors",
        "_guest_notifiers",
        "_host_notifiers",
        "_own",
        "_tap",
        "_transport",
        "_wiring",
        "started",
        "vhost",
    )

    def __init__(self, transport: VirtioMmio, device: VirtioNet, wiring: KvmWiring) -> None:
        self._transport = transport
        self._device = device
        self._tap = device.backend
        self._wiring = wiring
        self._own = IoEventFdService(device, wiring)
        self._host_notifiers = HostNotifiers(device, wiring)
        #: by queue: those that vhost has
        self._guest_notifiers: dict[int, GuestNotifier] = {}
        context = device.context
        self.vhost = VhostNet(context.ledger, context.memory, wiring.scheduler)
        self.vhost.on_error = self._vq_err
        self._err = wiring.eventfd2(f"{device.name} err")
        self._errors: list[GuestError] = []
        #: whether vhost has the queues
        self.started = False

    # QueueService -------------------------------------------------------------------------

    def start(self) -> None:
        """DRIVER_OK."""
        if self._device.link_up:
            self._start_vhost()
        else:
            self._own.start()

    def stop(self) -> None:
        """Whoever has the queues leaves them alone."""
        if self.started:
            self._stop_vhost()
        self._own.stop()

    def update(self) -> None:
        """The cable was plugged or pulled (virtio_net_vhost_status)."""
        device = self._device
        if not device.live or device.link_up == self.started:
            return
        if device.link_up:
            self._own.stop()
            self._start_vhost()
        else:
            for index, base in self._stop_vhost().items():
                device.map_ring(device.queues[index], base)
            self._own.start()

    def start_queue(self, slot: QueueSlot) -> None:
        """The queue goes to vhost, if the others are there."""
        if self.started:
            self._start_ring(slot, 0)
            self.vhost.set_backend(self._tap)

    def stop_queue(self, slot: QueueSlot) -> None:
        """Nobody has it any more."""
        if slot.index in self._guest_notifiers:
            self._stop_ring(slot.index)
        self._own.stop_queue(slot)

    def kick(self, index: int) -> bool:
        """To vhost, or to QEMU's own main loop."""
        return self._host_notifiers.kick(index) or self._own.kick(index)

    # vhost_net_start, vhost_net_stop ----------------------------------------------------------

    def _start_vhost(self) -> None:
        self.started = True
        device = self._device
        self._emit(VHOST_DEV_START, device.name)
        if device.client is not None:
            device.client.suspend()
        self._host_notifiers.assign()
        self._err.close()
        self._err = self._wiring.eventfd2(f"{device.name} err")
        self._wiring.main_loop.set_fd_handler(self._err, self._error_notifier_read)
        self._ioctl("VHOST_SET_FEATURES")
        self.vhost.set_features(device.features)
        for slot in device.queues:
            if slot.ring is not None:
                self._start_ring(slot, slot.ring.last_avail)
        self._ioctl("VHOST_NET_SET_BACKEND")
        self.vhost.set_backend(self._tap)
        self._transport.used_elsewhere = self._used_buffers

    def _stop_vhost(self) -> dict[int, int]:
        """Returns where each queue goes on."""
        self.started = False
        self._emit(VHOST_DEV_STOP, self._device.name)
        self._ioctl("VHOST_NET_SET_BACKEND")
        self.vhost.set_backend(None)
        bases = {index: self._stop_ring(index) for index in list(self._guest_notifiers)}
        self._transport.used_elsewhere = None
        self._wiring.main_loop.set_fd_handler(self._err, None)
        self._err.close()
        self._errors = []
        kicks = self._host_notifiers.eventfds
        self._host_notifiers.deassign()
        for kick in kicks:
            kick.close()
        return bases

    def _start_ring(self, slot: QueueSlot, base: int) -> None:
        """vhost_virtqueue_start(), and the guest notifier of the queue."""
        context, index = self._device.context, slot.index
        assert slot.ring is not None
        slot.ring.stop()  # QEMU's own end of it
        call = self._wiring.eventfd2(f"{self._device.name}.{slot.name} call")
        self._wiring.vm.irqfd(call, self._wiring.gsi)
        self._ioctl("KVM_IRQFD")
        used = context.memory.view(slot.config.device, 4)
        self._guest_notifiers[index] = GuestNotifier(
            call, RingMemory(slot.config.device, used, context.ledger)
        )
        for what in ("NUM", "BASE", "ADDR", "KICK", "CALL"):
            self._ioctl(f"VHOST_SET_VRING_{what}")
        kick = self._host_notifiers.eventfds[index]
        self.vhost.set_vring(index, slot.config, base, kick, call)

    def _stop_ring(self, index: int) -> int:
        """vhost_virtqueue_stop(): the ring is QEMU's again, which goes on at what is returned."""
        self._ioctl("VHOST_GET_VRING_BASE")
        base = self.vhost.stop(index)
        self._transport.note_used_elsewhere()
        notifier = self._guest_notifiers.pop(index)
        self._wiring.vm.irqfd(notifier.eventfd, self._wiring.gsi, deassign=True)
        self._ioctl("KVM_IRQFD (deassign)")
        notifier.eventfd.close()
        return base

    @property
    def has_unseen_used(self) -> bool:
        """Whether InterruptStatus would show buffers that QEMU has not seen; for a debugger."""
        return any(notifier.would_have_moved for notifier in self._guest_notifiers.values())

    # What comes back ------------------------------------------------------------------------

    def _used_buffers(self) -> bool:
        """Whether buffers were used since the last look, in any of the rings."""
        moved = [notifier.has_moved() for notifier in self._guest_notifiers.values()]
        return any(moved)

    def _vq_err(self, index: int, error: GuestError) -> None:
        """In vhost's thread: QEMU is to hear of it (VHOST_SET_VRING_ERR)."""
        self._errors.append(error)
        self._err.signal()

    def _error_notifier_read(self) -> None:
        """In the main loop (vhost_virtqueue_error_notifier): the device has to give up."""
        if event_notifier_test_and_clear(self._device.context.ledger, self._err):
            for error in self._errors:
                self._device.needs_reset(error)

    # Tracing --------------------------------------------------------------------------------

    def _ioctl(self, request: str) -> None:
        self._emit(IOCTL, request)

    def _emit(self, kind: EventKind, *fields: str) -> None:
        if self._device.context.trace.enabled:
            self._device.context.trace.emit(kind, *fields)
