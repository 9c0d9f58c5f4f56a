"""The processor's registers at one moment, the flags by their names.

Intel SDM vol. 1, 3.4 (general registers, segments, EFLAGS); vol. 3, 2.4 and 2.5 (tables, control
registers).
"""

from __future__ import annotations

from typing import NamedTuple

from toyvisor.cpu.processor_state import DESC_B, SegmentCache
from toyvisor.cpu.registers import CONTROL, MSR_EFER
from toyvisor.kvm.api import KvmSegment
from toyvisor.kvm.vcpu import Vcpu
from toyvisor.modes import CR0_PE, EFER_LMA, CpuMode
from toyvisor.qemu.machine import Machine

#: The order in which people write them down; the 64-bit names.
_ORDER = ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp")
_ONLY_64 = tuple(f"r{n}" for n in range(8, 16))
#: The order of QEMU's segs[] (cpu/processor_state.py).
_SEGMENTS = ("es", "cs", "ss", "ds", "fs", "gs")
_SHOWN_SEGMENTS = ("cs", "ss", "ds", "es", "fs", "gs")


class RegisterValue(NamedTuple):
    """One register; `bits` is its width."""

    name: str
    value: int
    bits: int

    @property
    def text(self) -> str:
        """All of its digits."""
        return f"{self.value:0{self.bits // 4}x}"


class FlagValue(NamedTuple):
    """A flag, or IOPL, which has two bits."""

    name: str
    bit: int
    width: int
    value: int
    meaning: str


class SegmentValue(NamedTuple):
    """A segment register, with what the processor has loaded from the descriptor."""

    name: str
    selector: int
    base: int
    limit: int
    bits: int


class TableValue(NamedTuple):
    """GDTR or IDTR. `limit` is the offset of the table's last byte."""

    name: str
    base: int
    limit: int


class RegistersView(NamedTuple):
    """All of them. `mode` is what the processor is in now, `code_bits` the width of its code."""

    mode: str
    code_bits: int
    cpl: int
    general: tuple[RegisterValue, ...]
    ip: RegisterValue
    flags: RegisterValue
    flag_bits: tuple[FlagValue, ...]
    segments: tuple[SegmentValue, ...]
    control: tuple[RegisterValue, ...]
    tables: tuple[TableValue, ...]

    @property
    def set_flags(self) -> str:
        """The flags that are 1: `ZF PF IF`."""
        return " ".join(
            flag.name if flag.width == 1 else f"{flag.name}={flag.value}"
            for flag in self.flag_bits
            if flag.value
        )


#: name, lowest bit, width, what it says (SDM vol. 1, 3.4.3; those that are always 0 or 1 left out)
FLAGS: tuple[tuple[str, int, int, str], ...] = (
    ("CF", 0, 1, "carry: the last addition or subtraction went past the highest bit"),
    ("PF", 2, 1, "parity: the low byte of the last result has an even number of ones"),
    ("AF", 4, 1, "auxiliary carry: it went past bit 3, for decimal digits"),
    ("ZF", 6, 1, "zero: the last result was 0, or what was compared is equal"),
    ("SF", 7, 1, "sign: the highest bit of the last result"),
    ("TF", 8, 1, "trap: a debug exception (#DB) behind each instruction"),
    ("IF", 9, 1, "interrupt enable: interrupts are let in"),
    ("DF", 10, 1, "direction: string instructions go down in memory"),
    ("OF", 11, 1, "overflow: the last result is too large for a signed number"),
    ("IOPL", 12, 2, "I/O privilege level: up to it, IN, OUT, CLI and STI are allowed"),
    ("NT", 14, 1, "nested task"),
    ("RF", 16, 1, "resume: no instruction breakpoint at the next instruction"),
    ("VM", 17, 1, "virtual-8086 mode"),
    ("AC", 18, 1, "alignment check"),
    ("VIF", 19, 1, "virtual interrupt flag"),
    ("VIP", 20, 1, "virtual interrupt pending"),
    ("ID", 21, 1, "CPUID can be executed if this can be changed"),
)


