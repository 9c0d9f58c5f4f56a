"""ioeventfd and irqfd: how the guest and the host signal each other without QEMU.

    ioeventfd   a store of the guest to a certain address signals an eventfd: the exit ends in
                KVM, and whoever waits for the eventfd (QEMU's main loop, vhost) works beside
                the guest
    irqfd       a signal on an eventfd raises an interrupt line of the guest: whoever has the
                eventfd (vhost, QEMU) can interrupt the guest without an ioctl

Linux: virt/kvm/eventfd.c. What KVM answers EINVAL, EEXIST, ENOENT or EBUSY to raises
UsageError here. One thing is missing: irqfds with a second eventfd that is signalled at the
EOI (KVM_IRQFD_FLAG_RESAMPLE), which lines that several devices share need.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from toyvisor.errors import UsageError
from toyvisor.kvm.io_bus import KvmIoBus
from toyvisor.trace.events import IOEVENTFD, IRQFD, KVM_FAST_MMIO, Trace

#: What an ioeventfd may be as wide as; 0 is any width.
LENGTHS = (0, 1, 2, 4, 8)
_ADDRESS_SPACE = 1 << 64


class EventFd(Protocol):
    """An eventfd as the kernel has it (struct eventfd_ctx)."""

    name: str

    def signal(self) -> None:
        """Add 1 to the counter and wake who waits."""
        ...

    def read(self) -> int:
        """Take the counter, and leave 0."""
        ...

    @property
    def readable(self) -> bool:
        """Whether the counter is not 0."""
        ...

    def add_waiter(self, waiter: Callable[[], None]) -> None:
        """Call `waiter` at every signal."""
        ...

    def remove_waiter(self, waiter: Callable[[], None]) -> None:
        """Call it no more."""
        ...


class IoEventFd:
    """struct _ioeventfd, a device on one of KVM's buses: a store that fits signals `eventfd`.

    `length` 0: a store of any width. `datamatch` None: a store of anything (Linux: wildcard).
    What does not fit is not this device's, and goes on to the next one or to QEMU. So does
    every load. (On Intel, Linux's KVM takes a load from an MMIO address with length 0 for a
    store, signals, and skips it: handle_ept_misconfig() asks no further.)
    """

    __slots__ = ("address", "datamatch", "eventfd", "is_mmio", "length", "trace")

    def __init__(
        self,
        eventfd: EventFd,
        address: int,
        length: int,
        datamatch: int | None,
        trace: Trace,
        *,
        is_mmio: bool = True,
    ) -> None:
        self.eventfd = eventfd
        self.address = address
        self.length = length
        self.datamatch = datamatch
        self.trace = trace
        self.is_mmio = is_mmio

    def accepts(self, address: int, size: int, value: int | None) -> bool:
        """A store is ours if address, width and data are right (ioeventfd_in_range)."""
        if value is None or address != self.address:
            return False
        return not self.length or (size == self.length and self.datamatch in (None, value))

    def read(self, address: int, size: int) -> int | None:
        """A load: never ours."""
        return None

    def write(self, address: int, size: int, value: int) -> bool:
        """A store that fits signals the eventfd."""
        if not self.accepts(address, size, value):
            return False
        if self.trace.enabled:
            if self.is_mmio and not self.length:
                self.trace.emit(KVM_FAST_MMIO, address)
            self.trace.emit(IOEVENTFD, self.eventfd.name, address, size, value)
        self.eventfd.signal()
        return True

    def collides(self, other: IoEventFd) -> bool:
        """Whether one store could fit both (ioeventfd_check_collision)."""
        if self.is_mmio != other.is_mmio or self.address != other.address:
            return False
        if not self.length or not other.length:
            return True
        wildcard = self.datamatch is None or other.datamatch is None
        return self.length == other.length and (wildcard or self.datamatch == other.datamatch)

    def is_like(self, other: IoEventFd) -> bool:
        """Whether it was assigned with the same arguments."""
        return (
            self.eventfd is other.eventfd
            and (self.is_mmio, self.address, self.length, self.datamatch)
            == (other.is_mmio, other.address, other.length, other.datamatch)
        )  # fmt: skip


class IoEventFds:
    """The ioeventfds of one VM: ioctl(KVM_IOEVENTFD)."""

    __slots__ = ("_assigned", "_mmio_bus", "_pio_bus", "_trace")

    def __init__(self, mmio_bus: KvmIoBus, pio_bus: KvmIoBus, trace: Trace) -> None:
        self._mmio_bus = mmio_bus
        self._pio_bus = pio_bus
        self._trace = trace
        self._assigned: list[IoEventFd] = []

    def assign(
        self,
        eventfd: EventFd,
        address: int,
        length: int,
        datamatch: int | None = None,
        *,
        pio: bool = False,
    ) -> None:
        """From now on a fitting store signals `eventfd`. `pio`: `address` is a port.

        Raises UsageError for what Linux answers EINVAL (a width there is not, a range past
        2^64, data to match without a width) or EEXIST (another one could fit the same store).
        """
        if length not in LENGTHS:
            raise UsageError(f"ioeventfd: {length} bytes: a store has 1, 2, 4 or 8 (0 is any)")
        if address + length >= _ADDRESS_SPACE:
            raise UsageError(f"ioeventfd: {length} bytes at {address:#x} wrap round")
        if length == 0 and datamatch is not None:
            raise UsageError("ioeventfd: no data can be matched in a store of any width")
        # The ABI has 64 bits of datamatch, and compares all of them with what was stored.
        new = IoEventFd(eventfd, address, length, datamatch, self._trace, is_mmio=not pio)
        for other in self._assigned:
            if new.collides(other):
                raise UsageError(f"ioeventfd: {address:#x} has one that takes the same stores")
        self._bus(new).register(address, length, new)
        self._assigned.append(new)

    def deassign(
        self,
        eventfd: EventFd,
        address: int,
        length: int,
        datamatch: int | None = None,
        *,
        pio: bool = False,
    ) -> None:
        """End it (KVM_IOEVENTFD_FLAG_DEASSIGN). Raises UsageError for Linux's ENOENT."""
        wanted = IoEventFd(eventfd, address, length, datamatch, self._trace, is_mmio=not pio)
        for found in self._assigned:
            if found.is_like(wanted):
                self._bus(found).unregister(found)
                self._assigned.remove(found)
                return
        raise UsageError(f"ioeventfd: there is none like this at {address:#x}")

    def _bus(self, device: IoEventFd) -> KvmIoBus:
        return self._mmio_bus if device.is_mmio else self._pio_bus


