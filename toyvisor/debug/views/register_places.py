"""What stands at an address where there is no RAM: which register, of which device.

For memory windows and ports, QEMU's devices and those in KVM (8259s and 8254).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from toyvisor.debug.views.device_kinds import DeviceKind, kind_of
from toyvisor.debug.views.kernel_devices import controllers
from toyvisor.kvm import i8254_registers as pit
from toyvisor.kvm import i8259_registers as pic
from toyvisor.kvm.i8259 import PicPair
from toyvisor.kvm.port_register import PortRegister
from toyvisor.qemu.catalog import DEVICE_TYPES, MMIO_WINDOW
from toyvisor.qemu.device import MemoryRegionOps
from toyvisor.qemu.devices import debugcon, mmio_nic_registers, serial_registers
from toyvisor.qemu.devices.registers import Bits, Register
from toyvisor.qemu.devices.serial import Serial16550
from toyvisor.qemu.machine import Machine
from toyvisor.qemu.virtio import registers as virtio_registers


class BitsValue(NamedTuple):
    """A bit or a field of a register, and what it holds."""

    name: str
    low: int
    width: int
    value: int
    meaning: str


class RegisterPlace(NamedTuple):
    """A register where the guest finds it. `owner` is who answers: QEMU, or KVM itself."""

    device: str
    register: str
    offset: int
    access: str
    meaning: str
    owner: str
    width: int
    bits: tuple[BitsValue, ...]


def register_at(
    machine: Machine,
    address: int,
    *,
    is_port: bool = False,
    is_write: bool | None = None,
    value: int | None = None,
) -> RegisterPlace | None:
    """The register at a guest-physical address, or port; None: nothing is there.

    Some ports have several registers: which of them it is depends on whether the guest writes,
    and what (`value`), and on what it has written before.
    """
    if is_port:
        return _at_port(machine, address, is_write=is_write, value=value)
    for name, base, _irq in machine.windows:
        if base <= address < base + MMIO_WINDOW:
            return _in_window(machine.devices[name], name, address - base)
    return None


def register_in(
    machine: Machine, region: str, offset: int, *, is_write: bool, value: int | None = None
) -> RegisterPlace | None:
    """The same by the name of QEMU's memory region; None: no device has that name."""
    for name, base, _irq in machine.windows:
        if name == region:
            return register_at(machine, base + offset, is_write=is_write, value=value)
    device = machine.devices.get(region)
    kind = kind_of(device) if device is not None else DeviceKind.OTHER
    first = DEVICE_TYPES[kind].port if kind is not DeviceKind.OTHER else None
    if first is None:
        return None
    return register_at(machine, first + offset, is_port=True, is_write=is_write, value=value)


def decode_bits(bits: Iterable[BitsValue | Bits], value: int) -> str:
    """The bits that are set, by name: `SEND`, `ACKNOWLEDGE|DRIVER`, `CODE=2`."""
    found = []
    for field in bits:
        content = value >> field.low & (1 << field.width) - 1
        if content:
            found.append(field.name if field.width == 1 else f"{field.name}={content}")
    return "|".join(found)


def bits_of(bits: Iterable[Bits], value: int) -> tuple[BitsValue, ...]:
    """All bits of a register with what they hold."""
    return tuple(
        BitsValue(b.name, b.low, b.width, value >> b.low & (1 << b.width) - 1, b.meaning)
        for b in bits
    )


# Memory windows ----------------------------------------------------------------------------


def _in_window(device: MemoryRegionOps, name: str, offset: int) -> RegisterPlace:
    match kind_of(device):
        case DeviceKind.MMIO_NIC:
            found = _nic_register(offset)
            named = mmio_nic_registers.register_name(offset)
        case DeviceKind.VIRTIO:
            found = virtio_registers.REGISTERS.get(offset & ~3)
            if offset >= virtio_registers.CONFIG:
                found = _CONFIG
            named = virtio_registers.register_name(offset)
        case _:
            found, named = None, f"offset {offset:#x}"
    if found is None:
        return RegisterPlace(name, named, offset, "", "no register is there", "QEMU", 0, ())
    return _place(name, named, offset, found)


