"""The registers of a virtio device by name, and what stands behind them (VIRTIO 1.2, 4.2.2)."""

from __future__ import annotations

from collections.abc import Callable

from toyvisor.debug.views.device_rows import Fact, RegisterRow, register_row
from toyvisor.debug.views.virtqueue import ring_of
from toyvisor.qemu.devices.registers import Bits, Register
from toyvisor.qemu.virtio import registers
from toyvisor.qemu.virtio.device import VirtioDevice
from toyvisor.qemu.virtio.ioeventfd import IoEventFdService
from toyvisor.qemu.virtio.mmio import VirtioMmio
from toyvisor.qemu.virtio.net import VirtioNet
from toyvisor.qemu.virtio.net_format import LINK_UP, MAC
from toyvisor.qemu.virtio.net_format import STATUS as STATUS_FEATURE
from toyvisor.qemu.virtio.registers import Reg
from toyvisor.qemu.virtio.vhost import VhostNetService
from toyvisor.virtio.constants import DeviceId, Feature, Interrupt
from toyvisor.virtio.layout import QueueConfig
from toyvisor.virtio.net import MRG_RXBUF

_LOW = 0xFFFF_FFFF
#: VIRTIO_NET_F_*, as far as the model knows them (5.1.3).
_NET_FEATURES = {MAC: "MAC", MRG_RXBUF: "MRG_RXBUF", STATUS_FEATURE: "STATUS"}
_DEVICES = {DeviceId.NET: "network card", DeviceId.BLOCK: "block device"}


def virtio_rows(transport: VirtioMmio) -> tuple[RegisterRow, ...]:
    """All control registers, then the configuration space."""
    rows = [
        register_row(register, _VALUES[offset](transport), _text(transport, offset))
        for offset, register in registers.REGISTERS.items()
    ]
    return (*rows, *_config_rows(transport.device))


def virtio_facts(transport: VirtioMmio) -> tuple[Fact, ...]:
    """Features, queues, who serves them, packets."""
    device = transport.device
    facts = [
        Fact("offers", feature_names(device.offered)),
        Fact("driver accepts", feature_names(device.accepted) or "nothing yet"),
        Fact("driver is", _stage(device)),
    ]
    for slot in device.queues:
        facts.append(Fact(f"queue {slot.index}, {slot.name}", _queue(device, slot.index)))
    facts += [
        Fact("kicks go to", _kicks(device)),
        Fact("interrupts go", "by irqfd, to KVM" if _has_irqfd(transport) else "by the line"),
    ]
    if isinstance(device, VirtioNet):
        facts += _net_facts(device)
    return tuple(facts)


def feature_names(features: int) -> str:
    """Feature bits by name; those without one by number."""
    found = []
    for bit in range(features.bit_length()):
        mask = 1 << bit
        if features & mask:
            name = _NET_FEATURES.get(mask)
            if name is None and mask in Feature.__members__.values():
                name = Feature(mask).name
            found.append(name or f"bit {bit}")
    return ", ".join(found)


def interrupt_status(transport: VirtioMmio) -> int:
    """What InterruptStatus would read; with vhost, QEMU looks into the used rings for it."""
    service = transport.device.queue_service
    status = transport.interrupt_status
    if isinstance(service, VhostNetService) and service.has_unseen_used:
        status |= int(Interrupt.USED_BUFFER)
    return status


def _stage(device: VirtioDevice) -> str:
    """How far the driver has come with 3.1.1, in words."""
    names = {bits.low: bits.name for bits in registers.REGISTERS[Reg.STATUS].bits}
    said = [name for low, name in names.items() if device.status >> low & 1]
    if not said:
        return "not there: the device is reset"
    return f"at {'|'.join(said)}" + ("; the device is live" if device.live else "")


def _queue(device: VirtioDevice, index: int) -> str:
    slot = device.queues[index]
    if not slot.ready:
        return f"not ready; up to {slot.max_size} entries"
    by, ring = ring_of(device, slot)
    text = f"ready, {slot.config.size} entries, served by {by or 'nobody'}"
    if ring is not None and by:
        state = ring.state
        text += f"; took {state.last_avail}, used {state.used_idx}, in flight {state.in_flight}"
    return text


def _kicks(device: VirtioDevice) -> str:
    service = device.queue_service
    if service is None:
        return "QEMU's vCPU thread, which does the work in the middle of the exit"
    if isinstance(service, IoEventFdService):
        return "KVM's ioeventfd, which wakes QEMU's main loop"
    if isinstance(service, VhostNetService) and service.started:
        return "KVM's ioeventfd, which wakes vhost in the kernel"
    return "KVM's ioeventfd, once the driver is there"


def _has_irqfd(transport: VirtioMmio) -> bool:
    service = transport.device.queue_service
    return transport.irqfd is not None or (isinstance(service, VhostNetService) and service.started)


def _net_facts(device: VirtioNet) -> list[Fact]:
    service = device.queue_service
    sent, received = device.packets_sent, device.packets_received
    dropped = device.packets_dropped + device.receive_dropped
    if isinstance(service, VhostNetService):
        vhost = service.vhost
        sent, received = sent + vhost.tx_packets, received + vhost.rx_packets
        dropped += vhost.tx_discarded + vhost.rx_discarded
    return [
        Fact("cable", "in" if device.link_up else "out"),
        Fact("packets", f"{sent} sent, {received} received, {dropped} dropped"),
    ]


# Registers -----------------------------------------------------------------------------------


