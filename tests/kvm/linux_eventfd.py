"""Linux's ioeventfds and irqfds, by their ioctls (virt/kvm/eventfd.c)."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import time
from ctypes import c_int32, c_uint8, c_uint32, c_uint64

from linux_kvm import CREATE_VM, DEVICE, _io, _iow

DATAMATCH, PIO, DEASSIGN = 1, 2, 4
IRQFD_DEASSIGN = 1


class IoEventFdArgs(ctypes.Structure):
    """struct kvm_ioeventfd."""

    _fields_ = (
        ("datamatch", c_uint64),
        ("addr", c_uint64),
        ("len", c_uint32),
        ("fd", c_int32),
        ("flags", c_uint32),
        ("pad", c_uint8 * 36),
    )


class IrqFdArgs(ctypes.Structure):
    """struct kvm_irqfd."""

    _fields_ = (
        ("fd", c_uint32),
        ("gsi", c_uint32),
        ("flags", c_uint32),
        ("resamplefd", c_uint32),
        ("pad", c_uint8 * 16),
    )


CREATE_IRQCHIP = _io(0x60)
_IRQCHIP_SIZE, _IRR = 520, 9  # struct kvm_irqchip, and where kvm_pic_state has irr
GET_IRQCHIP = 3 << 30 | _IRQCHIP_SIZE << 16 | _io(0x62)
IRQFD = _iow(0x76, ctypes.sizeof(IrqFdArgs))
IOEVENTFD = _iow(0x79, ctypes.sizeof(IoEventFdArgs))


def _errno(descriptor: int, request: int, args: ctypes.Structure) -> str | None:
    """The ioctl's errno by name; None if it succeeds."""
    try:
        fcntl.ioctl(descriptor, request, args)
    except OSError as error:
        return errno.errorcode[error.errno]
    return None


def ioeventfd(
    vm: int,
    eventfd: int,
    address: int,
    length: int,
    datamatch: int | None = None,
    *,
    pio: bool = False,
    deassign: bool = False,
) -> str | None:
    """KVM_IOEVENTFD on a VM's descriptor."""
    flags = DATAMATCH * (datamatch is not None) | PIO * pio | DEASSIGN * deassign
    args = IoEventFdArgs(datamatch or 0, address, length, eventfd, flags)
    return _errno(vm, IOEVENTFD, args)


def irqfd(vm: int, eventfd: int, gsi: int, *, deassign: bool = False) -> str | None:
    """KVM_IRQFD on a VM's descriptor."""
    return _errno(vm, IRQFD, IrqFdArgs(eventfd, gsi, IRQFD_DEASSIGN * deassign))


def take(eventfd: int) -> int:
    """The counter, and leave 0."""
    try:
        return os.eventfd_read(eventfd)
    except BlockingIOError:
        return 0


class BareVm:
    """A VM with interrupt controllers and no vCPU."""

    def __init__(self) -> None:
        device = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
        self.vm = fcntl.ioctl(device, CREATE_VM, 0)
        os.close(device)
        fcntl.ioctl(self.vm, CREATE_IRQCHIP, 0)

    def requests(self) -> int:
        """The first interrupt controller's request register, once irqfd's worker has been there.

        irqfd_wakeup() leaves the line to a kernel thread.
        """
        chip = bytearray(_IRQCHIP_SIZE)
        for _ in range(100):
            fcntl.ioctl(self.vm, GET_IRQCHIP, chip)
            if chip[_IRR]:
                break
            time.sleep(0.001)
        return chip[_IRR]

    def close(self) -> None:
        """The VM is gone."""
        os.close(self.vm)
