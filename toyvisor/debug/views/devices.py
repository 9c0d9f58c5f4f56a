"""The devices of a machine: their registers by name, and what stands behind them.

Nothing is read as the guest reads it: a load from a device can change it.
"""

from __future__ import annotations

from toyvisor.debug.views.device_kinds import DeviceKind, kind_of
from toyvisor.debug.views.device_rows import DeviceView as DeviceView
from toyvisor.debug.views.device_rows import Fact as Fact
from toyvisor.debug.views.device_rows import RegisterRow as RegisterRow
from toyvisor.debug.views.device_rows import register_row
from toyvisor.debug.views.register_places import BitsValue as BitsValue
from toyvisor.debug.views.register_places import RegisterPlace as RegisterPlace
from toyvisor.debug.views.register_places import decode_bits as _decode_bits
from toyvisor.debug.views.register_places import register_at as register_at
from toyvisor.debug.views.virtio_rows import virtio_facts, virtio_rows
from toyvisor.qemu.catalog import DEVICE_TYPES
from toyvisor.qemu.device import MemoryRegionOps
from toyvisor.qemu.devices import mmio_nic_registers, serial_registers
from toyvisor.qemu.devices.mmio_nic import MmioNic
from toyvisor.qemu.devices.serial import Serial16550
from toyvisor.qemu.machine import Machine
from toyvisor.qemu.virtio.mmio import VirtioMmio

#: The clock of a PC's serial port divided by 16 (National Semiconductor PC16550D, table III).
_HIGHEST_BAUD = 115_200
_BYTES_SHOWN = 16


def devices(machine: Machine) -> tuple[DeviceView, ...]:
    """All devices of QEMU's, in the order of the machine block."""
    return tuple(_view(machine, name, device) for name, device in machine.devices.items())


def device_view(machine: Machine, name: str) -> DeviceView | None:
    """One device by its name."""
    device = machine.devices.get(name)
    return None if device is None else _view(machine, name, device)


def changed_in_device(before: DeviceView | None, now: DeviceView) -> frozenset[str]:
    """The keys of registers, and names of facts, that are not as they were; `line`, too."""
    if before is None or before.name != now.name:
        return frozenset()
    old = _by_key(before)
    return frozenset(key for key, value in _by_key(now).items() if old.get(key) != value)


def decode_bits(place: RegisterPlace, value: int) -> str:
    """What a value says in a register: `SEND`, `ACKNOWLEDGE|DRIVER`."""
    return _decode_bits(place.bits, value)


def _by_key(view: DeviceView) -> dict[str, object]:
    found: dict[str, object] = {row.key: (row.value, row.text) for row in view.registers}
    found.update({fact.name: fact.text for fact in view.facts})
    found["line"] = view.level
    return found


def _view(machine: Machine, name: str, device: MemoryRegionOps) -> DeviceView:
    windows = {window: (base, irq) for window, base, irq in machine.windows}
    kind = kind_of(device)
    is_port = name not in windows
    if is_port:
        base = DEVICE_TYPES[kind].port or 0 if kind is not DeviceKind.OTHER else 0
        irq = next((irq for irq, owner in machine.board.lines.items() if owner == name), None)
    else:
        base, irq = windows[name]
    where = f"port {base:#x}" if is_port else f"{base:#x}"
    if irq is not None:
        where += f", IRQ {irq}"
    rows, facts, level = _inside(device)
    return DeviceView(
        name, _type(name, kind), where, base, is_port, irq, level if irq is not None else None,
        rows, facts,
    )  # fmt: skip


def _type(name: str, kind: DeviceKind) -> str:
    """`virtio-net2` is a virtio-net."""
    return kind if kind not in (DeviceKind.VIRTIO, DeviceKind.OTHER) else name.rstrip("0123456789")


_Inside = tuple[tuple[RegisterRow, ...], tuple[Fact, ...], int | None]


def _inside(device: MemoryRegionOps) -> _Inside:
    """Registers, facts, and the level that the device drives its line to."""
    match device:
        case MmioNic():
            return _nic(device)
        case VirtioMmio():
            return virtio_rows(device), virtio_facts(device), device.context.irq.level
        case Serial16550():
            return _serial(device)
        case _:
            return (), (), None


def _nic(nic: MmioNic) -> _Inside:
    tx, rx = nic.buffers
    rows = []
    for register in mmio_nic_registers.REGISTERS:
        if register.offset == mmio_nic_registers.ID:
            rows.append(register_row(register, register.reset, f"{register.reset:#010x} 'MNIC'"))
        elif register.width == 4:
            rows.append(register_row(register, nic.peek(register.offset)))
        else:
            data = tx if register.offset == mmio_nic_registers.TX_BUFFER else rx
            rows.append(register_row(register, None, _beginning(data)))
    value = {row.name: row.value or 0 for row in rows}
    waiting = value["RX_LENGTH"]
    facts = (
        Fact("address", nic.mac.hex(":")),
        Fact("to send", f"{value['TX_LENGTH']} bytes of TX_BUFFER, at the next SEND"),
        Fact("received", f"a frame of {waiting} bytes" if waiting else "no frame"),
        Fact(
            "packets",
            f"{value['TX_COUNT']} sent, {value['RX_COUNT']} received, "
            f"{value['TX_ERRORS'] + value['RX_DROPPED'] + value['RX_FILTERED']} refused or dropped",
        ),
    )
    return tuple(rows), facts, int(bool(value["INTERRUPT_STATUS"] & value["INTERRUPT_MASK"]))


def _beginning(data: bytes) -> str:
    if not any(data):
        return "all zero"
    shown = data[:_BYTES_SHOWN].hex(" ")
    return shown + (" ..." if len(data) > _BYTES_SHOWN else "")


def _serial(port: Serial16550) -> _Inside:
    values = port.peek()
    rows = tuple(
        register_row(register, values.get(register.name)) for register in serial_registers.REGISTERS
    )
    waiting = port.waiting
    divisor = values["DLM"] << 8 | values["DLL"]
    facts = (
        Fact("FIFO", "on" if values["FCR"] & serial_registers.FCR_ENABLE else "off"),
        Fact("received", repr(waiting.decode("latin-1")) if waiting else "nothing"),
        Fact("baud", str(_HIGHEST_BAUD // divisor) if divisor else "divisor 0"),
    )
    has_interrupt = not values["IIR"] & serial_registers.IIR_NO_INT
    return rows, facts, int(has_interrupt)
