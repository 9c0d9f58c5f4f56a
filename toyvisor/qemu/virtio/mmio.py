"""The virtio-mmio transport, version 2 (VIRTIO 1.2, 4.2; QEMU: hw/virtio/virtio-mmio.c).

A page of registers through which a driver finds a device, negotiates, and says where its
queues are. After that one register is left to do: QueueNotify. All else happens in the
rings.

This is where a guest's access enters, so this is where its errors end: whatever the driver
does, `read()` and `write()` return.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from toyvisor.errors import GuestError
from toyvisor.host.syscalls import EventFile, event_notifier_set
from toyvisor.qemu.device import DeviceContext
from toyvisor.qemu.virtio import registers, rules
from toyvisor.qemu.virtio.device import QueueSlot, VirtioDevice
from toyvisor.qemu.virtio.registers import CONFIG, REGISTERS, Reg, register_name
from toyvisor.trace.events import VIRTIO_NOTIFY_IRQFD, VIRTIO_QUEUE_NOTIFY
from toyvisor.virtio.constants import Interrupt, Status

_ALL_ONES = 0xFFFFFFFF
_LOW, _HIGH = 0xFFFFFFFF, 0xFFFFFFFF << 32


class VirtioMmio:
    """The registers of one device (a `MemoryRegionOps`)."""

    __slots__ = (
        "context",
        "device",
        "device_features_sel",
        "driver_features_sel",
        "interrupt_status",
        "irqfd",
        "name",
        "queue_sel",
        "used_elsewhere",
    )

    #: bytes of guest-physical address space it takes
    size = registers.REGION_SIZE

    def __init__(self, context: DeviceContext, device: VirtioDevice) -> None:
        self.context = context
        self.device = device
        self.name: str = device.name
        device.transport = self
        #: an eventfd that KVM makes an interrupt of; None: QEMU drives the line
        self.irqfd: EventFile | None = None
        #: whether buffers were used since it was last asked, by somebody who can't set
        #: InterruptStatus: vhost (see qemu/virtio/vhost.py)
        self.used_elsewhere: Callable[[], bool] | None = None
        self._reset_registers()

    def _reset_registers(self) -> None:
        self.device_features_sel = 0
        self.driver_features_sel = 0
        self.queue_sel = 0
        self.interrupt_status = 0
        self.context.irq.set(0)

    # The guest's accesses (MemoryRegionOps) -------------------------------------------------

    def read(self, offset: int, size: int) -> int:
        """The guest loads from a register; a load it must not do gives 0 and is reported."""
        try:
            if offset >= CONFIG:
                return self._read_config(offset - CONFIG, size)
            _check_access(offset, size)
            reader = self._READERS.get(offset)
            if reader is None:
                raise _no_such_access(offset, "read")
            return reader(self)
        except GuestError as error:
            self.context.errors.report(self.name, error)
            return 0

    def write(self, offset: int, size: int, value: int) -> None:
        """The guest stores to a register; a store it must not do is ignored and reported."""
        try:
            if offset >= CONFIG:
                self._write_config(offset - CONFIG, size, value)
                return
            _check_access(offset, size)
            writer = self._WRITERS.get(offset)
            if writer is None:
                raise _no_such_access(offset, f"written ({value:#x})")
            writer(self, value & 0xFFFFFFFF)
        except GuestError as error:
            self.context.errors.report(self.name, error)

    # Interrupts (4.2.2.1, 4.2.3.4) ------------------------------------------------------------

    def interrupt(self, event: Interrupt) -> None:
        """Present an event until the driver acknowledges it."""
        self.interrupt_status |= int(event)
        if self.irqfd is None:
            self._update_irq()
            return
        # An edge for each event: nobody could lower the line when it is acknowledged.
        if self.context.trace.enabled:
            self.context.trace.emit(VIRTIO_NOTIFY_IRQFD, self.name)
        event_notifier_set(self.context.ledger, self.irqfd)

    def _update_irq(self) -> None:
        # Level triggered: high as long as any event is unacknowledged.
        self.context.irq.set(int(self.interrupt_status != 0))

    def note_used_elsewhere(self) -> None:
        """Have InterruptStatus show what was used without QEMU, until it is acknowledged."""
        if self.used_elsewhere is not None and self.used_elsewhere():
            self.interrupt_status |= int(Interrupt.USED_BUFFER)

    def _read_interrupt_status(self) -> int:
        if self.used_elsewhere is not None:
            self.note_used_elsewhere()
        return self.interrupt_status

    def _write_interrupt_ack(self, value: int) -> None:
        self.interrupt_status &= ~value
        if self.irqfd is None:
            self._update_irq()
        if value & ~int(Interrupt.USED_BUFFER | Interrupt.CONFIG_CHANGE):
            raise rules.ACK_BITS.broken(f"InterruptACK written with {value:#x}")

    # Status and features --------------------------------------------------------------------

    def _write_status(self, value: int) -> None:
        if value == 0:
            self.device.reset()
            self._reset_registers()
        else:
            self.device.set_status(value)

    def _write_device_features_sel(self, value: int) -> None:
        self.device_features_sel = value

    def _write_driver_features_sel(self, value: int) -> None:
        self.driver_features_sel = value

    def _write_driver_features(self, value: int) -> None:
        self.device.set_driver_features(self.driver_features_sel, value)

    # Queues ---------------------------------------------------------------------------------

    def _write_queue_sel(self, value: int) -> None:
        self.queue_sel = value

    def _read_queue_num_max(self) -> int:
        # How a driver finds out which queues there are, so no error (4.2.3.2, step 3).
        queues = self.device.queues
        return queues[self.queue_sel].max_size if self.queue_sel < len(queues) else 0

    def _selected(self, what: str) -> QueueSlot:
        if self.queue_sel >= len(self.device.queues):
            raise rules.NO_QUEUE.broken(f"{what} with QueueSel {self.queue_sel:#x}")
        return self.device.queues[self.queue_sel]

    def _configurable(self, what: str) -> QueueSlot:
        slot = self._selected(what)
        if slot.ready:
            raise rules.QUEUE_BUSY.broken(f"{what} while queue {slot.name} is ready")
        return slot

    def _write_queue_num(self, value: int) -> None:
        # Checked when the queue is made ready, as the addresses are.
        self._configurable(f"QueueNum {value:#x} written").config.size = value

    def _write_address(self, area: str, half: int, value: int) -> None:
        config = self._configurable(f"the {area} area's address written").config
        setattr(config, area, getattr(config, area) & ~half | value)

    def _write_queue_ready(self, value: int) -> None:
        slot = self._selected(f"QueueReady {value:#x} written")
        if value > 1:
            raise rules.READY_VALUE.broken(f"QueueReady {value:#x} written")
        if value == 0:
            self.device.stop_queue(slot)
        elif not self.device.status & Status.FEATURES_OK:
            raise rules.READY_EARLY.broken(
                f"queue {slot.name} made ready with status {self.device.status:#x}"
            )
        elif not slot.ready:
            self.device.start_queue(slot)

    def _write_queue_reset(self, value: int) -> None:
        # No device offers RING_RESET yet, so none can have negotiated it.
        raise rules.RING_RESET.broken(f"QueueReset {value:#x} written")

    def _write_queue_notify(self, value: int) -> None:
        if self.context.trace.enabled:
            self.context.trace.emit(VIRTIO_QUEUE_NOTIFY, self.name, value)
        self.device.notify(value)

    # Configuration space (4.2.2: byte-addressed) ----------------------------------------------

    def _read_config(self, offset: int, size: int) -> int:
        self._check_config(offset, size, "read")
        return self.device.read_config(offset, size)

    def _write_config(self, offset: int, size: int, value: int) -> None:
        end = len(self.device.config)
        if offset + size > end:
            raise rules.CONFIG_END.broken(f"{size} bytes written at +{offset:#x} of {end}")
        if not self.device.status & Status.FEATURES_OK:
            raise rules.CONFIG_EARLY.broken(f"+{offset:#x} written before FEATURES_OK")
        self.device.write_config(offset, size, value)

    def _check_config(self, offset: int, size: int, what: str) -> None:
        """Report what is odd about a load; it is served all the same, byte by byte."""
        end = len(self.device.config)
        if offset + size > end:
            error = rules.CONFIG_END.broken(f"{size} bytes {what} at +{offset:#x} of {end}")
        elif size > 4 or offset % size:
            error = rules.CONFIG_WIDTH.broken(f"{size} bytes {what} at +{offset:#x}")
        else:
            return
        self.context.errors.report(self.name, error)

    # What an access to each register does -----------------------------------------------------

    _READERS: ClassVar[dict[int, Callable[[VirtioMmio], int]]] = {
        Reg.MAGIC_VALUE: lambda self: registers.MAGIC,
        Reg.VERSION: lambda self: registers.VERSION,
        Reg.DEVICE_ID: lambda self: int(self.device.device_id),
        Reg.VENDOR_ID: lambda self: registers.VENDOR,
        Reg.DEVICE_FEATURES: lambda self: self.device.device_features(self.device_features_sel),
        Reg.QUEUE_NUM_MAX: _read_queue_num_max,
        Reg.QUEUE_READY: lambda self: int(self._selected("read QueueReady").ready),
        Reg.INTERRUPT_STATUS: _read_interrupt_status,
        Reg.STATUS: lambda self: self.device.status,
        # No shared memory regions: length and base of one that is not there (4.2.2).
        Reg.SHM_LEN_LOW: lambda self: _ALL_ONES,
        Reg.SHM_LEN_HIGH: lambda self: _ALL_ONES,
        Reg.SHM_BASE_LOW: lambda self: _ALL_ONES,
        Reg.SHM_BASE_HIGH: lambda self: _ALL_ONES,
        Reg.QUEUE_RESET: lambda self: 0,
        Reg.CONFIG_GENERATION: lambda self: self.device.config_generation,
    }
    _WRITERS: ClassVar[dict[int, Callable[[VirtioMmio, int], None]]] = {
        Reg.DEVICE_FEATURES_SEL: _write_device_features_sel,
        Reg.DRIVER_FEATURES: _write_driver_features,
        Reg.DRIVER_FEATURES_SEL: _write_driver_features_sel,
        Reg.QUEUE_SEL: _write_queue_sel,
        Reg.QUEUE_NUM: _write_queue_num,
        Reg.QUEUE_READY: _write_queue_ready,
        Reg.QUEUE_NOTIFY: _write_queue_notify,
        Reg.INTERRUPT_ACK: _write_interrupt_ack,
        Reg.STATUS: _write_status,
        Reg.QUEUE_DESC_LOW: lambda self, value: self._write_address("desc", _LOW, value),
        Reg.QUEUE_DESC_HIGH: lambda self, value: self._write_address("desc", _HIGH, value << 32),
        Reg.QUEUE_DRIVER_LOW: lambda self, value: self._write_address("driver", _LOW, value),
        Reg.QUEUE_DRIVER_HIGH: lambda self, value: self._write_address(
            "driver", _HIGH, value << 32
        ),
        Reg.QUEUE_DEVICE_LOW: lambda self, value: self._write_address("device", _LOW, value),
        Reg.QUEUE_DEVICE_HIGH: lambda self, value: self._write_address(
            "device", _HIGH, value << 32
        ),
        Reg.SHM_SEL: lambda self, value: None,  # whichever it is, there is no such region
        Reg.QUEUE_RESET: _write_queue_reset,
    }


def _check_access(offset: int, size: int) -> None:
    """4.2.2.2: control registers by 32-bit aligned accesses only, and only those there are."""
    if size != 4 or offset % 4:
        raise rules.ACCESS_WIDTH.broken(
            f"{size}-byte access at {offset:#05x} ({register_name(offset)})"
        )


def _no_such_access(offset: int, what: str) -> GuestError:
    """Why an aligned control register access is not possible."""
    if offset not in REGISTERS:
        return rules.NO_REGISTER.broken(f"offset {offset:#05x} {what}: no register is there")
    rule = rules.WRITE_ONLY if what == "read" else rules.READ_ONLY
    return rule.broken(f"{register_name(offset)} ({offset:#05x}) {what}")
