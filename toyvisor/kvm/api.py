"""KVM's interface to userspace, number for number and byte for byte.

Source: Linux, include/uapi/linux/kvm.h and arch/x86/include/uapi/asm/kvm.h. The toy KVM
and Linux's own are driven through the same structures.
"""

from __future__ import annotations

import ctypes
from ctypes import c_char, c_uint8, c_uint16, c_uint32, c_uint64
from enum import IntEnum
from struct import Struct, unpack
from typing import Any

from toyvisor.exit_reasons import KvmExit as KvmExit

KVM_API_VERSION = 12


class InternalError(IntEnum):
    """KVM_INTERNAL_ERROR_*: kvm_run.internal.suberror."""

    EMULATION = 1
    SIMUL_EX = 2
    DELIVERY_EV = 3
    UNEXPECTED_EXIT_REASON = 4


class Hypercall(IntEnum):
    """KVM_HC_*: hypercall numbers, in RAX (Documentation/virt/kvm/x86/hypercalls.rst)."""

    VAPIC_POLL_IRQ = 1
    KICK_CPU = 5
    CLOCK_PAIRING = 9
    SEND_IPI = 10
    SCHED_YIELD = 11
    MAP_GPA_RANGE = 12


KVM_ENOSYS = 1000
KVM_EPERM = 1

KVM_EXIT_IO_IN = 0
KVM_EXIT_IO_OUT = 1

#: kvm_run is mmap()ed together with a page for port data and one for coalesced MMIO.
VCPU_MMAP_SIZE = 3 * 4096
PIO_DATA_OFFSET = 4096


class Io(ctypes.Structure):
    """kvm_run.io: IN or OUT; the data is at `data_offset` of the mapping."""

    _fields_ = (
        ("direction", c_uint8),
        ("size", c_uint8),
        ("port", c_uint16),
        ("count", c_uint32),
        ("data_offset", c_uint64),
    )


class Mmio(ctypes.Structure):
    """kvm_run.mmio: a load or store without memory behind it."""

    _fields_ = (
        ("phys_addr", c_uint64),
        ("data", c_uint8 * 8),
        ("len", c_uint32),
        ("is_write", c_uint8),
    )


class HypercallExit(ctypes.Structure):
    """kvm_run.hypercall."""

    _fields_ = (
        ("nr", c_uint64),
        ("args", c_uint64 * 6),
        ("ret", c_uint64),
        ("flags", c_uint64),
    )


class Internal(ctypes.Structure):
    """kvm_run.internal: KVM itself can't go on."""

    _fields_ = (("suberror", c_uint32), ("ndata", c_uint32), ("data", c_uint64 * 16))


def emulation_failure(code: bytes) -> tuple[int, ...]:
    """kvm_run.emulation_failure after its `ndata`: flags, then size and bytes of the code.

    Linux: arch/x86/kvm/x86.c, prepare_emulation_failure_exit(). No code, no bytes.
    """
    if not code:
        return (0,)
    has_instruction_bytes = 1
    return (has_instruction_bytes, *unpack("<2Q", bytes([len(code)]) + code.ljust(15, b"\x90")))


class Debug(ctypes.Structure):
    """kvm_run.debug (struct kvm_debug_exit_arch): an instruction was stepped over."""

    _fields_ = (
        ("exception", c_uint32),
        ("pad", c_uint32),
        ("pc", c_uint64),
        ("dr6", c_uint64),
        ("dr7", c_uint64),
    )


#: DR6 and DR7 then: BS and the bits that are always 1 (Intel SDM vol. 3, 18.2).
DR6_SINGLE_STEP, DR7_FIXED = 0xFFFF4FF0, 0x400


class FailEntry(ctypes.Structure):
    """kvm_run.fail_entry: the processor refused to enter the guest."""

    _fields_ = (("hardware_entry_failure_reason", c_uint64), ("cpu", c_uint32))


class _Exit(ctypes.Union):
    _fields_ = (
        ("debug", Debug),
        ("fail_entry", FailEntry),
        ("io", Io),
        ("mmio", Mmio),
        ("hypercall", HypercallExit),
        ("internal", Internal),
        ("padding", c_char * 256),
    )


class KvmRunLayout(ctypes.Structure):
    """struct kvm_run, as Linux lays it out."""

    _anonymous_ = ("exit",)
    _fields_ = (
        ("request_interrupt_window", c_uint8),
        ("immediate_exit", c_uint8),
        ("padding1", c_uint8 * 6),
        ("exit_reason", c_uint32),
        ("ready_for_interrupt_injection", c_uint8),
        ("if_flag", c_uint8),
        ("flags", c_uint16),
        ("cr8", c_uint64),
        ("apic_base", c_uint64),
        ("exit", _Exit),
        ("kvm_valid_regs", c_uint64),
        ("kvm_dirty_regs", c_uint64),
        ("sync_regs", c_char * 2048),
    )


EXIT_OFFSET = KvmRunLayout.exit.offset
MMIO_DATA_OFFSET = EXIT_OFFSET + Mmio.data.offset
MMIO_LAYOUT = Struct("<QQIB")  # phys_addr, data as one u64, len, is_write
IO_LAYOUT = Struct("<BBHIQ")


class KvmRun:
    """The page that KVM and QEMU share: a mapping, and named views of it.

    `mapping` is the memory itself; the attributes below read and write it in place.
    """

    __slots__ = ("debug", "fields", "hypercall", "internal", "io", "mapping", "mmio")

    def __init__(self, mapping: Any) -> None:
        self.mapping = mapping
        self.fields = KvmRunLayout.from_buffer(mapping)
        self.debug: Debug = self.fields.debug
        self.mmio: Mmio = self.fields.mmio
        self.io: Io = self.fields.io
        self.hypercall: HypercallExit = self.fields.hypercall
        self.internal: Internal = self.fields.internal

    @property
    def exit_reason(self) -> int:
        """KVM_EXIT_*."""
        return int(self.fields.exit_reason)


class KvmRegs(ctypes.Structure):
    """struct kvm_regs."""

    _fields_ = tuple(
        (name, c_uint64)
        for name in (
            "rax",
            "rbx",
            "rcx",
            "rdx",
            "rsi",
            "rdi",
            "rsp",
            "rbp",
            "r8",
            "r9",
            "r10",
            "r11",
            "r12",
            "r13",
            "r14",
            "r15",
            "rip",
            "rflags",
        )
    )


class KvmSegment(ctypes.Structure):
    """struct kvm_segment."""

    _fields_ = (
        ("base", c_uint64),
        ("limit", c_uint32),
        ("selector", c_uint16),
        ("type", c_uint8),
        ("present", c_uint8),
        ("dpl", c_uint8),
        ("db", c_uint8),
        ("s", c_uint8),
        ("l", c_uint8),
        ("g", c_uint8),
        ("avl", c_uint8),
        ("unusable", c_uint8),
        ("padding", c_uint8),
    )


class KvmDtable(ctypes.Structure):
    """struct kvm_dtable: GDTR or IDTR."""

    _fields_ = (("base", c_uint64), ("limit", c_uint16), ("padding", c_uint16 * 3))


class KvmSregs(ctypes.Structure):
    """struct kvm_sregs."""

    _fields_ = (
        *((name, KvmSegment) for name in ("cs", "ds", "es", "fs", "gs", "ss", "tr", "ldt")),
        ("gdt", KvmDtable),
        ("idt", KvmDtable),
        *((name, c_uint64) for name in ("cr0", "cr2", "cr3", "cr4", "cr8", "efer", "apic_base")),
        ("interrupt_bitmap", c_uint64 * 4),
    )
