"""Guests with broken tables: they end or go on as on a PC, are told why, and never hang.

Gates, descriptors, TSS, page tables, stacks and code are spoilt at random, while interrupts
and NMIs come in.
"""

from __future__ import annotations

import mmap

from delivery_boards import sregs_for
from delivery_kit import (
    CODE,
    CODE3,
    COMPAT3,
    CONFORMING,
    DATA3,
    GDT,
    IDT,
    IF,
    IOPL3,
    NO_PAGE,
    PAGE_TABLES,
    RAM_END,
    TF,
    TSS,
    Guest,
    handler,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from toyvisor.kvm.api import KvmExit, KvmRegs
from toyvisor.kvm.vm import Kvm
from toyvisor.trace.events import Trace
from toyvisor.trace.ledger import Ledger

TIME = 3000
PICS = "\n".join(
    f"mov al, {value}\nout {port}, al"
    for port, value in ((0x20, 0x11), (0x21, 0x20), (0x21, 4), (0x21, 1), (0x21, 0))
)
BODIES = (
    "int3", "int 0x40", "ud2", "xor cl, cl\ndiv cl", "out 0x10, al\nnop", "sti\nhlt", "hlt",
    f"mov al, [{NO_PAGE}]", "mov sp, 1\nint3", "mov sp, 0\nint3", ".byte 0xf1",
    "1: jmp 1b", "mov ax, 0x4567\nmov ds, ax", "iret", ".byte 0x48, 0xcf", "push 0\npop ds",
    "mov cr3, {a}", "lidt [0x6000]", "lgdt [0x6000]", "mov {sp}, 0x80000000\nint3",
    "mov {sp}, -8\nint3", "pushf\npop {a}\nor {a}, 0x4100\npush {a}\npopf\nnop\nint3",
    "mov {a}, 0x60\nmov cr0, {a}\nnop", "ltr [0x6000]", "lldt [0x6000]",
    "mov {a}, cr0\nmov cr4, {a}",
)  # fmt: skip
#: Where a byte makes a difference.
PLACES = st.one_of(
    st.integers(IDT, IDT + 0x420),
    st.integers(GDT, GDT + 0x98),
    st.integers(TSS, TSS + 0x68),
    st.integers(CODE, CODE + 0x80),
    st.integers(PAGE_TABLES, PAGE_TABLES + 16),
    st.integers(PAGE_TABLES + 0x1000, PAGE_TABLES + 0x1000 + 8 * 16),
    st.integers(PAGE_TABLES + 0x3000, PAGE_TABLES + 0x3000 + 8 * 16),
    st.integers(handler(0), handler(0x24)),
    st.integers(0, 0x110),  # the IVT
    st.integers(0x6000, 0x6010),
)
SPOILS = st.lists(st.tuples(PLACES, st.integers(0, 255)), max_size=12)
RAISED = st.dictionaries(st.integers(10, 200), st.sampled_from([0, 1, 7, "nmi"]), max_size=6)


@st.composite
def guests(draw):
    bits = draw(st.sampled_from([16, 32, 64]))
    names = {16: ("eax", "sp"), 32: ("eax", "esp"), 64: ("rax", "rsp")}[bits]
    texts = draw(st.lists(st.sampled_from(BODIES), min_size=1, max_size=4))
    body = "\n".join(texts)
    if bits == 64:
        body = body.replace("push 0\npop ds", "nop").replace("iret", "iretq")
    if bits != 16:
        body = body.replace("mov sp,", f"mov {names[1]},")
    body = body.format(a=names[0], sp=names[1])
    if bits == 16:
        body = body.replace("0x80000000", "0x8000").replace("pushf\npop eax", "nop")
        body = body.replace("push eax\npopf", "nop")
    flags = 2 | IOPL3 | draw(st.sampled_from([0, IF, IF, TF, TF | IF]))
    options = {}
    if bits > 16 and draw(st.booleans()):
        options = {"cs": draw(st.sampled_from([CODE3, COMPAT3 if bits == 64 else CODE3])),
                   "ss": DATA3}  # fmt: skip
        if options["cs"] == COMPAT3:
            body = "int3\nnop"
    elif bits > 16:
        options = {"cs": draw(st.sampled_from([None, CONFORMING]))}
    return Guest(bits, body + "\nout 0x11, al", flags=flags, setup=PICS, **options)


def run(guest: Guest, spoils, raised, *, trace: bool) -> tuple[KvmExit, str, int]:
    ram = mmap.mmap(-1, RAM_END)
    ram[:] = bytes(guest.image())
    vm = Kvm(Ledger(Trace(enabled=trace))).create_vm()
    vm.set_user_memory_region(0, 0, memoryview(ram))
    vm.create_irqchip()
    vcpu = vm.create_vcpu()
    try:
        vcpu.set_sregs(sregs_for(guest))
        vcpu.set_regs(KvmRegs(**({"rip": CODE, "rflags": 2} | guest.registers)))
        for place, value in spoils:
            ram[place] = value
        times = sorted(raised)
        while True:
            vcpu.deadline = times[0] if times else TIME
            vcpu.run()
            reason = KvmExit(vcpu.kvm_run.exit_reason)
            now = vcpu.instructions
            if reason not in (KvmExit.IO, KvmExit.MMIO, KvmExit.INTR):
                return reason, vcpu.explanation, now
            if reason == KvmExit.INTR and (now >= TIME or (vcpu.asleep and not times)):
                return reason, vcpu.explanation, now
            while times and (vcpu.asleep or times[0] <= now):
                what = raised[times.pop(0)]
                if what == "nmi":
                    vcpu.nmi()
                else:
                    vm.irq_line(what, 1)
                    vm.irq_line(what, 0)
    finally:
        vm.close()


@settings(max_examples=150, deadline=None)
@given(guest=guests(), spoils=SPOILS, raised=RAISED)
def test_no_spoilt_guest_hangs_or_ends_without_a_reason(guest, spoils, raised):
    reason, explanation, now = run(guest, spoils, raised, trace=False)
    assert now <= TIME + 300
    assert reason in (KvmExit.INTR, KvmExit.SHUTDOWN, KvmExit.INTERNAL_ERROR), reason
    if reason != KvmExit.INTR:
        assert explanation
    assert (reason, explanation, now) == run(guest, spoils, raised, trace=True)
