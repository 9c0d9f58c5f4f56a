"""The guest's registers: Unicorn's numbers for them, and reading many at once.

General registers travel in the order of Linux's `struct kvm_regs`, so that KVM_GET_REGS is
one batch read.
"""

from __future__ import annotations

import ctypes
from ctypes import c_int, c_uint64, c_void_p
from struct import Struct

from toyvisor.cpu.unicorn_abi import library, unconverted_reg_read

#: struct kvm_regs, in order (arch/x86/include/uapi/asm/kvm.h)
GENERAL = (
    "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rsp", "rbp",
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
    "rip", "rflags",
)  # fmt: skip

# uc_x86_reg, in the order of GENERAL. A 32-bit engine (real mode included) knows the
# 32-bit names only, and has no r8 to r15.
_IDS_64 = dict(
    zip(GENERAL, (35, 37, 38, 40, 43, 39, 44, 36, *range(106, 114), 41, 253), strict=True)
)
_IDS_32 = {
    "rax": 19, "rbx": 21, "rcx": 22, "rdx": 24, "rsi": 29, "rdi": 23, "rsp": 30, "rbp": 20,
    "rip": 26, "rflags": 25,
}  # fmt: skip

SEGMENTS = {"cs": 11, "ds": 17, "es": 28, "fs": 32, "gs": 33, "ss": 49, "tr": 245, "ldt": 244}
CONTROL = {"cr0": 50, "cr2": 52, "cr3": 53, "cr4": 54, "cr8": 58}
DEBUG = {f"dr{n}": 66 + n for n in (0, 1, 2, 3, 6, 7)}
_IDTR_ID, _GDTR_ID, _MSR_ID = 242, 243, 248
_FPCW_ID, _FPTAG_ID, _MXCSR_ID = 246, 247, 249

MSR_EFER = 0xC0000080


class _DescriptorTable(ctypes.Structure):
    """uc_x86_mmr: a system segment or descriptor-table register."""

    _fields_ = (
        ("selector", ctypes.c_uint16),
        ("base", c_uint64),
        ("limit", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
    )


class _Msr(ctypes.Structure):
    """uc_x86_msr: an MSR's number and value."""

    _fields_ = (("index", ctypes.c_uint32), ("value", c_uint64))


class Registers:
    """Reads and writes the registers of one engine.

    Right at every exit and between runs. Writing while an instruction is suspended at an
    exit is the world switch's own affair.
    """

    def __init__(self, engine: c_void_p, bits: int) -> None:
        self._engine = engine
        self._id_of = _IDS_64 if bits == 64 else _IDS_32
        self._count = len(self._id_of)
        self._ids = (c_int * self._count)(*self._id_of.values())
        # One 64-bit place for each of GENERAL; those the engine lacks stay zero.
        self._values = (c_uint64 * len(GENERAL))()
        first = ctypes.addressof(self._values)
        places = [first + 8 * GENERAL.index(name) for name in self._id_of]
        self._places = (c_void_p * self._count)(*places)
        self._unpack = Struct(f"<{len(GENERAL)}Q").unpack_from
        self._one = c_uint64()
        self._one_reference = ctypes.addressof(self._one)
        # RIP is read at every traced exit: arguments converted once, not at each call.
        self._rip_arguments = (engine, c_int(self._id_of["rip"]), ctypes.byref(self._one))

    def general(self) -> tuple[int, ...]:
        """All of GENERAL, in its order."""
        library.uc_reg_read_batch(self._engine, self._ids, self._places, self._count)
        values: tuple[int, ...] = self._unpack(self._values)
        return values

    def set_general(self, values: tuple[int, ...]) -> None:
        """Write all of GENERAL."""
        self._values[:] = list(values)
        library.uc_reg_write_batch(self._engine, self._ids, self._places, self._count)

    def read(self, name: str) -> int:
        """One general register by name."""
        self._one.value = 0
        library.uc_reg_read(self._engine, self._id_of[name], self._one_reference)
        return self._one.value

    def write(self, name: str, value: int) -> None:
        """One general register by name."""
        self._one.value = value
        library.uc_reg_write(self._engine, self._id_of[name], self._one_reference)

    def rip(self) -> int:
        """The instruction pointer (an offset in CS, as the architecture has it)."""
        unconverted_reg_read(*self._rip_arguments)
        return self._one.value

    def read_special(self, register: int) -> int:
        """A segment selector or control register by Unicorn's number."""
        self._one.value = 0
        library.uc_reg_read(self._engine, register, self._one_reference)
        return self._one.value

    def read_bytes(self, register: int, size: int) -> bytes:
        """A register that is no 64-bit number, by Unicorn's number: an x87 or SSE register."""
        buffer = ctypes.create_string_buffer(size)
        library.uc_reg_read(self._engine, register, buffer)
        return buffer.raw

    def write_special(self, register: int, value: int) -> None:
        """A segment selector or control register by Unicorn's number."""
        self._one.value = value
        library.uc_reg_write(self._engine, register, self._one_reference)

    def reset_fpu(self) -> None:
        """FNINIT's control word and the reset value of MXCSR, as KVM starts a vCPU with."""
        self.write_special(_FPCW_ID, 0x37F)
        self.write_special(_FPTAG_ID, 0xFFFF)
        self.write_special(_MXCSR_ID, 0x1F80)

    def idt(self) -> tuple[int, int]:
        """IDTR: (base, limit)."""
        return self._table(_IDTR_ID)

    def gdt(self) -> tuple[int, int]:
        """GDTR: (base, limit)."""
        return self._table(_GDTR_ID)

    def _table(self, register: int) -> tuple[int, int]:
        table = _DescriptorTable()
        library.uc_reg_read(self._engine, register, ctypes.byref(table))
        return int(table.base), int(table.limit)

    def set_idt(self, base: int, limit: int) -> None:
        """Load IDTR."""
        table = _DescriptorTable(0, base, limit, 0)
        library.uc_reg_write(self._engine, _IDTR_ID, ctypes.byref(table))

    def set_gdt(self, base: int, limit: int) -> None:
        """Load GDTR."""
        table = _DescriptorTable(0, base, limit, 0)
        library.uc_reg_write(self._engine, _GDTR_ID, ctypes.byref(table))

    def read_msr(self, index: int) -> int:
        """RDMSR from outside."""
        msr = _Msr(index, 0)
        library.uc_reg_read(self._engine, _MSR_ID, ctypes.byref(msr))
        return int(msr.value)

    def write_msr(self, index: int, value: int) -> None:
        """WRMSR from outside."""
        msr = _Msr(index, value)
        library.uc_reg_write(self._engine, _MSR_ID, ctypes.byref(msr))
