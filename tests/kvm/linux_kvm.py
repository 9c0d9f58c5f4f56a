"""A minimal client of Linux's KVM: enough to hold the toy KVM against the real one.

The structures are the toy's own (toyvisor.kvm.api), the ioctl numbers Linux's
(include/uapi/linux/kvm.h). Nothing but the tests uses this.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import signal
import struct
import threading
from ctypes import c_uint32, c_uint64

from toyvisor.kvm.api import KvmRegs, KvmRun, KvmSregs

DEVICE = "/dev/kvm"
API_VERSION = 12


def _io(number: int) -> int:
    return 0xAE00 | number


def _iow(number: int, size: int) -> int:
    return 1 << 30 | size << 16 | _io(number)


def _ior(number: int, size: int) -> int:
    return 2 << 30 | size << 16 | _io(number)


class MemoryRegion(ctypes.Structure):
    """struct kvm_userspace_memory_region."""

    _fields_ = (
        ("slot", c_uint32),
        ("flags", c_uint32),
        ("guest_phys_addr", c_uint64),
        ("memory_size", c_uint64),
        ("userspace_addr", c_uint64),
    )


class CpuidEntry(ctypes.Structure):
    """struct kvm_cpuid_entry2."""

    _fields_ = (
        *((name, c_uint32) for name in ("function", "index", "flags", "eax", "ebx", "ecx", "edx")),
        ("padding", c_uint32 * 3),
    )


class Cpuid(ctypes.Structure):
    """struct kvm_cpuid2, with room."""

    _fields_ = (("nent", c_uint32), ("padding", c_uint32), ("entries", CpuidEntry * 256))


class EnableCap(ctypes.Structure):
    """struct kvm_enable_cap."""

    _fields_ = (
        ("cap", c_uint32),
        ("flags", c_uint32),
        ("args", c_uint64 * 4),
        ("pad", ctypes.c_uint8 * 64),
    )


_CPUID_HEADER = 8

GET_API_VERSION = _io(0x00)
CREATE_VM = _io(0x01)
GET_VCPU_MMAP_SIZE = _io(0x04)
GET_SUPPORTED_CPUID = 3 << 30 | _CPUID_HEADER << 16 | _io(0x05)
CREATE_VCPU = _io(0x41)
SET_USER_MEMORY_REGION = _iow(0x46, ctypes.sizeof(MemoryRegion))
CREATE_IRQCHIP = _io(0x60)
IRQ_LINE = _iow(0x61, 8)
NMI = _io(0x9A)
RUN = _io(0x80)
GET_REGS = _ior(0x81, ctypes.sizeof(KvmRegs))
SET_REGS = _iow(0x82, ctypes.sizeof(KvmRegs))
GET_SREGS = _ior(0x83, ctypes.sizeof(KvmSregs))
SET_SREGS = _iow(0x84, ctypes.sizeof(KvmSregs))
SET_CPUID2 = _iow(0x90, _CPUID_HEADER)
ENABLE_CAP = _iow(0xA3, ctypes.sizeof(EnableCap))

CAP_EXIT_HYPERCALL = 201


class TimeIsUpError(Exception):
    """The guest did not come out of KVM_RUN in time."""


def why_not() -> str | None:
    """Why Linux's KVM can't be used here; None if it can."""
    try:
        device = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        return f"{DEVICE}: {error.strerror}"
    try:
        version = fcntl.ioctl(device, GET_API_VERSION, 0)
        if version != API_VERSION:
            return f"{DEVICE}: API version {version}, not {API_VERSION}"
        os.close(fcntl.ioctl(device, CREATE_VM, 0))
    except OSError as error:
        return f"{DEVICE}: {error.strerror}"
    finally:
        os.close(device)
    if threading.current_thread() is not threading.main_thread():
        return "the time limit needs the main thread"
    return None


class LinuxVm:
    """One VM with one vCPU in Linux's KVM, with the same methods as the toy's Vcpu."""

    def __init__(
        self, memory: dict[int, mmap.mmap], *, exit_hypercalls: int = 0, irqchip: bool = False
    ) -> None:
        self._open: list[int] = []
        self._mapped: list[object] = []
        device = self._keep(os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC))
        self.vm = self._keep(fcntl.ioctl(device, CREATE_VM, 0))
        if exit_hypercalls:
            cap = EnableCap(cap=CAP_EXIT_HYPERCALL)
            cap.args[0] = exit_hypercalls
            fcntl.ioctl(self.vm, ENABLE_CAP, cap)
        if irqchip:
            fcntl.ioctl(self.vm, CREATE_IRQCHIP, 0)
        for slot, (base, ram) in enumerate(memory.items()):
            view = ctypes.c_char.from_buffer(ram)
            region = MemoryRegion(slot, 0, base, len(ram), ctypes.addressof(view))
            fcntl.ioctl(self.vm, SET_USER_MEMORY_REGION, region)
            self._mapped.append(view)
        self.vcpu = self._keep(fcntl.ioctl(self.vm, CREATE_VCPU, 0))
        size = fcntl.ioctl(device, GET_VCPU_MMAP_SIZE, 0)
        self.kvm_run = KvmRun(mmap.mmap(self.vcpu, size))
        self.cpuid = Cpuid(nent=256)
        fcntl.ioctl(device, GET_SUPPORTED_CPUID, self.cpuid)
        self.set_cpuid()

    def _keep(self, descriptor: int) -> int:
        self._open.append(descriptor)
        return descriptor

    def set_cpuid(self) -> None:
        """KVM_SET_CPUID2: `cpuid` as it stands."""
        fcntl.ioctl(self.vcpu, SET_CPUID2, self.cpuid)

    def set_sregs(self, wanted: KvmSregs) -> None:
        """KVM_SET_SREGS: segments, tables, control registers; the rest stays as reset left it."""
        sregs = KvmSregs()
        fcntl.ioctl(self.vcpu, GET_SREGS, sregs)
        for name in ("cs", "ds", "es", "fs", "gs", "ss", "gdt", "idt"):
            setattr(sregs, name, getattr(wanted, name))
        for name in ("cr0", "cr3", "cr4", "efer"):
            setattr(sregs, name, getattr(wanted, name))
        fcntl.ioctl(self.vcpu, SET_SREGS, sregs)

    def set_regs(self, regs: KvmRegs) -> None:
        """KVM_SET_REGS."""
        fcntl.ioctl(self.vcpu, SET_REGS, regs)

    def get_regs(self) -> KvmRegs:
        """KVM_GET_REGS."""
        regs = KvmRegs()
        fcntl.ioctl(self.vcpu, GET_REGS, regs)
        return regs

    def get_sregs(self) -> KvmSregs:
        """KVM_GET_SREGS."""
        sregs = KvmSregs()
        fcntl.ioctl(self.vcpu, GET_SREGS, sregs)
        return sregs

    def irq_line(self, gsi: int, level: int) -> None:
        """KVM_IRQ_LINE."""
        fcntl.ioctl(self.vm, IRQ_LINE, struct.pack("<II", gsi, level))

    def nmi(self) -> None:
        """KVM_NMI."""
        fcntl.ioctl(self.vcpu, NMI, 0)

    def run(self) -> None:
        """KVM_RUN. Raises TimeIsUpError if a time limit ends it."""
        try:
            fcntl.ioctl(self.vcpu, RUN, 0)
        except InterruptedError:
            raise TimeIsUpError from None
        except OSError as error:
            name = errno.errorcode.get(error.errno, error.errno)
            raise AssertionError(f"KVM_RUN: {name}") from error

    def close(self) -> None:
        """Unmap kvm_run, close the descriptors: the VM is gone."""
        self._mapped.clear()
        del self.kvm_run
        for descriptor in reversed(self._open):
            os.close(descriptor)
        self._open.clear()


class TimeLimit:
    """Ends KVM_RUN after `seconds`: a signal interrupts it, immediate_exit keeps it out.

    Documentation/virt/kvm/api.rst, immediate_exit: the flag closes the gap between the
    signal's arrival and the next KVM_RUN.
    """

    def __init__(self, vm: LinuxVm, seconds: float) -> None:
        self._fields = vm.kvm_run.fields
        self._seconds = seconds

    def _ring(self, *_signal: object) -> None:
        self._fields.immediate_exit = 1

    def __enter__(self) -> None:
        self._before = signal.signal(signal.SIGALRM, self._ring)
        signal.setitimer(signal.ITIMER_REAL, self._seconds)

    def __exit__(self, *_exc: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._before)
