"""Linux's own KVM: /dev/kvm and a virtual machine, through their ioctls.

The same methods as the toy's (vm.py), so that the same QEMU drives both; what they do here is one
system call each. Source: Linux, Documentation/virt/kvm/api.rst.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from toyvisor.errors import MachineError, UsageError
from toyvisor.kvm import ioctls
from toyvisor.kvm.api import KVM_API_VERSION
from toyvisor.kvm.cpuid import leaves
from toyvisor.kvm.eventfd import EventFd
from toyvisor.kvm.linux_irqchip import LinuxIrqchip, LinuxPit
from toyvisor.kvm.linux_vcpu import AloneOnTheHost, LinuxVcpu, RealHost
from toyvisor.memory import GuestMemory
from toyvisor.trace.ledger import Ledger

DEVICE = "/dev/kvm"
#: Modules that are KVM on hardware; any other one is a software KVM.
HARDWARE_MODULES = ("kvm_intel", "kvm_amd")

# Four pages for what real mode takes on processors that can't run it as it is. QEMU puts them
# right below 4 GiB; Python's ioctl() takes no address that high, and here no guest has as much RAM
# as 2 GiB, nor a device below them.
_IDENTITY_MAP_ADDR = 0x7FFFB000
_TSS_ADDR = 0x7FFFC000


def why_not() -> str | None:
    """Why Linux's KVM can't be used here; None if it can."""
    try:
        os.close(_open_device())
    except MachineError as error:
        return error.message
    return None


def module_name() -> str | None:
    """The kernel module that is this machine's KVM: kvm_intel, kvm_amd, or another one."""
    found = sorted(path.name for path in Path("/sys/module").glob("kvm_*"))
    named = [name for name in found if name in HARDWARE_MODULES]
    return next(iter(named or found), None)


def is_software() -> bool:
    """Whether this machine's KVM is known not to run guests on the processor itself."""
    name = module_name()
    return name is not None and name not in HARDWARE_MODULES


class LinuxKvm:
    """/dev/kvm, opened. Raises MachineError where it is missing, forbidden or too old."""

    def __init__(self, ledger: Ledger, host: RealHost | None = None) -> None:
        self._ledger = ledger
        self._host: RealHost = host if host is not None else AloneOnTheHost()

    def get_api_version(self) -> int:
        """KVM_GET_API_VERSION."""
        device = _open_device()
        try:
            return fcntl.ioctl(device, ioctls.GET_API_VERSION, 0)
        finally:
            os.close(device)

    def create_vm(self) -> LinuxVm:
        """KVM_CREATE_VM."""
        return LinuxVm(_open_device(), self._ledger, self._host)


