"""The devices a machine block can name: how each is made, and where it sits.

Devices sit where a minimal Linux VM (Firecracker, QEMU's microvm) has them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from toyvisor.host.console import Console
from toyvisor.host.frames import DEFAULT_MAC
from toyvisor.host.syscalls import NetFile
from toyvisor.memory import PAGE_SIZE
from toyvisor.qemu.device import DeviceContext, MemoryRegionOps

if TYPE_CHECKING:
    from toyvisor.qemu.net_client import NetClient
    from toyvisor.qemu.virtio.ioeventfd import KvmWiring

#: The first device window in guest-physical memory, and the interrupt line of its device.
MMIO_BASE = 0xD0000000
MMIO_WINDOW = PAGE_SIZE
FIRST_IRQ, LAST_IRQ = 5, 15


class Backends(NamedTuple):
    """What a device can be connected to: the host's files, and QEMU's clients of them."""

    console: Console
    net: NetFile
    client: NetClient | None = None


Options = Mapping[str, Any]


class DeviceType(NamedTuple):
    """A device by its name in the machine block.

    `port` is the first of `ports` fixed port addresses; None for a device that gets the
    next free memory window and interrupt line. `build` None: the device is KVM's.
    """

    summary: str
    build: Callable[[DeviceContext, Backends, Options], MemoryRegionOps] | None
    options: tuple[str, ...] = ()
    port: int | None = None
    ports: int = 1
    irq: int | None = None
    #: Wires a device to KVM once it has its window (ioeventfd, irqfd, vhost).
    connect: Callable[[MemoryRegionOps, KvmWiring, Options], None] | None = None


class OptionError(ValueError):
    """A device option has a value that the device can't take."""


def _serial(context: DeviceContext, backends: Backends, options: Options) -> MemoryRegionOps:
    from toyvisor.qemu.devices.serial import Serial16550

    port = Serial16550(context, backends.console)
    file = backends.console.input
    if file is None and "input" in options:
        from toyvisor.host.console_input import InputBytes

        file = InputBytes(_text(options, "input"))
    if file is not None and context.main_loop is not None:
        from toyvisor.qemu.chardev import FdChardev

        FdChardev(context.ledger, file, context.main_loop, port)
    return port


def _debugcon(context: DeviceContext, backends: Backends, _options: Options) -> MemoryRegionOps:
    from toyvisor.qemu.devices.debugcon import DebugConsole

    return DebugConsole(context, backends.console)


def _mmio_nic(context: DeviceContext, backends: Backends, options: Options) -> MemoryRegionOps:
    from toyvisor.qemu.devices.mmio_nic import MmioNic

    return MmioNic(context, backends.net, _mac(options), client=backends.client)


def _virtio_net(context: DeviceContext, backends: Backends, options: Options) -> MemoryRegionOps:
    from toyvisor.qemu.virtio.mmio import VirtioMmio
    from toyvisor.qemu.virtio.net import VirtioNet

    device = VirtioNet(context, backends.net, _mac(options), client=backends.client)
    return VirtioMmio(context, device)


def _connect_virtio(device: MemoryRegionOps, wiring: KvmWiring, options: Options) -> None:
    """ioeventfd, irqfd and vhost, each on or off (QEMU: -device virtio-net-device,...)."""
    chosen = {name: _flag(options, name) for name in KVM_OPTIONS}
    if any(chosen.values()):
        from toyvisor.qemu.virtio.ioeventfd import connect
        from toyvisor.qemu.virtio.mmio import VirtioMmio

        assert isinstance(device, VirtioMmio)
        connect(device, wiring, **chosen)


#: Options of virtio devices that wire them to KVM, and those that want its interrupt controllers.
KVM_OPTIONS = ("ioeventfd", "irqfd", "vhost")
NEED_PIC = ("irqfd", "vhost")


def _flag(options: Options, name: str) -> bool:
    value = options.get(name, False)
    if not isinstance(value, bool):
        raise OptionError(f"{name} is {value!r}, not true or false")
    return value


def _text(options: Options, name: str) -> bytes:
    value = options[name]
    if not isinstance(value, str):
        raise OptionError(f"{name} is {value!r}, not a text in quotes")
    return value.encode()


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
    "pic": DeviceType("in KVM: the two 8259 interrupt controllers", None, port=0x20, ports=2),
    "pit": DeviceType("in KVM: the 8254 interval timer", None, port=0x40, ports=4, irq=0),
    "serial": DeviceType(
        "16550A serial port, COM1", _serial, options=("input",), port=0x3F8, ports=8, irq=4
    ),
    "debugcon": DeviceType("debug console: one port to print to", _debugcon, port=0xE9),
    "mmio-nic": DeviceType(
        "full virtualization: a network card whose data goes through its registers",
        _mmio_nic,
        options=("mac",),
    ),
    "virtio-net": DeviceType(
        "para-virtualization: virtio network device over virtio-mmio",
        _virtio_net,
        options=("mac", *KVM_OPTIONS),
        connect=_connect_virtio,
    ),
}