def _config(transport: VirtioMmio) -> QueueConfig:
    """Of the queue that QueueSel selects."""
    queues = transport.device.queues
    return queues[transport.queue_sel].config if transport.queue_sel < len(queues) else _NO_QUEUE


_NO_QUEUE = QueueConfig()


def _address(area: str, shift: int) -> Callable[[VirtioMmio], int]:
    return lambda of: getattr(_config(of), area) >> shift & _LOW


def _ready(transport: VirtioMmio) -> int:
    queues, selected = transport.device.queues, transport.queue_sel
    return int(selected < len(queues) and queues[selected].ready)


def _queue_num_max(transport: VirtioMmio) -> int:
    queues, selected = transport.device.queues, transport.queue_sel
    return queues[selected].max_size if selected < len(queues) else 0


def _driver_features(transport: VirtioMmio) -> int:
    sel = transport.driver_features_sel
    return transport.device.accepted >> 32 * sel & _LOW if sel < 4 else 0


_VALUES: dict[int, Callable[[VirtioMmio], int | None]] = {
    Reg.MAGIC_VALUE: lambda of: registers.MAGIC,
    Reg.VERSION: lambda of: registers.VERSION,
    Reg.DEVICE_ID: lambda of: int(of.device.device_id),
    Reg.VENDOR_ID: lambda of: registers.VENDOR,
    Reg.DEVICE_FEATURES: lambda of: of.device.device_features(of.device_features_sel),
    Reg.DEVICE_FEATURES_SEL: lambda of: of.device_features_sel,
    Reg.DRIVER_FEATURES: _driver_features,
    Reg.DRIVER_FEATURES_SEL: lambda of: of.driver_features_sel,
    Reg.QUEUE_SEL: lambda of: of.queue_sel,
    Reg.QUEUE_NUM_MAX: _queue_num_max,
    Reg.QUEUE_NUM: lambda of: _config(of).size,
    Reg.QUEUE_READY: _ready,
    Reg.QUEUE_NOTIFY: lambda of: None,
    Reg.INTERRUPT_STATUS: interrupt_status,
    Reg.INTERRUPT_ACK: lambda of: None,
    Reg.STATUS: lambda of: of.device.status,
    Reg.QUEUE_DESC_LOW: _address("desc", 0),
    Reg.QUEUE_DESC_HIGH: _address("desc", 32),
    Reg.QUEUE_DRIVER_LOW: _address("driver", 0),
    Reg.QUEUE_DRIVER_HIGH: _address("driver", 32),
    Reg.QUEUE_DEVICE_LOW: _address("device", 0),
    Reg.QUEUE_DEVICE_HIGH: _address("device", 32),
    Reg.SHM_SEL: lambda of: None,
    Reg.SHM_LEN_LOW: lambda of: _LOW,
    Reg.SHM_LEN_HIGH: lambda of: _LOW,
    Reg.SHM_BASE_LOW: lambda of: _LOW,
    Reg.SHM_BASE_HIGH: lambda of: _LOW,
    Reg.QUEUE_RESET: lambda of: 0,
    Reg.CONFIG_GENERATION: lambda of: of.device.config_generation,
}


def _text(transport: VirtioMmio, offset: int) -> str | None:
    """Of values that are more than bits; None for the others."""
    device = transport.device
    match offset:
        case Reg.MAGIC_VALUE:
            return f"{registers.MAGIC:#010x} 'virt'"
        case Reg.DEVICE_ID:
            return f"{int(device.device_id)} {_DEVICES.get(device.device_id, '')}".rstrip()
        case Reg.VENDOR_ID:
            return f"{registers.VENDOR:#010x} 'QEMU'"
        case Reg.DEVICE_FEATURES:
            sel = transport.device_features_sel
            return _features(device.device_features(sel), sel)
        case Reg.DRIVER_FEATURES:
            return _features(_driver_features(transport), transport.driver_features_sel)
        case Reg.QUEUE_SEL:
            sel = transport.queue_sel
            known = sel < len(device.queues)
            return f"{sel} {device.queues[sel].name if known else '(no such queue)'}"
        case Reg.QUEUE_NUM | Reg.QUEUE_NUM_MAX | Reg.DEVICE_FEATURES_SEL:
            return str(_VALUES[offset](transport))
        case Reg.DRIVER_FEATURES_SEL | Reg.CONFIG_GENERATION | Reg.VERSION | Reg.QUEUE_READY:
            return str(_VALUES[offset](transport))
    return None


def _features(bits: int, sel: int) -> str:
    names = feature_names(bits << 32 * sel) if sel < 4 else ""
    return f"{bits:#010x} {names}".rstrip()


def _config_rows(device: VirtioDevice) -> list[RegisterRow]:
    """struct virtio_net_config (5.1.4); of others the bytes."""
    data = bytes(device.config)
    if isinstance(device, VirtioNet):
        mac, status = data[:6], int.from_bytes(data[6:8], "little")
        return [
            register_row(
                Register(registers.CONFIG, "Config.mac", "R", 6, "the card's address"),
                int.from_bytes(mac, "little"), mac.hex(":"),
            ),
            register_row(
                Register(
                    registers.CONFIG + 6, "Config.status", "R", 2, "the cable, with STATUS",
                    (Bits("LINK_UP", LINK_UP.bit_length() - 1, "the cable is in"),),
                ),
                status,
            ),
        ]  # fmt: skip
    if not data:
        return []
    whole = Register(registers.CONFIG, "Config", "R", len(data), "the configuration space")
    return [register_row(whole, None, data.hex(" "))]
