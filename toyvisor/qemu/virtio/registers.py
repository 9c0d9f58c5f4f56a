"""The registers of virtio-mmio, version 2 (VIRTIO 1.2, 4.2.2): a table to look things up in.

VIRTIO 1.3 renames QueueNum to QueueSize and QueueNumMax to QueueSizeMax; offsets and
meanings are the same.
"""

from __future__ import annotations

from enum import IntEnum

from toyvisor.qemu.devices.registers import Bits, Register

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


_EVENTS = (
    Bits("USED_BUFFER", 0, "buffers of some queue were used"),
    Bits("CONFIG_CHANGE", 1, "the configuration changed, or the device needs a reset"),
)
_STATUS = (
    Bits("ACKNOWLEDGE", 0, "the guest has found the device"),
    Bits("DRIVER", 1, "the guest knows how to drive it"),
    Bits("DRIVER_OK", 2, "the driver is set up; the device is live"),
    Bits("FEATURES_OK", 3, "both agree on the features"),
    Bits("DEVICE_NEEDS_RESET", 6, "the device gave up; only a reset helps"),
    Bits("FAILED", 7, "the guest gave up"),
)


def _row(
    offset: Reg,
    name: str,
    access: str,
    meaning: str,
    bits: tuple[Bits, ...] = (),
    *,
    reset: int = 0,
) -> Register:
    return Register(offset, name, access, 4, meaning, bits, reset)


_TABLE = (
    _row(Reg.MAGIC_VALUE, "MagicValue", "R", "the letters 'virt'", reset=MAGIC),
    _row(Reg.VERSION, "Version", "R", "the layout of these registers", reset=VERSION),
    _row(Reg.DEVICE_ID, "DeviceID", "R", "what kind of device: 1 is a network card"),
    _row(Reg.VENDOR_ID, "VendorID", "R", "who made it", reset=VENDOR),
    _row(Reg.DEVICE_FEATURES, "DeviceFeatures", "R", "32 of the features the device offers"),
    _row(Reg.DEVICE_FEATURES_SEL, "DeviceFeaturesSel", "W", "which 32: bits 32*Sel and up"),
    _row(Reg.DRIVER_FEATURES, "DriverFeatures", "W", "32 of the features the driver accepts"),
    _row(Reg.DRIVER_FEATURES_SEL, "DriverFeaturesSel", "W", "which 32: bits 32*Sel and up"),
    _row(Reg.QUEUE_SEL, "QueueSel", "W", "the queue that the queue registers act on"),
    _row(Reg.QUEUE_NUM_MAX, "QueueNumMax", "R", "largest size of the queue; 0: no such queue"),
    _row(Reg.QUEUE_NUM, "QueueNum", "W", "the size the driver chose"),
    _row(Reg.QUEUE_READY, "QueueReady", "RW", "1: the device may use the queue"),
    _row(Reg.QUEUE_NOTIFY, "QueueNotify", "W", "the kick: the index of a queue with new buffers"),
    _row(
        Reg.INTERRUPT_STATUS,
        "InterruptStatus",
        "R",
        "events the driver has not acknowledged",
        _EVENTS,
    ),
    _row(Reg.INTERRUPT_ACK, "InterruptACK", "W", "the events the driver has handled", _EVENTS),
    _row(Reg.STATUS, "Status", "RW", "how far the driver has come; writing 0 resets", _STATUS),
    _row(Reg.QUEUE_DESC_LOW, "QueueDescLow", "W", "descriptor area, address bits 0-31"),
    _row(Reg.QUEUE_DESC_HIGH, "QueueDescHigh", "W", "descriptor area, address bits 32-63"),
    _row(Reg.QUEUE_DRIVER_LOW, "QueueDriverLow", "W", "driver area (available ring), bits 0-31"),
    _row(Reg.QUEUE_DRIVER_HIGH, "QueueDriverHigh", "W", "driver area, bits 32-63"),
    _row(Reg.QUEUE_DEVICE_LOW, "QueueDeviceLow", "W", "device area (used ring), bits 0-31"),
    _row(Reg.QUEUE_DEVICE_HIGH, "QueueDeviceHigh", "W", "device area, bits 32-63"),
    _row(Reg.SHM_SEL, "SHMSel", "W", "which shared memory region; there are none"),
    _row(Reg.SHM_LEN_LOW, "SHMLenLow", "R", "its length, bits 0-31; all ones: no such region"),
    _row(Reg.SHM_LEN_HIGH, "SHMLenHigh", "R", "its length, bits 32-63"),
    _row(Reg.SHM_BASE_LOW, "SHMBaseLow", "R", "its address, bits 0-31"),
    _row(Reg.SHM_BASE_HIGH, "SHMBaseHigh", "R", "its address, bits 32-63"),
    _row(Reg.QUEUE_RESET, "QueueReset", "RW", "1 resets one queue, with VIRTIO_F_RING_RESET"),
    _row(Reg.CONFIG_GENERATION, "ConfigGeneration", "R", "changes when the configuration does"),
)
#: every control register, by offset
REGISTERS: dict[int, Register] = {register.offset: register for register in _TABLE}


def register_name(offset: int) -> str:
    """What a person calls the register at `offset`."""
    if offset >= CONFIG:
        return f"Config+{offset - CONFIG:#x}"
    register = REGISTERS.get(offset & ~3)
    return register.name if register else f"no register ({offset:#05x})"