class LinuxVm:
    """A virtual machine's file descriptor, and /dev/kvm's, which `device` is."""

    def __init__(self, device: int, ledger: Ledger, host: RealHost) -> None:
        self.ledger = ledger
        self._host = host
        self.memory = GuestMemory()
        #: KVM_CAP_EXIT_HYPERCALL: a bit for each hypercall number that userspace wants
        self.exit_hypercalls = 0
        self.irqchip: LinuxIrqchip | None = None
        self.pit: LinuxPit | None = None
        self._vcpu: LinuxVcpu | None = None
        self._mapped: list[object] = []
        self._device, self.fd = device, -1
        try:
            self.fd = ioctl(device, ioctls.CREATE_VM, 0, "KVM_CREATE_VM")
        except MachineError:
            self.close()
            raise
        if not self.check_extension(ioctls.CAP_IMMEDIATE_EXIT):
            self.close()
            raise MachineError(
                "this kernel's KVM can't be got out of KVM_RUN in time (KVM_CAP_IMMEDIATE_EXIT)",
                hint="Linux 4.11 or newer",
            )
        self._prepare_real_mode()

    def check_extension(self, capability: int) -> int:
        """KVM_CHECK_EXTENSION: 0 if there is no such thing."""
        return fcntl.ioctl(self._device, ioctls.CHECK_EXTENSION, capability)

    def set_user_memory_region(
        self, slot: int, guest_phys_addr: int, userspace: memoryview
    ) -> None:
        """KVM_SET_USER_MEMORY_REGION: `userspace` appears in the guest at that address."""
        view = ctypes.c_char.from_buffer(userspace)
        region = ioctls.UserspaceMemoryRegion(
            slot, 0, guest_phys_addr, len(userspace), ctypes.addressof(view)
        )
        self._ioctl(ioctls.SET_USER_MEMORY_REGION, region, "KVM_SET_USER_MEMORY_REGION")
        self._mapped.append(view)
        self.memory.add(guest_phys_addr, userspace)

    # Interrupts and eventfds ----------------------------------------------------------------

    def create_irqchip(self) -> LinuxIrqchip:
        """KVM_CREATE_IRQCHIP: two 8259s, and an I/O and a local APIC that nobody programs.

        Without a driver the local APIC hands on what the 8259s ask for (LINT0 is ExtINT).
        """
        self._ioctl(ioctls.CREATE_IRQCHIP, 0, "KVM_CREATE_IRQCHIP")
        self.irqchip = LinuxIrqchip(self.fd)
        return self.irqchip

    def create_pit2(self) -> LinuxPit:
        """KVM_CREATE_PIT2: the interval timer at its ports, and on IRQ 0."""
        self._ioctl(
            ioctls.CREATE_PIT2, ioctls.PitConfig(ioctls.PIT_SPEAKER_DUMMY), "KVM_CREATE_PIT2"
        )
        self.pit = LinuxPit(self.fd)
        return self.pit

    def irq_line(self, gsi: int, level: int) -> None:
        """KVM_IRQ_LINE: userspace drives a line of the interrupt controllers."""
        self._ioctl(ioctls.IRQ_LINE, ioctls.IrqLevel(gsi, level), "KVM_IRQ_LINE")

    def irqfd(self, eventfd: EventFd, gsi: int, *, deassign: bool = False) -> None:
        """KVM_IRQFD: each signal of `eventfd`, a real one, is an interrupt on `gsi`."""
        args = ioctls.IrqFdArgs(_descriptor(eventfd), gsi, ioctls.IRQFD_DEASSIGN * deassign)
        self._ioctl(ioctls.IRQFD, args, "KVM_IRQFD")

    def ioeventfd(
        self,
        eventfd: EventFd,
        address: int,
        length: int,
        datamatch: int | None = None,
        *,
        pio: bool = False,
        deassign: bool = False,
    ) -> None:
        """KVM_IOEVENTFD: a fitting store signals `eventfd`, and the guest goes on at once."""
        flags = (
            ioctls.IOEVENTFD_DATAMATCH * (datamatch is not None)
            | ioctls.IOEVENTFD_PIO * pio
            | ioctls.IOEVENTFD_DEASSIGN * deassign
        )
        args = ioctls.IoEventFdArgs(datamatch or 0, address, length, _descriptor(eventfd), flags)
        self._ioctl(ioctls.IOEVENTFD, args, "KVM_IOEVENTFD")

    # The vCPU -------------------------------------------------------------------------------

    def create_vcpu(self, vcpu_id: int = 0) -> LinuxVcpu:
        """KVM_CREATE_VCPU, with the CPUID table that the toy's vCPU has (KVM_SET_CPUID2)."""
        if self.exit_hypercalls:
            cap = ioctls.EnableCap(cap=ioctls.CAP_EXIT_HYPERCALL)
            cap.args[0] = self.exit_hypercalls
            self._ioctl(ioctls.ENABLE_CAP, cap, "KVM_ENABLE_CAP(EXIT_HYPERCALL)")
        fd = ioctl(self.fd, ioctls.CREATE_VCPU, vcpu_id, "KVM_CREATE_VCPU")
        size = fcntl.ioctl(self._device, ioctls.GET_VCPU_MMAP_SIZE, 0)
        has_stats = bool(self.check_extension(ioctls.CAP_BINARY_STATS_FD))
        self._vcpu = LinuxVcpu(fd, size, self.ledger, self._host, has_stats=has_stats)
        self._vcpu.set_cpuid2(leaves())
        return self._vcpu

    def close(self) -> None:
        """Close the file descriptors: the VM is gone. Twice is once."""
        if self._vcpu is not None:
            self._vcpu.close()
            self._vcpu = None
        self._mapped.clear()
        for fd in (self.fd, self._device):
            if fd >= 0:
                os.close(fd)
        self.fd = self._device = -1

    def _prepare_real_mode(self) -> None:
        """What Intel's processors before 2010 need for it; others don't mind."""
        if self.check_extension(ioctls.CAP_SET_IDENTITY_MAP_ADDR):
            address = ctypes.c_uint64(_IDENTITY_MAP_ADDR)
            self._ioctl(ioctls.SET_IDENTITY_MAP_ADDR, address, "KVM_SET_IDENTITY_MAP_ADDR")
        if self.check_extension(ioctls.CAP_SET_TSS_ADDR):
            self._ioctl(ioctls.SET_TSS_ADDR, _TSS_ADDR, "KVM_SET_TSS_ADDR")

    def _ioctl(self, request: int, argument: Any, name: str) -> int:
        return ioctl(self.fd, request, argument, name)


@runtime_checkable
class _File(Protocol):
    def fileno(self) -> int: ...


def _descriptor(eventfd: EventFd) -> int:
    if not isinstance(eventfd, _File):
        raise UsageError(f"{eventfd.name}: Linux's KVM takes eventfds of the real kernel only")
    return eventfd.fileno()


def _open_device() -> int:
    """A descriptor of /dev/kvm, or a MachineError that says what to do."""
    try:
        device = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        hint = _HINTS.get(error.errno or 0)
        raise MachineError(f"{DEVICE}: {error.strerror}", hint=hint) from None
    try:
        version = fcntl.ioctl(device, ioctls.GET_API_VERSION, 0)
    except OSError as error:
        os.close(device)
        raise MachineError(f"{DEVICE} is no KVM: {error.strerror}") from None
    if version != KVM_API_VERSION:
        os.close(device)
        raise MachineError(f"{DEVICE}: API version {version}, not {KVM_API_VERSION}")
    return device


_HINTS = {
    errno.ENOENT: "this machine has no KVM: the processor's virtualization may be off in its "
    "firmware, the kvm module not loaded, or this is a virtual machine without nested "
    "virtualization; without --accel the toy KVM runs",
    errno.EACCES: "you may not open it: become a member of its group, as a rule `sudo usermod "
    "-aG kvm $USER`, and log in again",
    errno.ENODEV: "the kvm module is there, but found no processor it can use",
}


def ioctl(fd: int, request: int, argument: Any, name: str) -> int:
    """One ioctl. Raises MachineError with its name if the kernel refuses."""
    try:
        result: int = fcntl.ioctl(fd, request, argument)
    except OSError as error:
        raise MachineError(f"{name}: {error.strerror}") from None
    return result
