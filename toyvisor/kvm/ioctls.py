"""The ioctls of Linux's KVM: their numbers, and the structures that go with them.

Source: Linux, include/uapi/linux/kvm.h, arch/x86/include/uapi/asm/kvm.h, and
include/uapi/asm-generic/ioctl.h for how a number is made. What both KVMs share (kvm_run,
kvm_regs, kvm_sregs) is in api.py; here is what only a real file descriptor needs.
"""

from __future__ import annotations

import ctypes
from ctypes import c_int32, c_int64, c_uint8, c_uint16, c_uint32, c_uint64

from toyvisor.kvm.api import KvmRegs, KvmSregs
from toyvisor.kvm.i8259_chip import PicState

_KVMIO = 0xAE
_WRITE, _READ = 1, 2


def _io(number: int) -> int:
    return _KVMIO << 8 | number


def _iow(number: int, size: int) -> int:
    return _WRITE << 30 | size << 16 | _io(number)


def _ior(number: int, size: int) -> int:
    return _READ << 30 | size << 16 | _io(number)


def _iowr(number: int, size: int) -> int:
    return (_READ | _WRITE) << 30 | size << 16 | _io(number)


class UserspaceMemoryRegion(ctypes.Structure):
    """struct kvm_userspace_memory_region."""

    _fields_ = (
        ("slot", c_uint32),
        ("flags", c_uint32),
        ("guest_phys_addr", c_uint64),
        ("memory_size", c_uint64),
        ("userspace_addr", c_uint64),
    )


class CpuidEntry2(ctypes.Structure):
    """struct kvm_cpuid_entry2."""

    _fields_ = (
        *((name, c_uint32) for name in ("function", "index", "flags", "eax", "ebx", "ecx", "edx")),
        ("padding", c_uint32 * 3),
    )


CPUID_ENTRIES = 256


class Cpuid2(ctypes.Structure):
    """struct kvm_cpuid2, with room for `CPUID_ENTRIES`."""

    _fields_ = (
        ("nent", c_uint32),
        ("padding", c_uint32),
        ("entries", CpuidEntry2 * CPUID_ENTRIES),
    )


_CPUID2_HEADER = Cpuid2.entries.offset  # the ioctls' numbers have the size without entries


class EnableCap(ctypes.Structure):
    """struct kvm_enable_cap."""

    _fields_ = (
        ("cap", c_uint32),
        ("flags", c_uint32),
        ("args", c_uint64 * 4),
        ("pad", c_uint8 * 64),
    )


class IrqLevel(ctypes.Structure):
    """struct kvm_irq_level."""

    _fields_ = (("irq", c_uint32), ("level", c_uint32))


class PitConfig(ctypes.Structure):
    """struct kvm_pit_config."""

    _fields_ = (("flags", c_uint32), ("pad", c_uint32 * 15))


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


class KvmPicState(ctypes.Structure):
    """struct kvm_pic_state: the fields that the toy's chip has, without its own two."""

    NAMES = tuple(name for name in PicState._fields if name not in ("irq_states", "initialized"))
    _fields_ = tuple((name, c_uint8) for name in NAMES)


class Irqchip(ctypes.Structure):
    """struct kvm_irqchip, of which an 8259's state is the first part."""

    _fields_ = (
        ("chip_id", c_uint32),
        ("pad", c_uint32),
        ("pic", KvmPicState),
        ("rest", c_uint8 * (512 - ctypes.sizeof(KvmPicState))),
    )


class PitChannelState(ctypes.Structure):
    """struct kvm_pit_channel_state."""

    _fields_ = (
        ("count", c_uint32),
        ("latched_count", c_uint16),
        *(
            (name, c_uint8)
            for name in (
                "count_latched", "status_latched", "status", "read_state", "write_state",
                "write_latch", "rw_mode", "mode", "bcd", "gate",
            )
        ),
        ("count_load_time", c_int64),  # nanoseconds of CLOCK_MONOTONIC
    )  # fmt: skip


class PitState2(ctypes.Structure):
    """struct kvm_pit_state2."""

    _fields_ = (("channels", PitChannelState * 3), ("flags", c_uint32), ("reserved", c_uint32 * 9))


class GuestDebug(ctypes.Structure):
    """struct kvm_guest_debug."""

    _fields_ = (("control", c_uint32), ("pad", c_uint32), ("debugreg", c_uint64 * 8))


class MpState(ctypes.Structure):
    """struct kvm_mp_state."""

    _fields_ = (("mp_state", c_uint32),)


# Of /dev/kvm
GET_API_VERSION = _io(0x00)
CREATE_VM = _io(0x01)
CHECK_EXTENSION = _io(0x03)
GET_VCPU_MMAP_SIZE = _io(0x04)

# Of a VM
CREATE_VCPU = _io(0x41)
SET_USER_MEMORY_REGION = _iow(0x46, ctypes.sizeof(UserspaceMemoryRegion))
SET_TSS_ADDR = _io(0x47)
SET_IDENTITY_MAP_ADDR = _iow(0x48, 8)
CREATE_IRQCHIP = _io(0x60)
IRQ_LINE = _iow(0x61, ctypes.sizeof(IrqLevel))
GET_IRQCHIP = _iowr(0x62, ctypes.sizeof(Irqchip))
IRQFD = _iow(0x76, ctypes.sizeof(IrqFdArgs))
CREATE_PIT2 = _iow(0x77, ctypes.sizeof(PitConfig))
IOEVENTFD = _iow(0x79, ctypes.sizeof(IoEventFdArgs))
GET_PIT2 = _ior(0x9F, ctypes.sizeof(PitState2))

# Of a vCPU
RUN = _io(0x80)
GET_REGS = _ior(0x81, ctypes.sizeof(KvmRegs))
SET_REGS = _iow(0x82, ctypes.sizeof(KvmRegs))
GET_SREGS = _ior(0x83, ctypes.sizeof(KvmSregs))
SET_SREGS = _iow(0x84, ctypes.sizeof(KvmSregs))
SET_CPUID2 = _iow(0x90, _CPUID2_HEADER)
GET_MP_STATE = _ior(0x98, ctypes.sizeof(MpState))
NMI = _io(0x9A)
SET_GUEST_DEBUG = _iow(0x9B, ctypes.sizeof(GuestDebug))
ENABLE_CAP = _iow(0xA3, ctypes.sizeof(EnableCap))
GET_TSC_KHZ = _io(0xA3)
GET_STATS_FD = _io(0xCE)

# KVM_CAP_*
CAP_SET_TSS_ADDR = 4
CAP_SET_IDENTITY_MAP_ADDR = 37
CAP_IMMEDIATE_EXIT = 136
CAP_EXIT_HYPERCALL = 201
CAP_BINARY_STATS_FD = 203

# Flags
IOEVENTFD_DATAMATCH, IOEVENTFD_PIO, IOEVENTFD_DEASSIGN = 1, 2, 4
IRQFD_DEASSIGN = 1
PIT_SPEAKER_DUMMY = 1
GUESTDBG_ENABLE, GUESTDBG_SINGLESTEP = 1, 2
MP_STATE_RUNNABLE, MP_STATE_HALTED = 0, 3
