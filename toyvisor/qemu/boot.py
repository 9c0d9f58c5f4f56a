"""The state a guest begins in: what firmware and boot loader leave behind.

The layout below 1 MiB is Firecracker's (src/vmm/src/arch/x86_64: layout.rs, regs.rs,
gdt.rs). There is no IDT: until the guest makes one, an exception ends in a triple fault. In
real mode the interrupt vector table is at 0, and empty.

    0x0500  GDT: null, code, data        0x8ff0  first stack pointer, growing down
    0x9000  PML4, then PDPT and four page directories: the first 4 GiB, mapped as they are
"""

from __future__ import annotations

from struct import pack_into

from toyvisor.kvm.api import KvmSegment, KvmSregs
from toyvisor.modes import CR0_PE, CR0_PG, EFER_LMA, CpuMode

BOOT_GDT = 0x500
BOOT_STACK_POINTER = 0x8FF0
PML4_START = 0x9000
PDPT_START = 0xA000
PD_START = 0xB000

GDT_SIZE = 3 * 8
CODE_SELECTOR = 0x08
DATA_SELECTOR = 0x10

_IVT_LIMIT = 0x3FF  # 256 entries of 4 bytes at address 0, as a PC's firmware leaves it
_CR0_ET = 1 << 4
_CR0_NE = 1 << 5
_CR4_PAE = 1 << 5
_CR4_OSFXSR = 1 << 9
_CR4_OSXMMEXCPT = 1 << 10
_EFER_LME = 1 << 8
_PTE_PRESENT_WRITE = 0x3
_PDE_LARGE = 0x80


def boot_areas(mode: CpuMode) -> list[tuple[str, int, int]]:
    """What write_boot_tables() writes: (name, first address, address after the last)."""
    gdt = ("boot GDT", BOOT_GDT, BOOT_GDT + GDT_SIZE)
    tables = ("boot page tables", PML4_START, PD_START + 4 * 0x1000)
    return {CpuMode.REAL: [], CpuMode.PROTECTED: [gdt], CpuMode.LONG: [gdt, tables]}[mode]


def write_boot_tables(ram: memoryview, mode: CpuMode) -> None:
    """Put the GDT, and in long mode the page tables, into guest memory."""
    if mode is CpuMode.REAL:
        return
    code_flags = 0xA if mode is CpuMode.LONG else 0xC
    pack_into("<3Q", ram, BOOT_GDT, 0, _descriptor(code_flags, 0x9B), _descriptor(0xC, 0x93))
    if mode is CpuMode.LONG:
        pack_into("<Q", ram, PML4_START, PDPT_START | _PTE_PRESENT_WRITE)
        for gib in range(4):
            directory = PD_START + gib * 0x1000
            pack_into("<Q", ram, PDPT_START + 8 * gib, directory | _PTE_PRESENT_WRITE)
            first = gib << 30
            entries = (first | i << 21 | _PDE_LARGE | _PTE_PRESENT_WRITE for i in range(512))
            pack_into("<512Q", ram, directory, *entries)


def boot_sregs(mode: CpuMode) -> KvmSregs:
    """The special registers that a guest of this mode starts with."""
    sregs = KvmSregs()
    sregs.cr0 = _CR0_ET | _CR0_NE
    if mode is CpuMode.REAL:
        sregs.cr0 = _CR0_ET
        sregs.idt.limit = _IVT_LIMIT
        for name in ("cs", "ds", "es", "fs", "gs", "ss"):
            kind = 0xB if name == "cs" else 0x3
            setattr(sregs, name, KvmSegment(base=0, limit=0xFFFF, type=kind, present=1, s=1))
        return sregs
    sregs.cr0 |= CR0_PE
    long_mode = mode is CpuMode.LONG
    sregs.cs = _flat(CODE_SELECTOR, 0xB, db=not long_mode, long_mode=long_mode)
    for name in ("ds", "es", "fs", "gs", "ss"):
        setattr(sregs, name, _flat(DATA_SELECTOR, 0x3, db=True, long_mode=False))
    sregs.gdt.base, sregs.gdt.limit = BOOT_GDT, GDT_SIZE - 1
    sregs.cr4 = _CR4_OSFXSR | _CR4_OSXMMEXCPT
    if long_mode:
        sregs.cr0 |= CR0_PG
        sregs.cr3 = PML4_START
        sregs.cr4 |= _CR4_PAE
        sregs.efer = _EFER_LME | EFER_LMA
    return sregs


def _flat(selector: int, kind: int, *, db: bool, long_mode: bool) -> KvmSegment:
    return KvmSegment(
        base=0, limit=0xFFFFFFFF, selector=selector, type=kind, present=1, s=1, g=1,
        db=int(db), l=int(long_mode),
    )  # fmt: skip


def _descriptor(flags: int, access: int) -> int:
    """A flat segment descriptor (SDM vol. 3, 3.4.5): base 0, limit 0xfffff pages."""
    return flags << 52 | 0xF << 48 | access << 40 | 0xFFFF
