"""ioeventfd: kicks that do not leave KVM, and queues served by the main loop.

Without it a kick is an exit to QEMU: the vCPU's thread itself works on the queue, and the guest
waits meanwhile. With it KVM signals an eventfd and re-enters the guest; QEMU's main loop
wakes on its own thread, takes the event, and works.

    without   store to QueueNotify -> exit to QEMU -> virtio_queue_notify -> the device's work
              -> KVM_RUN -> the guest goes on
    with      store to QueueNotify -> exit to KVM -> eventfd -> the guest goes on
              main loop: ppoll() -> read() of the eventfd -> the device's work

QEMU: hw/virtio/virtio-mmio.c, virtio_mmio_ioeventfd_assign(); virtio-bus.c; virtio.c,
virtio_device_start_ioeventfd_impl() and virtio_queue_host_notifier_read().
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from toyvisor.errors import UsageError
from toyvisor.host.eventfd import EventFd
from toyvisor.host.scheduler import Scheduler
from toyvisor.host.syscalls import event_notifier_set, event_notifier_test_and_clear
from toyvisor.qemu.main_loop import Handler, MainLoop
from toyvisor.qemu.virtio.device import QueueSlot, VirtioDevice
from toyvisor.qemu.virtio.mmio import VirtioMmio
from toyvisor.qemu.virtio.registers import Reg
from toyvisor.trace.events import IOCTL, VIRTIO_QUEUE_NOTIFY

_NOTIFY_SIZE = 4  # QueueNotify is a register of 32 bits


class KvmVm(Protocol):
    """The ioctls of a VM that eventfds need (kvm/vm.py)."""

    def ioeventfd(
        self,
        eventfd: EventFd,
        address: int,
        length: int,
        datamatch: int | None = None,
        *,
        deassign: bool = False,
    ) -> None:
        """KVM_IOEVENTFD: a store of `length` bytes of `datamatch` at `address` signals."""
        ...

    def irqfd(self, eventfd: EventFd, gsi: int, *, deassign: bool = False) -> None:
        """KVM_IRQFD: a signal is an edge on the interrupt line `gsi`."""
        ...


class KvmWiring:
    """What a transport must know to be wired to KVM: where it sits, and who runs beside it."""

    __slots__ = ("base", "eventfd2", "gsi", "main_loop", "scheduler", "vm")

    def __init__(
        self,
        vm: KvmVm,
        base: int,
        gsi: int,
        main_loop: MainLoop,
        scheduler: Scheduler,
        eventfd2: Callable[[str], EventFd] = EventFd,
    ) -> None:
        self.vm = vm
        #: guest-physical address of the transport's registers
        self.base = base
        self.gsi = gsi
        self.main_loop = main_loop
        self.scheduler = scheduler
        #: how the host's kernel makes an eventfd of a name
        self.eventfd2 = eventfd2


class HostNotifiers:
    """An eventfd for the kicks of each queue, signalled by KVM (QEMU: host notifiers)."""

    __slots__ = ("_device", "_wiring", "eventfds")

    def __init__(self, device: VirtioDevice, wiring: KvmWiring) -> None:
        self._device = device
        self._wiring = wiring
        #: by queue; none while they are not assigned
        self.eventfds: list[EventFd] = []

    def assign(self) -> None:
        """From now on a kick ends in KVM (virtio_bus_set_host_notifier)."""
        for slot in self._device.queues:
            eventfd = self._wiring.eventfd2(f"{self._device.name}.{slot.name} kick")
            self._wiring.vm.ioeventfd(eventfd, self._address, _NOTIFY_SIZE, slot.index)
            self._note("KVM_IOEVENTFD")
            self.eventfds.append(eventfd)

    def deassign(self) -> None:
        """From now on a kick is an exit to QEMU again. What was signalled stays signalled.

        Whoever has read them for the last time closes them.
        """
        for index, eventfd in enumerate(self.eventfds):
            self._wiring.vm.ioeventfd(eventfd, self._address, _NOTIFY_SIZE, index, deassign=True)
            self._note("KVM_IOEVENTFD (deassign)")
        self.eventfds = []

    def kick(self, index: int) -> bool:
        """Signal for a kick that came out to QEMU (virtio_queue_notify); False if unassigned."""
        if not 0 <= index < len(self.eventfds):
            return False
        event_notifier_set(self._device.context.ledger, self.eventfds[index])
        return True

    @property
    def _address(self) -> int:
        return self._wiring.base + Reg.QUEUE_NOTIFY

    def _note(self, request: str) -> None:
        if self._device.context.trace.enabled:
            self._device.context.trace.emit(IOCTL, request)


class IoEventFdService:
    """The main loop works on the queues, woken by their kicks (a `QueueService`)."""

    __slots__ = ("_device", "_main_loop", "_notifiers")

    def __init__(self, device: VirtioDevice, wiring: KvmWiring) -> None:
        self._device = device
        self._main_loop = wiring.main_loop
        self._notifiers = HostNotifiers(device, wiring)

    def start(self) -> None:
        """Assign, and kick each ready queue: buffers may be there already (QEMU does it so)."""
        self._notifiers.assign()
        for index, eventfd in enumerate(self._notifiers.eventfds):
            self._main_loop.set_fd_handler(eventfd, self._reader(index, eventfd))
        for slot in self._device.queues:
            if slot.ready:
                self.kick(slot.index)

    def stop(self) -> None:
        """Deassign; a kick that the main loop has not seen yet is seen to now.

        QEMU: virtio_device_stop_ioeventfd_impl(), virtio_bus_cleanup_host_notifier().
        """
        eventfds = self._notifiers.eventfds
        for eventfd in eventfds:
            self._main_loop.set_fd_handler(eventfd, None)
        self._notifiers.deassign()
        for index, eventfd in enumerate(eventfds):
            self._host_notifier_read(index, eventfd)
            eventfd.close()

    def start_queue(self, slot: QueueSlot) -> None:
        """Its kicks are waited for already."""

    def stop_queue(self, slot: QueueSlot) -> None:
        """It was kicked while it was ready, so that kick counts."""
        if self._notifiers.eventfds:
            self._host_notifier_read(slot.index, self._notifiers.eventfds[slot.index])

    def kick(self, index: int) -> bool:
        """To the main loop."""
        return self._notifiers.kick(index)

    def update(self) -> None:
        """With or without a cable."""

    def _reader(self, index: int, eventfd: EventFd) -> Handler:
        return lambda: self._host_notifier_read(index, eventfd)

    def _host_notifier_read(self, index: int, eventfd: EventFd) -> None:
        """virtio_queue_host_notifier_read(): take the event, do the work."""
        context = self._device.context
        if event_notifier_test_and_clear(context.ledger, eventfd):
            if context.trace.enabled:
                context.trace.emit(VIRTIO_QUEUE_NOTIFY, self._device.name, index)
            self._device.notify(index, has_come=True)


def connect(
    transport: VirtioMmio,
    wiring: KvmWiring,
    *,
    ioeventfd: bool = False,
    irqfd: bool = False,
    vhost: bool = False,
) -> None:
    """Wire a virtio device to KVM. `vhost` needs the other two, and so implies them.

    Raises UsageError if the device can't be served by vhost.
    """
    device = transport.device
    if irqfd or vhost:
        eventfd = wiring.eventfd2(f"{device.name} irqfd")
        wiring.vm.irqfd(eventfd, wiring.gsi)
        transport.irqfd = eventfd
    if vhost:
        from toyvisor.qemu.virtio.net import VirtioNet
        from toyvisor.qemu.virtio.vhost import VhostNetService

        if not isinstance(device, VirtioNet):
            raise UsageError(f"{device.name}: vhost serves network devices only")
        device.queue_service = VhostNetService(transport, device, wiring)
    elif ioeventfd:
        device.queue_service = IoEventFdService(device, wiring)
