"""The devices a machine block can name: how each is made, and where it sits.

Devices sit where a minimal Linux VM (Firecracker, QEMU's microvm) has them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from toyvisor.host.console import Console
from toyvisor.host.frames import DEFAULT_MAC
from toyvisor.host.syscalls import NetFile
from toyvisor.memory import PAGE_SIZE
from toyvisor.qemu.device import DeviceContext, MemoryRegionOps

#: The first device window in guest-physical memory, and the interrupt line of its device.
MMIO_BASE = 0xD0000000
MMIO_WINDOW = PAGE_SIZE
FIRST_IRQ = 5


class Backends(NamedTuple):
    """The host files a device can be connected to."""

    console: Console
    net: NetFile


class DeviceType(NamedTuple):
    """A device by its name in the machine block.

    `port` is the first of `ports` fixed port addresses; None for a device that gets the
    next free memory window and interrupt line.
    """

    summary: str
    build: Callable[[DeviceContext, Backends, Mapping[str, Any]], MemoryRegionOps]
    options: tuple[str, ...] = ()
    port: int | None = None
    ports: int = 1
    irq: int | None = None


class OptionError(ValueError):
    """A device option has a value that the device can't take."""


def _serial(
    context: DeviceContext, backends: Backends, _options: Mapping[str, Any]
) -> MemoryRegionOps:
    from toyvisor.qemu.devices.serial import Serial16550

    return Serial16550(context, backends.console)


def _debugcon(
    context: DeviceContext, backends: Backends, _options: Mapping[str, Any]
) -> MemoryRegionOps:
    from toyvisor.qemu.devices.debugcon import DebugConsole

    return DebugConsole(context, backends.console)


def _mmio_nic(
    context: DeviceContext, backends: Backends, options: Mapping[str, Any]
) -> MemoryRegionOps:
    from toyvisor.qemu.devices.mmio_nic import MmioNic

    return MmioNic(context, backends.net, _mac(options))


def _virtio_net(
    context: DeviceContext, backends: Backends, options: Mapping[str, Any]
) -> MemoryRegionOps:
    from toyvisor.qemu.virtio.mmio import VirtioMmio
    from toyvisor.qemu.virtio.net import VirtioNet

    return VirtioMmio(context, VirtioNet(context, backends.net, _mac(options)))


def _mac(options: Mapping[str, Any]) -> bytes:
    text = options.get("mac")
    if text is None:
        return DEFAULT_MAC
    if not isinstance(text, str) or not re.fullmatch(r"([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}", text):
        raise OptionError(f'mac is {text!r}, not six bytes like "52:54:00:12:34:56"')
    mac = bytes.fromhex(text.replace(":", ""))
    if mac[0] & 1:
        raise OptionError(f"mac {text} is a multicast address (lowest bit of the first byte)")
    return mac


DEVICE_TYPES: dict[str, DeviceType] = {
    "serial": DeviceType("16550A serial port, COM1", _serial, port=0x3F8, ports=8, irq=4),
    "debugcon": DeviceType("debug console: one port to print to", _debugcon, port=0xE9),
    "mmio-nic": DeviceType(
        "full virtualization: a network card whose data goes through its registers",
        _mmio_nic,
        options=("mac",),
    ),
    "virtio-net": DeviceType(
        "para-virtualization: virtio network device over virtio-mmio",
        _virtio_net,
        options=("mac",),
    ),
}
