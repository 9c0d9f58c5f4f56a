"""The numbers of VIRTIO 1.2 that every device and both ends of a ring share.

Names are those of the specification and of Linux (include/uapi/linux/virtio_ring.h,
virtio_config.h), less the VIRTIO_F_, VIRTIO_CONFIG_S_ and VIRTQ_ prefixes, which the
classes here stand for.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag


class DeviceId(IntEnum):
    """What kind of device it is (VIRTIO 1.2, 5)."""

    PLACEHOLDER = 0
    NET = 1
    BLOCK = 2
    CONSOLE = 3
    ENTROPY = 4


class Status(IntFlag):
    """The device status field (VIRTIO 1.2, 2.1): how far the driver has come."""

    ACKNOWLEDGE = 1  # the guest has found the device
    DRIVER = 2  # the guest knows how to drive it
    DRIVER_OK = 4  # the driver is set up; the device is live
    FEATURES_OK = 8  # feature negotiation is complete; only the device can confirm it
    DEVICE_NEEDS_RESET = 0x40  # the device's own bit: an error it can't recover from
    FAILED = 0x80  # the guest has given up on the device


class Interrupt(IntFlag):
    """Why a device interrupts: InterruptStatus (4.2.2), the ISR of PCI (4.1.4.5)."""

    USED_BUFFER = 1
    CONFIG_CHANGE = 2


class Feature(IntFlag):
    """Feature bits that belong to the queues, not to a device type (VIRTIO 1.2, 6)."""

    INDIRECT_DESC = 1 << 28
    EVENT_IDX = 1 << 29
    VERSION_1 = 1 << 32
    ACCESS_PLATFORM = 1 << 33
    RING_PACKED = 1 << 34
    IN_ORDER = 1 << 35
    ORDER_PLATFORM = 1 << 36
    SR_IOV = 1 << 37
    NOTIFICATION_DATA = 1 << 38
    NOTIF_CONFIG_DATA = 1 << 39
    RING_RESET = 1 << 40


class DescriptorFlag(IntFlag):
    """struct virtq_desc, flags (VIRTIO 1.2, 2.7.5)."""

    NEXT = 1  # the chain goes on at `next`
    WRITE = 2  # device-writable; else device-readable
    INDIRECT = 4  # the buffer is a table of descriptors


class AvailFlag(IntFlag):
    """struct virtq_avail, flags (VIRTIO 1.2, 2.7.6): the driver advises the device."""

    NO_INTERRUPT = 1


class UsedFlag(IntFlag):
    """struct virtq_used, flags (VIRTIO 1.2, 2.7.8): the device advises the driver."""

    NO_NOTIFY = 1


#: the largest split ring: the highest power of two in 16 bits (VIRTIO 1.2, 2.7)
QUEUE_SIZE_LIMIT = 32768
