"""Which kind of device one is, for views that know its registers."""

from __future__ import annotations

from enum import StrEnum

from toyvisor.qemu.device import MemoryRegionOps
from toyvisor.qemu.devices.debugcon import DebugConsole
from toyvisor.qemu.devices.mmio_nic import MmioNic
from toyvisor.qemu.devices.serial import Serial16550
from toyvisor.qemu.virtio.mmio import VirtioMmio


class DeviceKind(StrEnum):
    """As machine blocks call it; all virtio devices are alike to their registers."""

    MMIO_NIC = "mmio-nic"
    VIRTIO = "virtio"
    SERIAL = "serial"
    DEBUGCON = "debugcon"
    OTHER = ""


_KINDS: dict[type, DeviceKind] = {
    MmioNic: DeviceKind.MMIO_NIC,
    VirtioMmio: DeviceKind.VIRTIO,
    Serial16550: DeviceKind.SERIAL,
    DebugConsole: DeviceKind.DEBUGCON,
}


def kind_of(device: MemoryRegionOps) -> DeviceKind:
    """The kind of a device that a machine has."""
    return _KINDS.get(type(device), DeviceKind.OTHER)
