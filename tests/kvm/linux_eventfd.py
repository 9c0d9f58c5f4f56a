"""Linux's ioeventfds and irqfds, by their ioctls (virt/kvm/eventfd.c)."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import time

from toyvisor.kvm import ioctls
from toyvisor.kvm.linux import LinuxKvm
from toyvisor.trace.ledger import Ledger


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
    flags = (
        ioctls.IOEVENTFD_DATAMATCH * (datamatch is not None)
        | ioctls.IOEVENTFD_PIO * pio
        | ioctls.IOEVENTFD_DEASSIGN * deassign
    )
    args = ioctls.IoEventFdArgs(datamatch or 0, address, length, eventfd, flags)
    return _errno(vm, ioctls.IOEVENTFD, args)


def irqfd(vm: int, eventfd: int, gsi: int, *, deassign: bool = False) -> str | None:
    """KVM_IRQFD on a VM's descriptor."""
    args = ioctls.IrqFdArgs(eventfd, gsi, ioctls.IRQFD_DEASSIGN * deassign)
    return _errno(vm, ioctls.IRQFD, args)


def take(eventfd: int) -> int:
    """The counter, and leave 0."""
    try:
        return os.eventfd_read(eventfd)
    except BlockingIOError:
        return 0


class BareVm:
    """A VM with interrupt controllers and no vCPU."""

    def __init__(self) -> None:
        self._vm = LinuxKvm(Ledger()).create_vm()
        self._irqchip = self._vm.create_irqchip()
        self.vm = self._vm.fd

    def requests(self) -> int:
        """The first interrupt controller's request register, once irqfd's worker has been there.

        irqfd_wakeup() leaves the line to a kernel thread.
        """
        for _ in range(100):
            requests = self._irqchip.pics[0].irr
            if requests:
                break
            time.sleep(0.001)
        return requests

    def close(self) -> None:
        """The VM is gone."""
        self._vm.close()
