"""The registers of virtio-mmio, version 2 (VIRTIO 1.2, 4.2.2): a table to look things up in.

VIRTIO 1.3 renames QueueNum to QueueSize and QueueNumMax to QueueSizeMax; offsets and
meanings are the same.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import NamedTuple

MAGIC = 0x74726976  # "virt", little endian
VERSION = 2  # 1 was the legacy interface
VENDOR = 0x554D4551  # "QEMU"
CONFIG = 0x100  # from here on: the device's configuration space
REGION_SIZE = 0x1000


class Reg(IntEnum):
    """Offsets of the control registers."""

    MAGIC_VALUE = 0x000
    VERSION = 0x004
    DEVICE_ID = 0x008
    VENDOR_ID = 0x00C
    DEVICE_FEATURES = 0x010
    DEVICE_FEATURES_SEL = 0x014
    DRIVER_FEATURES = 0x020
    DRIVER_FEATURES_SEL = 0x024
    QUEUE_SEL = 0x030
    QUEUE_NUM_MAX = 0x034
    QUEUE_NUM = 0x038
    QUEUE_READY = 0x044
    QUEUE_NOTIFY = 0x050
    INTERRUPT_STATUS = 0x060
    INTERRUPT_ACK = 0x064
    STATUS = 0x070
    QUEUE_DESC_LOW = 0x080
    QUEUE_DESC_HIGH = 0x084
    QUEUE_DRIVER_LOW = 0x090
    QUEUE_DRIVER_HIGH = 0x094
    QUEUE_DEVICE_LOW = 0x0A0
    QUEUE_DEVICE_HIGH = 0x0A4
    SHM_SEL = 0x0AC
    SHM_LEN_LOW = 0x0B0
    SHM_LEN_HIGH = 0x0B4
    SHM_BASE_LOW = 0x0B8
    SHM_BASE_HIGH = 0x0BC
    QUEUE_RESET = 0x0C0
    CONFIG_GENERATION = 0x0FC


class Interrupt(IntFlag):
    """The bits of InterruptStatus and InterruptACK."""

    USED_BUFFER = 1
    CONFIG_CHANGE = 2


class RegisterInfo(NamedTuple):
    """One row of the table: the name as the specification has it, direction, meaning."""

    name: str
    direction: str
    meaning: str

    @property
    def readable(self) -> bool:
        """Whether the driver may read it."""
        return "R" in self.direction

    @property
    def writable(self) -> bool:
        """Whether the driver may write it."""
        return "W" in self.direction


def _row(name: str, direction: str, meaning: str) -> RegisterInfo:
    return RegisterInfo(name, direction, meaning)


REGISTERS: dict[int, RegisterInfo] = {
    Reg.MAGIC_VALUE: _row("MagicValue", "R", "0x74726976, the letters 'virt'"),
    Reg.VERSION: _row("Version", "R", "2"),
    Reg.DEVICE_ID: _row("DeviceID", "R", "what kind of device: 1 is a network card"),
    Reg.VENDOR_ID: _row("VendorID", "R", "who made it"),
    Reg.DEVICE_FEATURES: _row("DeviceFeatures", "R", "32 of the features the device offers"),
    Reg.DEVICE_FEATURES_SEL: _row("DeviceFeaturesSel", "W", "which 32: bits 32*Sel and up"),
    Reg.DRIVER_FEATURES: _row("DriverFeatures", "W", "32 of the features the driver accepts"),
    Reg.DRIVER_FEATURES_SEL: _row("DriverFeaturesSel", "W", "which 32: bits 32*Sel and up"),
    Reg.QUEUE_SEL: _row("QueueSel", "W", "the queue that the queue registers act on"),
    Reg.QUEUE_NUM_MAX: _row("QueueNumMax", "R", "largest size of the queue; 0: no such queue"),
    Reg.QUEUE_NUM: _row("QueueNum", "W", "the size the driver chose"),
    Reg.QUEUE_READY: _row("QueueReady", "RW", "1: the device may use the queue"),
    Reg.QUEUE_NOTIFY: _row("QueueNotify", "W", "the kick: the index of a queue with new buffers"),
    Reg.INTERRUPT_STATUS: _row("InterruptStatus", "R", "1 used buffer, 2 configuration change"),
    Reg.INTERRUPT_ACK: _row("InterruptACK", "W", "the events the driver has handled"),
    Reg.STATUS: _row("Status", "RW", "how far the driver has come; writing 0 resets"),
    Reg.QUEUE_DESC_LOW: _row("QueueDescLow", "W", "descriptor area, address bits 0-31"),
    Reg.QUEUE_DESC_HIGH: _row("QueueDescHigh", "W", "descriptor area, address bits 32-63"),
    Reg.QUEUE_DRIVER_LOW: _row("QueueDriverLow", "W", "driver area (available ring), bits 0-31"),
    Reg.QUEUE_DRIVER_HIGH: _row("QueueDriverHigh", "W", "driver area, bits 32-63"),
    Reg.QUEUE_DEVICE_LOW: _row("QueueDeviceLow", "W", "device area (used ring), bits 0-31"),
    Reg.QUEUE_DEVICE_HIGH: _row("QueueDeviceHigh", "W", "device area, bits 32-63"),
    Reg.SHM_SEL: _row("SHMSel", "W", "which shared memory region; there are none"),
    Reg.SHM_LEN_LOW: _row("SHMLenLow", "R", "its length, bits 0-31; all ones: no such region"),
    Reg.SHM_LEN_HIGH: _row("SHMLenHigh", "R", "its length, bits 32-63"),
    Reg.SHM_BASE_LOW: _row("SHMBaseLow", "R", "its address, bits 0-31"),
    Reg.SHM_BASE_HIGH: _row("SHMBaseHigh", "R", "its address, bits 32-63"),
    Reg.QUEUE_RESET: _row("QueueReset", "RW", "1 resets one queue, with VIRTIO_F_RING_RESET"),
    Reg.CONFIG_GENERATION: _row("ConfigGeneration", "R", "changes when the configuration does"),
}


def register_name(offset: int) -> str:
    """What a person calls the register at `offset`."""
    if offset >= CONFIG:
        return f"Config+{offset - CONFIG:#x}"
    info = REGISTERS.get(offset & ~3)
    return info.name if info else f"no register ({offset:#05x})"