def registers_view(machine: Machine) -> RegistersView:
    """The registers of the machine's processor as they are now."""
    vcpu = processor(machine)
    cpu = vcpu.cpu
    regs, registers = vcpu.get_regs(), cpu.registers
    efer = registers.read_msr(MSR_EFER)
    cr0 = registers.read_special(CONTROL["cr0"])
    mode = mode_of(cr0, efer)
    bits = 64 if mode is CpuMode.LONG else 32
    names = (*_ORDER, *_ONLY_64) if bits == 64 else _ORDER
    code_bits = cpu.view.code_bits()
    cpu.state.load()
    segments, cpl = cpu.state.front.segs, cpu.state.cpl
    as_set = vcpu.get_sregs()
    control = {name: registers.read_special(CONTROL[name]) for name in ("cr0", "cr2", "cr3", "cr4")}
    if efer & EFER_LMA:  # elsewhere Unicorn has no CR8
        control["cr8"] = registers.read_special(CONTROL["cr8"])
    return RegistersView(
        mode,
        code_bits,
        cpl,
        tuple(RegisterValue(_named(n, bits), getattr(regs, n) & _mask(bits), bits) for n in names),
        RegisterValue(_named("rip", bits), regs.rip & _mask(bits), bits),
        RegisterValue("rflags" if bits == 64 else "eflags", regs.rflags & _mask(bits), bits),
        tuple(
            FlagValue(name, bit, width, regs.rflags >> bit & (1 << width) - 1, meaning)
            for name, bit, width, meaning in FLAGS
        ),
        tuple(
            _segment(n, segments[_SEGMENTS.index(n)], getattr(as_set, n), code_bits)
            for n in _SHOWN_SEGMENTS
        ),
        (*(RegisterValue(n, v, bits) for n, v in control.items()), RegisterValue("efer", efer, 64)),
        (
            TableValue("gdtr", *registers.gdt()),
            TableValue("idtr", *registers.idt()),
        ),
    )


def changed_registers(before: RegistersView | None, now: RegistersView) -> frozenset[str]:
    """The names of registers, flags, segments and tables that are not as they were."""
    if before is None:
        return frozenset()
    old = _by_name(before)
    return frozenset(
        name for name, value in _by_name(now).items() if name in old and old[name] != value
    )


def processor(machine: Machine) -> Vcpu:
    """The toy KVM's vCPU, which has a processor to look at."""
    vcpu = machine.vcpu
    assert isinstance(vcpu, Vcpu)
    return vcpu


def mode_of(cr0: int, efer: int) -> CpuMode:
    """The operating mode (SDM vol. 3, 2.2)."""
    if not cr0 & CR0_PE:
        return CpuMode.REAL
    return CpuMode.LONG if efer & EFER_LMA else CpuMode.PROTECTED


def _by_name(view: RegistersView) -> dict[str, object]:
    registers = (*view.general, view.ip, view.flags, *view.control)
    found: dict[str, object] = {register.name: register.value for register in registers}
    found.update({flag.name: flag.value for flag in view.flag_bits})
    found.update({segment.name: segment for segment in view.segments})
    found.update({table.name: table for table in view.tables})
    return found


def _named(name: str, bits: int) -> str:
    return name if bits == 64 else f"e{name[1:]}"


def _mask(bits: int) -> int:
    return (1 << bits) - 1


def _segment(name: str, cache: SegmentCache, as_set: KvmSegment, code_bits: int) -> SegmentValue:
    """`as_set` is for one that the guest has not loaded: Unicorn has no cache of it then."""
    limit, bits = cache.limit, 32 if cache.flags & DESC_B else 16
    if not cache.flags:
        limit, bits = as_set.limit, 32 if as_set.db else 16
    return SegmentValue(
        name, cache.selector & 0xFFFF, cache.base, limit, code_bits if name == "cs" else bits
    )
