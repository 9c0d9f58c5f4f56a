"""Random guests, interrupted at random: time slices and tracing change nothing.

A guest mixes what exits, what faults, what turns interrupts on and off, loops and repeats.
Interrupts are raised after so many instructions, or at so many exits. However the guest's
time is sliced, and whether or not somebody traces: the same exits at the same instruction
counts with the same registers, the same vectors with the same frames, the same end.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass, field

from delivery_boards import DEVICE, sregs_for
from delivery_kit import (
    CODE,
    CODE3,
    DATA3,
    HANDLER_PORT,
    HANDLERS,
    IF,
    IOPL3,
    NO_PAGE,
    RAM_END,
    Guest,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from toyvisor.cpu.registers import GENERAL
from toyvisor.kvm.api import KVM_EXIT_IO_IN, KvmExit, KvmRegs
from toyvisor.kvm.vm import Kvm
from toyvisor.trace.events import Trace
from toyvisor.trace.ledger import Ledger

END_PORT = 0x11
EOI = bytes([0xB0, 0x20, 0xE6, 0x20])
PICS = "\n".join(
    f"mov al, {value}\nout {port}, al"
    for port, value in ((0x20, 0x11), (0x21, 0x20), (0x21, 4), (0x21, 1), (0x21, 0))
)
#: What is put together, by the width of the code. {n} is the place in the program.
COMMON = (
    "inc bx", "dec bp", "add al, 3", "cmp bl, 5", "stc", "nop", "xor bx, bp", "sti", "cli",
    "sti\nnop", "sti\ncli", "sti\nsti", "out 0x10, al", "in al, 0x10",
    "mov cx, ss\nmov ss, cx", "mov cx, ss\nmov ss, cx\nout 0x10, al",
    "mov cl, 3\nl{n}: dec cl\njnz l{n}", "mov cl, 2\nl{n}: out 0x10, al\ndec cl\njnz l{n}",
    "sti\nmov cl, 5\nl{n}: inc bx\ndec cl\njnz l{n}\ncli",
    "int3", "int 0x40", "ud2", "xor cl, cl\ndiv cl", "jmp l{n}\nud2\nl{n}:", "sti\nhlt",
    "cpuid", "call l{n}\njmp m{n}\nl{n}: inc bx\nret\nm{n}:",
)  # fmt: skip
STRINGS = (
    "mov {c}, 3\nmov {d}, 0x6200\nrep stosb",
    "mov {c}, 3\nmov dx, 0x10\nmov {s}, 0x6000\nrep outsb",
    "sti\nmov {c}, 4\nmov {d}, 0x6300\nmov {s}, 0x6000\nrep movsb\ncli",
)  # fmt: skip
LONG = (
    "push 0x202\npopfq", "push 2\npopfq", "pushfq\npopfq", "mov [rdi], eax", "mov eax, [rdi]",
    "add [rdi], eax", "lock xadd [rdi], ebx", "push qword ptr [rdi]\npop rbx",
    ".byte 0x8a, 0x04, 0x25, 0, 0, 4, 0",
    "mov ecx, 3\nrep stosd\nsub rdi, 12", "mov esi, 0x6000\nmovsd\nsub rdi, 4",
)  # fmt: skip
MODES_OWN = {
    16: ("push 0x202\npopf", "push 2\npopf", "pushf\npopf"),
    32: (
        "push 0x202\npopfd", "push 2\npopfd", "pushfd\npopfd", "mov [edi], eax",
        "mov eax, [edi]", "add [edi], eax", "lock xadd [edi], ebx", "push dword ptr [edi]\npop ebx",
    ),
    64: LONG,
}  # fmt: skip
REGISTERS = {16: ("cx", "di", "si"), 32: ("ecx", "edi", "esi"), 64: ("rcx", "rdi", "rsi")}
#: A handler goes on behind the instruction that faulted.
SKIPS = {0: 2, 6: 2, 13: 1, 14: 7}  # 13: HLT at level 3
MOST_RUNS = 4000


def instructions_for(bits: int) -> tuple[str, ...]:
    c, d, s = REGISTERS[bits]
    save = ("push {d}", "pop {d}")
    strings = tuple("\n".join((save[0], text, save[1])).format(c=c, d=d, s=s) for text in STRINGS)
    return (*COMMON, *strings, *MODES_OWN[bits])


def skip(bits: int, length: int) -> bytes:
    """Add to the return address on the stack."""
    if bits == 16:  # mov bp, sp; add word ptr [bp], length
        return bytes([0x89, 0xE5, 0x83, 0x46, 0x00, length])
    return (b"\x48" if bits == 64 else b"") + bytes([0x83, 0x04, 0x24, length])


@st.composite
def guests(draw):
    bits, is_user = draw(st.sampled_from([(16, False), (32, False), (64, False), (64, True)]))
    parts = draw(st.lists(st.sampled_from(instructions_for(bits)), min_size=4, max_size=24))
    body = "\n".join(text.format(n=n) for n, text in enumerate(parts))
    skips = {vector: skip(bits, length) for vector, length in SKIPS.items()}
    flags = 2 | IOPL3 | (IF if draw(st.booleans()) else 0)
    options = {"cs": CODE3, "ss": DATA3} if is_user else {"direct": bits == 32}
    if is_user:  # POPF must not take IOPL away
        body = body.replace("push 0x202", "push 0x3202").replace("push 2", "push 0x3002")
    return Guest(
        bits, f"{body}\ncli\nout {END_PORT}, al", setup=PICS, flags=flags,
        epilogues=skips | dict.fromkeys(range(32, 40), EOI),
        registers={"rdi": NO_PAGE if bits == 64 else DEVICE}, **options,
    )  # fmt: skip


@dataclass
class Life:
    """What can be seen of a guest, and what is not to be seen."""

    seen: list[tuple] = field(default_factory=list)
    end: tuple = ()
    #: (RIP, instructions) at the end of each time slice.
    cuts: list[tuple[int, int]] = field(default_factory=list)
    injected: int = 0


class Client:
    def __init__(self, guest: Guest, *, trace: bool) -> None:
        self.guest = guest
        self.ram = mmap.mmap(-1, RAM_END)
        self.ram[:] = bytes(guest.image())
        if guest.bits == 64:
            at = guest.page_entry(NO_PAGE)
            self.ram[at : at + 8] = (DEVICE | 7).to_bytes(8, "little")
            # One more page is missing for good: linear 0x40000 is not mapped at all.
        self.ledger = Ledger(Trace(enabled=trace))
        self.vm = Kvm(self.ledger).create_vm()
        self.vm.set_user_memory_region(0, 0, memoryview(self.ram))
        self.vm.create_irqchip()
        self.vcpu = self.vm.create_vcpu()
        self.vcpu.set_sregs(sregs_for(guest))
        self.vcpu.set_regs(KvmRegs(**({"rip": CODE, "rflags": 2} | guest.registers)))
        self.device = bytearray(range(64))
        self.life = Life()

    def pulse(self, line: int | str) -> None:
        if line == "nmi":
            self.vcpu.nmi()
            return
        self.vm.irq_line(line, 1)
        self.vm.irq_line(line, 0)

    def registers(self) -> tuple[int, ...]:
        regs = self.vcpu.get_regs()
        values = [getattr(regs, name) for name in GENERAL]
        values[-1] &= ~(1 << 16)  # RF: Unicorn takes its time to clear it
        return tuple(values)

    def live(self, at_time: dict[int, int], at_exit: dict[int, int], cuts: list[int]) -> Life:
        life, vcpu = self.life, self.vcpu
        times, cuts, exits = sorted(at_time), sorted(cuts), 0
        for _ in range(MOST_RUNS):
            now = vcpu.instructions
            while times and times[0] <= now:
                self.pulse(at_time[times.pop(0)])
            while cuts and cuts[0] <= now:
                cuts.pop(0)
            vcpu.deadline = min([*times[:1], *cuts[:1], 10**6])
            vcpu.run()
            reason = KvmExit(vcpu.kvm_run.exit_reason)
            if reason == KvmExit.INTR:
                self._interrupted()
                continue
            self._see(reason)
            if life.seen[-1][1:3] == ("io", END_PORT) or reason in (
                KvmExit.SHUTDOWN, KvmExit.INTERNAL_ERROR
            ):  # fmt: skip
                break
            if exits in at_exit:
                self.pulse(at_exit[exits])
            exits += 1
        else:
            raise AssertionError("no end")
        life.end = (
            vcpu.instructions, self.registers(), bytes(self.ram), bytes(self.device),
            [self.ledger.exits[n] for n in range(len(self.ledger.exits)) if n != 52],
        )  # fmt: skip
        life.injected = self.ledger.injected
        return life

    def _interrupted(self) -> None:
        vcpu = self.vcpu
        if vcpu.asleep:
            self.life.seen.append((vcpu.instructions, "asleep", self.registers()))
            self.pulse(5)
        else:
            self.life.cuts.append((vcpu.get_regs().rip, vcpu.instructions))
            # One more where REP's last round has to be seen to its end.
            assert vcpu.deadline <= vcpu.instructions <= vcpu.deadline + 1

    def _see(self, reason: KvmExit) -> None:
        run, now = self.vcpu.kvm_run, self.vcpu.instructions
        registers = self.registers()
        if reason == KvmExit.IO:
            io = run.io
            frame: object = None
            if io.port == HANDLER_PORT:
                rip, rsp = registers[GENERAL.index("rip")], registers[GENERAL.index("rsp")]
                frame = ((rip - HANDLERS) // 16, self.ram[rsp : rsp + 40])
            if io.direction == KVM_EXIT_IO_IN:
                run.mapping[io.data_offset] = len(self.life.seen) & 0xFF
            self.life.seen.append((now, "io", io.port, frame, registers))
        elif reason == KvmExit.MMIO:
            mmio = run.mmio
            at = mmio.phys_addr - DEVICE
            if mmio.is_write:
                self.device[at : at + mmio.len] = bytes(mmio.data)[: mmio.len]
            else:
                mmio.data[: mmio.len] = list(self.device[at : at + mmio.len])
            seen = (at, mmio.len, mmio.is_write, bytes(mmio.data) if mmio.is_write else b"")
            self.life.seen.append((now, "mmio", *seen, registers))
        else:
            self.life.seen.append((now, reason.name, self.vcpu.explanation, registers))


def live(guest, at_time, at_exit, cuts=(), *, trace=False) -> Life:
    client = Client(guest, trace=trace)
    try:
        return client.live(at_time, at_exit, list(cuts))
    finally:
        client.vm.close()


LINES = st.sampled_from([0, 1, 3, "nmi"])
AT_TIME = st.dictionaries(st.integers(20, 90), LINES, max_size=8)
AT_EXIT = st.dictionaries(st.integers(0, 12), LINES, max_size=5)


@settings(max_examples=400, deadline=None)
@given(
    guest=guests(), at_time=AT_TIME, at_exit=AT_EXIT,
    cuts=st.lists(st.integers(1, 400), max_size=40), trace=st.booleans(),
)  # fmt: skip
def test_time_slices_and_tracing_change_nothing(guest, at_time, at_exit, cuts, trace):
    plain = live(guest, at_time, at_exit)
    other = live(guest, at_time, at_exit, cuts, trace=trace)
    assert other.seen == plain.seen
    assert other.end == plain.end
    assert other.injected == plain.injected


@settings(max_examples=60, deadline=None)
@given(guest=guests(), at_time=AT_TIME, at_exit=AT_EXIT)
def test_instruction_by_instruction_none_is_lost_or_doubled(guest, at_time, at_exit):
    plain = live(guest, at_time, at_exit)
    last = plain.end[0]
    stepped = live(guest, at_time, at_exit, range(1, last + 2))
    assert stepped.seen == plain.seen
    assert stepped.end == plain.end
    assert [count for _, count in stepped.cuts] == sorted({n for _, n in stepped.cuts})


def handled(life: Life) -> tuple[int, int]:
    """Interrupts and NMIs that came to their handlers."""
    vectors = [each[3][0] for each in life.seen if each[1] == "io" and each[3]]
    return sum(0x20 <= vector < 0x28 for vector in vectors), vectors.count(2)


@settings(max_examples=200, deadline=None)
@given(guest=guests(), at_time=AT_TIME, at_exit=AT_EXIT)
def test_interrupts_add_their_handlers_instructions_and_nothing_else(guest, at_time, at_exit):
    """OUT, MOV, OUT and IRET; OUT and IRET."""
    alone, interrupted = live(guest, {}, {}), live(guest, at_time, at_exit)
    ends = []
    for life in (alone, interrupted):
        interrupts, nmis = handled(life)
        assert interrupts == life.injected
        bp, rsp = (life.end[1][GENERAL.index(name)] for name in ("rbp", "rsp"))
        if guest.bits == 16:
            bp = None  # its handlers of faults use it
        ends.append((life.end[0] - 4 * interrupts - 2 * nmis, bp, rsp))
    assert ends[0] == ends[1]