_CONFIG = Register(virtio_registers.CONFIG, "Config", "RW", 0, "the device's configuration space")


def _nic_register(offset: int) -> Register | None:
    if offset >= mmio_nic_registers.TX_BUFFER:
        return mmio_nic_registers.BY_OFFSET[mmio_nic_registers.TX_BUFFER]
    if offset >= mmio_nic_registers.RX_BUFFER:
        return mmio_nic_registers.BY_OFFSET[mmio_nic_registers.RX_BUFFER]
    return mmio_nic_registers.BY_OFFSET.get(offset)


def _place(device: str, name: str, offset: int, register: Register) -> RegisterPlace:
    return RegisterPlace(
        device, name, offset, register.access, register.meaning, "QEMU", register.width,
        bits_of(register.bits, 0),
    )  # fmt: skip


# Ports ---------------------------------------------------------------------------------------


def _at_port(
    machine: Machine, port: int, *, is_write: bool | None, value: int | None
) -> RegisterPlace | None:
    for name, device in machine.devices.items():
        kind = kind_of(device)
        first = DEVICE_TYPES["serial"].port or 0
        if kind is DeviceKind.SERIAL and first <= port < first + DEVICE_TYPES["serial"].ports:
            assert isinstance(device, Serial16550)
            register = _serial_register(device, port - first, is_write=is_write)
            return _place(name, register.name, port - first, register)
        if kind is DeviceKind.DEBUGCON and port == debugcon.PORT:
            return RegisterPlace(
                name, "the port", 0, "RW", "a byte written is printed", "QEMU", 1, ()
            )
    chips = controllers(machine)
    if chips is not None and (found := _pic_register(chips, port, is_write=is_write, value=value)):
        return _kernel_place("pic", port, found)
    if machine.vm.pit is not None:
        for register_ in pit.REGISTERS:
            is_read_back = register_.name == "READ_BACK"
            wants_it = value is not None and value & pit.READ_BACK == pit.READ_BACK
            if register_.port == port and is_read_back == (wants_it and port == pit.MODE):
                return _kernel_place("pit", port, register_)
    return None


def _serial_register(device: Serial16550, offset: int, *, is_write: bool | None) -> Register:
    is_divisor = bool(device.peek()["LCR"] & serial_registers.LCR_DLAB)
    candidates = [r for r in serial_registers.REGISTERS if r.offset == offset]
    if offset <= 1:
        names = ("DLL", "DLM") if is_divisor else ("RBR", "THR", "IER")
        candidates = [r for r in candidates if r.name in names]
    direction = "W" if is_write else "R"
    return next((r for r in candidates if direction in r.access), candidates[0])


def _pic_register(
    chips: PicPair, port: int, *, is_write: bool | None, value: int | None
) -> PortRegister | None:
    here = {r.name: r for r in pic.REGISTERS if r.port == port}
    if not here:
        return None
    if "IRR" in here:
        if not is_write:
            return here["IRR"]
        if value is not None and value & pic.ICW1:
            return here["ICW1"]
        return here["OCW3" if value is not None and value & pic.OCW3 else "OCW2"]
    if "IMR" in here:
        step = chips.pics[int(port == pic.SLAVE_IMR)].init_state if is_write else 0
        return here[("IMR", "ICW2", "ICW3", "ICW4")[step]]
    return next(iter(here.values()))


def _kernel_place(device: str, port: int, register: PortRegister) -> RegisterPlace:
    bits = tuple(
        BitsValue(b.name, low := (b.mask & -b.mask).bit_length() - 1,
                  (b.mask >> low).bit_count(), 0, b.meaning)
        for b in register.bits
        if b.name != "1"
    )  # fmt: skip
    return RegisterPlace(
        device, register.name, port, register.access, register.meaning, "KVM", 1, bits
    )