class IrqFd:
    """struct kvm_kernel_irqfd: each signal is an edge on a line of the interrupt controller.

    Up and down at once: nobody is there to lower the line later. So a controller that
    watches the level would never see it; and a line that somebody else holds up has no edge.
    """

    __slots__ = ("_set_irq", "_trace", "eventfd", "gsi")

    def __init__(
        self, eventfd: EventFd, gsi: int, set_irq: Callable[[int, int], None], trace: Trace
    ) -> None:
        self.eventfd = eventfd
        self.gsi = gsi
        self._set_irq = set_irq
        self._trace = trace

    def wake_up(self) -> None:
        """The eventfd was signalled (irqfd_wakeup).

        Since Linux 5.11 KVM takes the counter, so userspace that has the same eventfd finds
        nothing in it and is not woken for nothing.
        """
        self.eventfd.read()
        self.inject()

    def inject(self) -> None:
        """irqfd_inject(): the edge."""
        if self._trace.enabled:
            self._trace.emit(IRQFD, self.eventfd.name, self.gsi)
        self._set_irq(self.gsi, 1)
        self._set_irq(self.gsi, 0)


class IrqFds:
    """The irqfds of one VM: ioctl(KVM_IRQFD). `set_irq(gsi, level)` is kvm_set_irq()."""

    __slots__ = ("_assigned", "_set_irq", "_trace")

    def __init__(self, set_irq: Callable[[int, int], None], trace: Trace) -> None:
        self._set_irq = set_irq
        self._trace = trace
        self._assigned: list[IrqFd] = []

    def assign(self, eventfd: EventFd, gsi: int) -> None:
        """From now on a signal on `eventfd` is an edge on `gsi`; one that waits is one at once.

        Several eventfds may share a line. Raises UsageError for Linux's EBUSY: one eventfd
        has one line.
        """
        if any(irqfd.eventfd is eventfd for irqfd in self._assigned):
            raise UsageError(f"irqfd: {eventfd.name} interrupts already")
        irqfd = IrqFd(eventfd, gsi, self._set_irq, self._trace)
        self._assigned.append(irqfd)
        eventfd.add_waiter(irqfd.wake_up)
        if eventfd.readable:
            irqfd.inject()

    def deassign(self, eventfd: EventFd, gsi: int) -> None:
        """End it (KVM_IRQFD_FLAG_DEASSIGN). Nothing happens if there is none, as in Linux."""
        for irqfd in list(self._assigned):
            if irqfd.eventfd is eventfd and irqfd.gsi == gsi:
                self._shutdown(irqfd)

    def release(self) -> None:
        """The VM ends (kvm_irqfd_release): eventfds live on, and interrupt nobody."""
        for irqfd in list(self._assigned):
            self._shutdown(irqfd)

    def _shutdown(self, irqfd: IrqFd) -> None:
        irqfd.eventfd.remove_waiter(irqfd.wake_up)
        self._assigned.remove(irqfd)
