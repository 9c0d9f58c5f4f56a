"""KVM_GET_SREGS and KVM_SET_SREGS: segments, tables, control registers."""

from __future__ import annotations

from toyvisor.cpu.registers import CONTROL, MSR_EFER, SEGMENTS, Registers
from toyvisor.kvm.api import KvmSregs
from toyvisor.modes import CR0_PE, EFER_LMA

_SELECTORS = ("cs", "ds", "es", "fs", "gs", "ss")


def code_bits(sregs: KvmSregs) -> int:
    """Width of the code that these special registers make the processor run."""
    if not sregs.cr0 & CR0_PE:
        return 16
    return 64 if sregs.efer & EFER_LMA else 32


def load(registers: Registers, sregs: KvmSregs, bits: int) -> None:
    """Put them into a processor that has not run yet."""
    registers.set_gdt(sregs.gdt.base, sregs.gdt.limit)
    registers.set_idt(sregs.idt.base, sregs.idt.limit)
    if bits == 64:
        registers.write_msr(MSR_EFER, sregs.efer)
    for name in ("cr4", "cr3", "cr0"):
        registers.write_special(CONTROL[name], getattr(sregs, name))
    for name in _SELECTORS:
        registers.write_special(SEGMENTS[name], getattr(sregs, name).selector)


def renew(sregs: KvmSregs, registers: Registers) -> None:
    """Bring what the guest can have changed up to date; segment caches stay as they were set."""
    has_cr8 = sregs.efer & EFER_LMA  # where there is none, Unicorn complains on standard error
    for name, number in CONTROL.items():
        if name != "cr8" or has_cr8:
            setattr(sregs, name, registers.read_special(number))
    for name in _SELECTORS:
        getattr(sregs, name).selector = registers.read_special(SEGMENTS[name])
    sregs.idt.base, sregs.idt.limit = registers.idt()
    sregs.gdt.base, sregs.gdt.limit = registers.gdt()
    sregs.efer = registers.read_msr(MSR_EFER)
