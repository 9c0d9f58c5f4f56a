"""The numbers in the include files are those of the devices."""

from __future__ import annotations

from struct import calcsize

import pytest
from dpkt import arp, ethernet, icmp, ip

from toyvisor import modes
from toyvisor.cpu import events, paging
from toyvisor.guest.assembler import assemble_text
from toyvisor.guest.library import guest_programs_dir
from toyvisor.host.frames import ETH_HLEN
from toyvisor.kvm import i8254_registers, i8259_registers
from toyvisor.memory import PAGE_SIZE
from toyvisor.modes import CpuMode
from toyvisor.qemu import boot, catalog, frame_table
from toyvisor.qemu.devices import debugcon, mmio_nic_registers
from toyvisor.qemu.devices import serial_registers as uart
from toyvisor.qemu.virtio import net_format, registers
from toyvisor.virtio import net
from toyvisor.virtio.constants import (
    AvailFlag,
    DescriptorFlag,
    DeviceId,
    Feature,
    Interrupt,
    Status,
    UsedFlag,
)
from toyvisor.virtio.ring_memory import DESCRIPTOR, LE16, USED_ELEMENT


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
    "BOOT_GDT": boot.BOOT_GDT,
    "BOOT_CS": boot.CODE_SELECTOR,
    "BOOT_DS": boot.DATA_SELECTOR,
    "BOOT_PML4": boot.PML4_START,
    "BOOT_PDPT": boot.PDPT_START,
    "BOOT_PD": boot.PD_START,
}
IDT = named("X86_TRAP_", events) | {
    "IDT": boot.PD_START + 4 * PAGE_SIZE,  # behind the boot tables, before the frame table
    "X86_TRAP_XF": events.XM,
    "X86_PF_PROT": paging.PF_PRESENT,
    "X86_PF_WRITE": paging.PF_WRITE,
    "X86_PF_USER": paging.PF_USER,
    "X86_EFLAGS_TF": modes.RFLAGS_TF,
    "X86_EFLAGS_IF": modes.RFLAGS_IF,
    # present, and type 0xe or 0xf (Intel SDM vol. 3, 7.11 and 7.14.1)
    "GATE_INTERRUPT": 1 << 15 | 0xE << 8,
    "GATE_TRAP": 1 << 15 | 0xF << 8,
    "GATE_DPL3": 3 << 13,
    # le32 reserved, le64 RSP0 to RSP2, le64 reserved, le64 IST1 to IST7, le64, le16 reserved,
    # le16 I/O map base (Intel SDM vol. 3, 8.7)
    "TSS_RSP0": calcsize("<I"),
    "TSS_IST1": calcsize("<I4Q"),
    "TSS_SIZE": calcsize("<I4Q7QQHH"),
}
SERIAL = named("UART_", uart) | {
    "UART_RBR": uart.RBR_THR_DLL,
    "UART_THR": uart.RBR_THR_DLL,
    "UART_IER": uart.IER_DLM,
    "UART_IIR": uart.IIR_FCR,
    "UART_FCR": uart.IIR_FCR,
}
PIC = named("PIC_", i8259_registers) | {
    "PIC_MASTER_VECTORS": 32,  # the first that is no exception (Intel SDM vol. 3, table 7-1)
    "PIC_SLAVE_VECTORS": 32 + 8,
}
PIT = named("PIT_", i8254_registers)
NIC = named("NIC_", mmio_nic_registers)
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
        "VIRTIO_NET_F_MAC": bit_number(net_format.MAC),
        "VIRTIO_NET_F_MRG_RXBUF": bit_number(net.MRG_RXBUF),
        "VIRTIO_NET_F_STATUS": bit_number(net_format.STATUS),
        "VIRTIO_NET_RECEIVEQ": net.RECEIVE,
        "VIRTIO_NET_TRANSMITQ": net.TRANSMIT,
        "VIRTIO_NET_HDR_SIZE": net.HEADER_SIZE,
        "VIRTIO_NET_RX_BUFFER_SIZE": net_format.RECEIVE_BUFFER,
        # struct virtio_net_config: u8 mac[6], le16 status
        "VIRTIO_NET_CONFIG_MAC": registers.CONFIG,
        "VIRTIO_NET_CONFIG_STATUS": registers.CONFIG + calcsize("<6s"),
        # struct virtio_net_hdr: u8 flags, u8 gso_type, four le16, le16 num_buffers
        "VIRTIO_NET_HDR_FLAGS": 0,
        "VIRTIO_NET_HDR_GSO_TYPE": calcsize("<B"),
        "VIRTIO_NET_HDR_NUM_BUFFERS": calcsize("<BBHHHH"),
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
        "VIRTQ_AVAIL_ENTRY_SIZE": LE16.size,
        "VIRTQ_USED_FLAGS": 0,
        "VIRTQ_USED_IDX": calcsize("<H"),
        "VIRTQ_USED_RING": calcsize("<HH"),
        "VIRTQ_USED_ELEM_SIZE": USED_ELEMENT.size,
        "VIRTQ_USED_ELEM_ID": 0,
        "VIRTQ_USED_ELEM_LEN": calcsize("<I"),
    }
)


