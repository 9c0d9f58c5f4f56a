"""The numbers in the include files are those of the devices."""

from __future__ import annotations

from struct import calcsize

import pytest

from toyvisor.guest.assembler import assemble_text
from toyvisor.guest.library import guest_programs_dir
from toyvisor.qemu import catalog, frame_table
from toyvisor.qemu.devices import debugcon, mmio_nic
from toyvisor.qemu.devices import serial_registers as uart
from toyvisor.qemu.virtio import net, registers
from toyvisor.virtio.constants import (
    AvailFlag,
    DescriptorFlag,
    DeviceId,
    Feature,
    Interrupt,
    Status,
    UsedFlag,
)
from toyvisor.virtio.ring_memory import DESCRIPTOR, USED_ELEMENT


def bit_number(feature: int) -> int:
    return int(feature).bit_length() - 1


def named(prefix: str, constants: object) -> dict[str, int]:
    """The number constants of a module or an enum, by their names in an include file."""
    numbers = {name: value for name, value in vars(constants).items() if name.isupper()}
    return {prefix + name: int(value) for name, value in numbers.items() if isinstance(value, int)}


MACHINE = {
    "MMIO_BASE": catalog.MMIO_BASE,
    "MMIO_WINDOW": catalog.MMIO_WINDOW,
    "FIRST_IRQ": catalog.FIRST_IRQ,
    "COM1": catalog.DEVICE_TYPES["serial"].port,
    "COM1_IRQ": catalog.DEVICE_TYPES["serial"].irq,
    "DEBUGCON": debugcon.PORT,
    "FRAME_TABLE": frame_table.FRAME_TABLE,
    "FRAME_TABLE_HEADER": frame_table.FRAME_TABLE_HEADER,
    "FRAME_ENTRY": frame_table.FRAME_ENTRY,
    "FRAME_ADDRESS": 0,  # le64 address, le32 length (frame_table.py)
    "FRAME_LENGTH": calcsize("<Q"),
    "MAX_FRAMES": frame_table.MAX_FRAMES,
}
SERIAL = named("UART_", uart) | {
    "UART_RBR": uart.RBR_THR_DLL,
    "UART_THR": uart.RBR_THR_DLL,
    "UART_IER": uart.IER_DLM,
    "UART_IIR": uart.IIR_FCR,
    "UART_FCR": uart.IIR_FCR,
}
NIC = named("NIC_", mmio_nic)
VIRTIO = (
    {f"VIRTIO_MMIO_{register.name}": register.value for register in registers.Reg}
    | {f"VIRTIO_ID_{device.name}": device.value for device in DeviceId}
    | {f"VIRTIO_CONFIG_S_{status.name}": status.value for status in Status}
    | {f"VIRTIO_F_{feature.name}": bit_number(feature) for feature in Feature}
    | {f"VIRTQ_DESC_F_{flag.name}": flag.value for flag in DescriptorFlag}
    | {f"VIRTQ_AVAIL_F_{flag.name}": flag.value for flag in AvailFlag}
    | {f"VIRTQ_USED_F_{flag.name}": flag.value for flag in UsedFlag}
    | {
        "VIRTIO_MMIO_CONFIG": registers.CONFIG,
        "VIRTIO_MAGIC": registers.MAGIC,
        "VIRTIO_VERSION": registers.VERSION,
        "VIRTIO_MMIO_INT_VRING": Interrupt.USED_BUFFER,
        "VIRTIO_MMIO_INT_CONFIG": Interrupt.CONFIG_CHANGE,
        "VIRTIO_NET_F_MAC": bit_number(net.MAC),
        "VIRTIO_NET_F_STATUS": bit_number(net.STATUS),
        "VIRTIO_NET_RECEIVEQ": net.RECEIVE,
        "VIRTIO_NET_TRANSMITQ": net.TRANSMIT,
        "VIRTIO_NET_HDR_SIZE": net.HEADER_SIZE,
        # struct virtq_desc: le64 addr, le32 len, le16 flags, le16 next
        "VIRTQ_DESC_ADDR": 0,
        "VIRTQ_DESC_LEN": calcsize("<Q"),
        "VIRTQ_DESC_FLAGS": calcsize("<QI"),
        "VIRTQ_DESC_NEXT": calcsize("<QIH"),
        "VIRTQ_DESC_SIZE": DESCRIPTOR.size,
        # both rings: le16 flags, le16 idx, entries
        "VIRTQ_AVAIL_FLAGS": 0,
        "VIRTQ_AVAIL_IDX": calcsize("<H"),
        "VIRTQ_AVAIL_RING": calcsize("<HH"),
        "VIRTQ_USED_FLAGS": 0,
        "VIRTQ_USED_IDX": calcsize("<H"),
        "VIRTQ_USED_RING": calcsize("<HH"),
        "VIRTQ_USED_ELEM_SIZE": USED_ELEMENT.size,
    }
)


def symbols(include: str) -> dict[str, int]:
    return assemble_text(f'.include "{include}"').symbols


@pytest.mark.parametrize(
    ("include", "python"),
    [
        ("machine.inc", MACHINE),
        ("serial.inc", SERIAL),
        ("mmio_nic.inc", NIC),
        ("virtio.inc", VIRTIO),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_number_is_the_one_in_python(include, python):
    found = symbols(include)
    assert sorted(set(found) - set(python)) == [], "nothing in Python to check these against"
    assert found == {name: python[name] for name in found}


def test_all_registers_of_both_cards_have_names():
    virtio = {f"VIRTIO_MMIO_{register.name}" for register in registers.Reg}
    nic = {f"NIC_{register.name}" for register in mmio_nic.REGISTERS}
    assert virtio <= set(symbols("virtio.inc"))
    assert nic <= set(symbols("mmio_nic.inc"))


def test_constants_take_no_room():
    for include in ("machine.inc", "serial.inc", "mmio_nic.inc", "virtio.inc"):
        assert assemble_text(f'.include "{include}"').image == b""


def test_no_include_file_is_left_out():
    tested_here = {"machine.inc", "serial.inc", "mmio_nic.inc", "virtio.inc"}
    tested_elsewhere = {"print.inc", "panic.inc", "virtio_net_init.inc"}
    present = {path.name for path in guest_programs_dir().glob("*.inc")}
    assert present == tested_here | tested_elsewhere
