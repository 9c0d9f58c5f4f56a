"""A guest that waits for an event: its tables in memory, and handlers that tell who came.

A prologue loads TR and goes to the body by IRET, at the privilege level, on the stack and with
the flags that a test wants; so the guest's own instructions make the state that an event
finds. Every handler says OUT HANDLER_PORT as its first instruction, and goes back by IRET.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass, field
from struct import pack

from toyvisor.cpu.events import WITH_ERROR_CODE
from toyvisor.cpu.exit_door import KernelHalf, VmExit
from toyvisor.cpu.registers import CONTROL, GENERAL, MSR_EFER
from toyvisor.cpu.world_switch import Cpu
from toyvisor.exit_reasons import ExitReason
from toyvisor.guest.assembler import assemble_text
from toyvisor.guest.disassembler import instruction_lengths
from toyvisor.memory import GuestMemory
from toyvisor.modes import CpuMode

# Where things lie. Everything has a page of its own, so that a test can unmap it.
CODE, GDT, IDT, TSS, HANDLERS = 0x1000, 0x2000, 0x3000, 0x4000, 0x5000
LDT = GDT + 0x800
DATA = 0x6000
KERNEL_STACK, INNER_STACK, IST_STACK, USER_STACK = 0x7FF0, 0x8FF4, 0x9FF8, 0xAFF0
NO_PAGE = 0xB000  # not present, where there is paging
PAGE_TABLES = 0x20000
RAM_END = 0x40000

HANDLER_PORT, BEFORE_PORT, AFTER_PORT = 0x80, 0x10, 0x11

# Selectors
CODE0, DATA0, TR = 0x08, 0x10, 0x28
CODE3, DATA3 = 0x18 | 3, 0x20 | 3
CONFORMING, DATA16, ABSENT_CODE, ABSENT_DATA, READ_ONLY = 0x38, 0x40, 0x48, 0x50, 0x58
CODE1, DATA1, COMPAT3, BUSY_LDT, OTHER_CODE = 0x60 | 1, 0x68 | 1, 0x70 | 3, 0x78, 0x88
LDT_CODE = 0x04  # the LDT's first descriptor

CF, TF, IF, NT, RF, VM = (1 << n for n in (0, 8, 9, 14, 16, 17))
IOPL3 = 3 << 12
MODES = {16: CpuMode.REAL, 32: CpuMode.PROTECTED, 64: CpuMode.LONG}
CR0_PE, CR0_NE, CR0_WP, CR0_PG = 1 << 0, 1 << 5, 1 << 16, 1 << 31
CR4_PAE = 1 << 5
EFER_LME, EFER_LMA, EFER_NXE = 1 << 8, 1 << 10, 1 << 11
P, W, U, A, D, PS, NX = 1 << 0, 1 << 1, 1 << 2, 1 << 5, 1 << 6, 1 << 7, 1 << 63


def descriptor(
    kind: int, dpl: int = 0, *, base: int = 0, limit: int = 0xFFFFF, flags: int = 0xC, p: int = 1
) -> int:
    """A segment descriptor; `kind` with the S bit, `flags` are G, D/B, L, AVL."""
    access = kind | dpl << 5 | p << 7
    return (
        limit & 0xFFFF
        | (base & 0xFFFFFF) << 16
        | access << 40
        | (limit >> 16) << 48
        | flags << 52
        | (base >> 24) << 56
    )


def gate(
    bits: int, offset: int, selector: int = CODE0, kind: int = 0xE, dpl: int = 3, *,
    p: int = 1, ist: int = 0,
) -> bytes:  # fmt: skip
    """A gate of the IDT."""
    low = offset & 0xFFFF | selector << 16 | ist << 32 | (kind | dpl << 5 | p << 7) << 40
    low |= (offset >> 16 & 0xFFFF) << 48
    return pack("<QQ", low, offset >> 32) if bits == 64 else pack("<Q", low)


def handler(vector: int) -> int:
    """Where a vector's handler begins."""
    return HANDLERS + 16 * vector