def turned_round(number: int, size: int = 2) -> int:
    """A number in network byte order, as x86 loads it."""
    return int.from_bytes(number.to_bytes(size, "big"), "little")


def offsets(prefix: str, start: int, **fields: str) -> dict[str, int]:
    """Where each field of a header begins, by its `struct` code."""
    found = {}
    for name, code in fields.items():
        found[prefix + name] = start
        start += calcsize("=" + code)
    return found


NET = (
    offsets("ETH_", 0, DEST="6s", SOURCE="6s", PROTO="H", HLEN="")
    | offsets(
        "ARP_", ETH_HLEN, HRD="H", PRO="H", HLN="B", PLN="B", OP="H", SHA="6s", SIP="4s",
        THA="6s", TIP="4s", END="",
    )
    | offsets(
        "IP_", ETH_HLEN, VERSION_IHL="B", TOS="B", TOT_LEN="H", ID="H", FRAG_OFF="H", TTL="B",
        PROTOCOL="B", CHECK="H", SADDR="4s", DADDR="4s",
    )
    | offsets("ICMP_", ETH_HLEN + ip.IP_HDR_LEN, TYPE="B", CODE="B", CHECKSUM="H", ID="H",
              SEQUENCE="H", DATA="")
    | {
        "ETH_P_IP_BE": turned_round(ethernet.ETH_TYPE_IP),
        "ETH_P_ARP_BE": turned_round(ethernet.ETH_TYPE_ARP),
        "ARP_REQUEST_BE": int.from_bytes(bytes(arp.ARP(op=arp.ARP_OP_REQUEST))[:8], "little"),
        "ARPOP_REPLY_BE": turned_round(arp.ARP_OP_REPLY),
        "IP_HLEN": ip.IP_HDR_LEN,
        "IP_IHL_5": bytes(ip.IP())[0],
        "IP_DF_BE": turned_round(ip.IP_DF),
        "IP_FRAGMENT_BE": turned_round(ip.IP_MF | ip.IP_OFFMASK),
        "IPPROTO_ICMP": ip.IP_PROTO_ICMP,
        "IPDEFTTL": ip.IP_TTL_DEFAULT,
        "ICMP_HLEN": len(bytes(icmp.ICMP(data=icmp.ICMP.Echo()))),
        "ICMP_ECHO": icmp.ICMP_ECHO,
        "ICMP_ECHOREPLY": icmp.ICMP_ECHOREPLY,
    }
)  # fmt: skip


def symbols(include: str) -> dict[str, int]:
    return assemble_text(f'.include "{include}"').symbols


@pytest.mark.parametrize(
    ("include", "python"),
    [
        ("machine.inc", MACHINE),
        ("serial.inc", SERIAL),
        ("mmio_nic.inc", NIC),
        ("virtio.inc", VIRTIO),
        ("pic.inc", PIC),
        ("pit.inc", PIT),
        ("idt.inc", IDT),
        ("net.inc", NET),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_number_is_the_one_in_python(include, python):
    found = {name: value for name, value in symbols(include).items() if name.isupper()}
    assert sorted(set(found) - set(python)) == [], "nothing in Python to check these against"
    assert found == {name: python[name] for name in found}


def test_the_table_of_interrupts_lies_in_free_ram():
    assert symbols("idt.inc")["IDT"] + 256 * 16 <= frame_table.FRAME_TABLE
    assert all(end <= symbols("idt.inc")["IDT"] for _, _, end in boot.boot_areas(CpuMode.LONG))


def test_all_registers_of_both_cards_have_names():
    virtio = {f"VIRTIO_MMIO_{register.name}" for register in registers.Reg}
    nic = {f"NIC_{register.name}" for register in mmio_nic_registers.REGISTERS}
    assert virtio <= set(symbols("virtio.inc"))
    assert nic <= set(symbols("mmio_nic.inc"))


def test_constants_take_no_room():
    includes = ("machine.inc", "serial.inc", "mmio_nic.inc", "virtio.inc", "idt.inc", "net.inc")
    for include in includes:
        assert assemble_text(f'.include "{include}"').image == b""


def test_no_include_file_is_left_out():
    tested_here = {"machine.inc", "serial.inc", "mmio_nic.inc", "virtio.inc", "pic.inc", "pit.inc",
                   "idt.inc", "net.inc"}  # fmt: skip
    tested_elsewhere = {"print.inc", "panic.inc", "virtio_net_init.inc", "card_irq.inc",
                        "virtio_net_answer.inc", "mmio_nic_answer.inc", "ping.inc"}  # fmt: skip
    present = {path.name for path in guest_programs_dir().glob("*.inc")}
    assert present == tested_here | tested_elsewhere