@dataclass
class Guest:
    """What the body runs in. `gates` by vector replace the plain ones."""

    bits: int
    body: str
    flags: int = 2
    cs: int | None = None
    ss: int | None = None
    sp: int | None = None
    gates: dict[int, bytes] = field(default_factory=dict)
    #: Vectors whose frames have an error code.
    with_error_code: frozenset[int] = WITH_ERROR_CODE
    #: The width of a frame's elements in bytes, where it is not the mode's own.
    width: int | None = None
    paging: bool = False
    idt_limit: int | None = None
    tss_limit: int | None = None
    registers: dict[str, int] = field(default_factory=dict)
    #: What is done first of all, at level 0.
    setup: str = ""
    #: Begin with the body at once, at level 0, without IRET.
    direct: bool = False
    #: What handlers do before they go back, by vector.
    epilogues: dict[int, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.cs = CODE0 if self.cs is None else self.cs
        self.ss = DATA0 if self.ss is None else self.ss
        outer = self.cs & 3 != 0
        self.sp = (USER_STACK if outer else KERNEL_STACK) if self.sp is None else self.sp
        assembly = assemble_text(self._source(), mode=MODES[self.bits], origin=CODE)
        self.code = assembly.image
        self.symbols = assembly.symbols

    def _source(self) -> str:
        if self.direct:
            self.registers = {"rsp": self.sp, "rflags": self.flags} | self.registers
            return f"{self.setup}\nbody: {self.body}\n"
        if self.bits == 16:
            start = f"push {self.flags}\npush 0\npush offset body\niret\n"
            return f"{self.setup}\nmov sp, {self.sp}\n{start}body: {self.body}\n"
        code = {CODE3: f".code{self.bits}", COMPAT3: ".code32"}.get(self.cs, "")
        stack, accumulator = ("rsp", "rax") if self.bits == 64 else ("esp", "eax")
        lines = [self.setup, f"mov ax, {TR}", "ltr ax", f"mov ax, {BUSY_LDT}", "lldt ax"]
        if self.bits == 64 or self.cs & 3:
            lines += [f"mov {stack}, {KERNEL_STACK}", f"push {self.ss}", f"push {self.sp}"]
        else:
            lines += [f"mov ax, {self.ss}", "mov ss, ax", f"mov {stack}, {self.sp}"]
        lines += [f"push {self.flags}", f"push {self.cs}"]
        lines += [f"lea {accumulator}, [body]", f"push {accumulator}"]
        lines += ["iretq" if self.bits == 64 else "iretd", code, f"body: {self.body}"]
        return "\n".join(lines) + "\n"

    def body_at(self, label: str) -> int:
        """How many instructions are executed before the one at a label in a straight body."""
        lengths = instruction_lengths(self.code, CODE, MODES[self.bits])
        at, count = CODE, 0
        for length in lengths:
            if at == self.symbols[label]:
                return count
            at, count = at + length, count + 1
        raise AssertionError(label)

    def image(self) -> bytearray:
        """RAM as the guest finds it."""
        ram = bytearray(RAM_END)
        ram[CODE : CODE + len(self.code)] = self.code
        for vector in range(256):
            stub = self._stub(vector)
            ram[handler(vector) : handler(vector) + len(stub)] = stub
        if self.bits == 16:
            ram[0:1024] = b"".join(pack("<HH", handler(vector), 0) for vector in range(256))
            return ram
        self._segments(ram)
        for vector in range(256):
            entry = self.gates.get(vector, gate(self.bits, handler(vector)))
            at = IDT + len(entry) * vector
            ram[at : at + len(entry)] = entry
        if self.bits == 64 or self.paging:
            self._page_tables(ram)
        return ram

    def _stub(self, vector: int) -> bytes:
        width = self.width or self.bits // 8
        stub = bytes([0xE6, HANDLER_PORT])
        if self.bits != 16 and vector in self.with_error_code:
            stub += (b"\x48" if self.bits == 64 else b"") + bytes([0x83, 0xC4, width])
        stub += self.epilogues.get(vector, b"")
        if self.bits == 64:
            return stub + b"\x48\xcf"
        return stub + (b"\x66" if self.bits == 32 and width == 2 else b"") + b"\xcf"

    def _segments(self, ram: bytearray) -> None:
        code = 0xA if self.bits == 64 else 0xC
        table = {
            CODE0: descriptor(0x1B, flags=code),
            DATA0: descriptor(0x13),
            CODE3: descriptor(0x1B, 3, flags=code),
            DATA3: descriptor(0x13, 3),
            CONFORMING: descriptor(0x1E, flags=code),
            DATA16: descriptor(0x13, flags=0x8),
            ABSENT_CODE: descriptor(0x1B, flags=code, p=0),
            ABSENT_DATA: descriptor(0x13, p=0),
            READ_ONLY: descriptor(0x11),
            CODE1: descriptor(0x1A, 1, flags=code),
            DATA1: descriptor(0x12, 1),
            COMPAT3: descriptor(0x1B, 3),
            OTHER_CODE: descriptor(0x1B, flags=0xC if self.bits == 64 else 0x8),
            TR: descriptor(0x9, base=TSS, limit=self.tss_limit or 0x67, flags=0),
            BUSY_LDT: descriptor(0x2, base=LDT, limit=0xFF, flags=0),
        }
        for selector, value in table.items():
            ram[GDT + (selector & ~7) : GDT + (selector & ~7) + 8] = pack("<Q", value)
        ram[LDT : LDT + 8] = pack("<Q", descriptor(0x1B, flags=code))
        if self.bits == 64:
            tss = pack("<I3QQ7Q", 0, INNER_STACK, INNER_STACK, 0, 0, *[IST_STACK] * 7)
        else:
            tss = pack("<I6I", 0, INNER_STACK, DATA0, INNER_STACK, DATA1, 0, 0)
        ram[TSS : TSS + len(tss)] = tss

    def _page_tables(self, ram: bytearray) -> None:
        """The first 256 KiB, as they are, for everybody; NO_PAGE is missing."""
        entries = [page | P | W | U for page in range(0, RAM_END, 0x1000)]
        entries[NO_PAGE >> 12] = 0
        if self.bits == 64:
            for level in range(3):
                place = PAGE_TABLES + 0x1000 * level
                ram[place : place + 8] = pack("<Q", place + 0x1000 | P | W | U)
            table = pack(f"<{len(entries)}Q", *entries)
            ram[PAGE_TABLES + 0x3000 : PAGE_TABLES + 0x3000 + len(table)] = table
        else:
            ram[PAGE_TABLES : PAGE_TABLES + 4] = pack("<I", PAGE_TABLES + 0x1000 | P | W | U)
            table = pack(f"<{len(entries)}I", *entries)
            ram[PAGE_TABLES + 0x1000 : PAGE_TABLES + 0x1000 + len(table)] = table

    def page_entry(self, linear: int) -> int:
        """Where the last level's entry for an address lies."""
        if self.bits == 64:
            return PAGE_TABLES + 0x3000 + 8 * (linear >> 12)
        return PAGE_TABLES + 0x1000 + 4 * (linear >> 12)


class Board:
    """The guest on a processor of its own, driven exit by exit."""

    def __init__(self, guest: Guest, ram_end: int = RAM_END) -> None:
        self.guest = guest
        bits = guest.bits
        self.ram = memoryview(mmap.mmap(-1, ram_end))
        self.ram[:] = guest.image()[:ram_end]
        memory = GuestMemory()
        memory.add(0, self.ram)
        self.exit_counts = [0] * 80

        def lengths(code: bytes, address: int, bits: int) -> list[int]:
            return instruction_lengths(code, address, MODES[bits])

        kernel = KernelHalf(
            lambda gpa, size: None,
            lambda gpa, size, value: False,
            lambda port, size: None,
            lambda port, size, value: False,
            lambda leaf, subleaf: (0, 0, 0, 0),
        )
        self.cpu = cpu = Cpu(bits, memory, self.exit_counts, kernel, lengths)
        memory.on_code_written = cpu.code_changed
        registers = cpu.registers
        if bits != 16:
            registers.set_gdt(GDT, 0x8F)
            limit = 256 * (16 if bits == 64 else 8) - 1
            registers.set_idt(IDT, limit if guest.idt_limit is None else guest.idt_limit)
            cr0 = CR0_PE | CR0_NE
            if bits == 64:
                registers.write_msr(MSR_EFER, EFER_LME | EFER_LMA | EFER_NXE)
                registers.write_special(CONTROL["cr4"], CR4_PAE)
            if bits == 64 or guest.paging:
                registers.write_special(CONTROL["cr3"], PAGE_TABLES)
                cr0 |= CR0_PG
            registers.write_special(CONTROL["cr0"], cr0)
        else:
            registers.set_idt(0, 0x3FF if guest.idt_limit is None else guest.idt_limit)
        cpu.enable_interrupts()
        start = {"rip": CODE, "rflags": 2} | guest.registers
        registers.set_general(tuple(start.get(name, 0) for name in GENERAL))

    def enter(self, reply: int = 0) -> VmExit:
        return self.cpu.enter(reply)

    def until_out(self, port: int) -> None:
        """Run to an OUT to `port`; anything else on the way is an error."""
        exit_ = self.enter()
        assert exit_[:2] == (ExitReason.IO_INSTRUCTION, port), (exit_, self.where)

    def to_boundary(self) -> None:
        """Complete the instruction in hand, stand behind it."""
        self.cpu.boundary.arm()
        assert self.enter() == (-1,)

    @property
    def where(self) -> str:
        why = [why for _, why in self.cpu.failed_deliveries]
        return f"at {self.cpu.view.rip():#x}, CPL {self.cpl}, {why}"

    @property
    def state(self) -> dict[str, int]:
        return dict(zip(GENERAL, self.cpu.registers.general(), strict=True))

    @property
    def cpl(self) -> int:
        self.cpu.state.load()
        return self.cpu.state.cpl

    def selector(self, index: int) -> int:
        self.cpu.state.load()
        return int(self.cpu.state.front.segs[index].selector)

    def poke(self, address: int, data: bytes) -> None:
        self.ram[address : address + len(data)] = data

    def peek(self, address: int, size: int) -> bytes:
        return bytes(self.ram[address : address + size])

    def close(self) -> None:
        self.cpu.close()

    def __enter__(self) -> Board:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()
