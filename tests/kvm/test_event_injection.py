"""Interrupts and NMIs from where they are asked for to the guest's handlers, exit by exit."""

from __future__ import annotations

import mmap

import pytest
from test_vcpu import DEVICE, ORIGIN, Client

from toyvisor.exit_reasons import ExitReason
from toyvisor.guest.assembler import assemble_text
from toyvisor.kvm.api import InternalError, KvmExit, KvmRegs
from toyvisor.kvm.vm import Kvm
from toyvisor.modes import CpuMode
from toyvisor.qemu.boot import boot_sregs, write_boot_tables
from toyvisor.trace.events import Trace
from toyvisor.trace.ledger import Ledger

IDT = 0x20000
#: Handlers that say OUT their vector's low byte, and go back.
SETUP = f"""
.macro GATE n, handler
        mov rax, offset \\handler
        mov [{IDT} + 16 * \\n], ax
        mov dword ptr [{IDT} + 16 * \\n + 2], 0x8e000008
        shr rax, 16
        mov [{IDT} + 16 * \\n + 6], ax
.endm
        GATE 2, nmi
        GATE 6, ud
        GATE 32, irq0
        GATE 33, irq1
        lidt [rip + idtr]
        mov al, 0x11
        out 0x20, al
        mov al, 0x20
        out 0x21, al
        mov al, 4
        out 0x21, al
        mov al, 1
        out 0x21, al
        mov al, 0xfc
        out 0x21, al
        mov edi, {DEVICE:#x}
        jmp body
idtr:   .word 0xfff
        .quad {IDT}
ud:     out 0x46, al
        add qword ptr [rsp], 2
        iretq
nmi:    out 0x42, al
        NMI_BODY
        iretq
irq0:   push rax
        mov al, 0x20
        out 0x20, al
        out 0x50, al
        pop rax
        iretq
irq1:   push rax
        mov al, 0x20
        out 0x20, al
        out 0x51, al
        pop rax
        iretq
body:
"""


class Guest(Client):
    """Long mode with interrupt controllers; what the guest says is `said`."""

    def __init__(self, body: str, *, nmi_body: str = "", irqchip: bool = True) -> None:
        source = SETUP.replace("NMI_BODY", nmi_body) + body + "\n        hlt\n"
        assembly = assemble_text(source, mode=CpuMode.LONG, origin=ORIGIN)
        self.symbols = assembly.symbols
        self.ledger = Ledger(Trace())
        self.ram = memoryview(mmap.mmap(-1, 0x200000))
        write_boot_tables(self.ram, CpuMode.LONG)
        self.ram[ORIGIN : ORIGIN + len(assembly.image)] = assembly.image
        self.vm = Kvm(self.ledger).create_vm()
        self.vm.set_user_memory_region(0, 0, self.ram)
        if irqchip:
            self.vm.create_irqchip()
        self.vcpu = self.vm.create_vcpu()
        self.vcpu.set_sregs(boot_sregs(CpuMode.LONG))
        self.vcpu.set_regs(KvmRegs(rip=ORIGIN, rflags=2, rsp=0x8FF0))
        self.kvm_run = self.vcpu.kvm_run
        if not irqchip:  # its ports are nobody's
            for _ in range(5):
                assert self.run() == KvmExit.IO

    def next(self) -> str | int:
        """The next exit to userspace: a port, or its name."""
        reason = self.run()
        return int(self.kvm_run.io.port) if reason == KvmExit.IO else reason.name

    def count(self, reason: ExitReason) -> int:
        return self.ledger.exits[reason]

    def pulse(self, irq: int) -> None:
        self.vm.irq_line(irq, 1)
        self.vm.irq_line(irq, 0)


def test_an_interrupt_raised_at_an_exit_comes_behind_it_without_a_window() -> None:
    with Guest("sti\nnop\nout 0x10, al\nhere: out 0x11, al") as guest:
        assert guest.next() == 0x10
        guest.pulse(0)
        assert guest.next() == 0x50
        assert guest.count(ExitReason.INTERRUPT_WINDOW) == 0
        assert guest.ledger.injected == 1
        assert guest.next() == 0x11


@pytest.mark.parametrize(
    ("body", "windows"),
    [
        ("out 0x10, al\nsti\nnop\nhere: out 0x11, al", 1),
        ("mov [rdi], eax\nsti\nnop\nhere: out 0x11, al", 1),
        ("out 0x10, al\npush 0x202\npopf\nhere: out 0x11, al", 1),
        ("sti\nout 0x10, al\nhere: out 0x11, al", 1),
        ("sti\nnop\nmov [rdi], eax\nhere: out 0x11, al", 0),
        ("sti\nnop\nmov eax, [rdi]\nhere: out 0x11, al", 0),
        ("sti\nnop\nadd [rdi], eax\nhere: out 0x11, al", 0),
        ("sti\nnop\nin al, 0x10\nhere: out 0x11, al", 0),
    ],
)
def test_where_an_interrupt_returns_to_and_what_it_costs(body: str, windows: int) -> None:
    with Guest(body) as guest:
        first = guest.next()
        assert first in (0x10, "MMIO")
        guest.pulse(1)
        while (said := guest.next()) == "MMIO":
            pass
        assert said == 0x51
        regs = guest.vcpu.get_regs()
        frame = guest.ram[regs.rsp + 8 : regs.rsp + 16]  # above the saved rax
        assert int.from_bytes(frame, "little") == guest.symbols["here"]
        assert guest.count(ExitReason.INTERRUPT_WINDOW) == windows
        assert guest.next() == 0x11


def test_a_line_that_falls_again_before_the_window_leaves_nothing() -> None:
    with Guest("out 0x10, al\nmov al, 0xff\nout 0x21, al\nsti\nnop\nout 0x11, al") as guest:
        assert guest.next() == 0x10
        guest.pulse(0)
        assert guest.next() == 0x11, "masked meanwhile"
        assert guest.ledger.injected == 0
        assert guest.count(ExitReason.INTERRUPT_WINDOW) == 0


def test_two_interrupts_come_one_after_the_other_by_priority() -> None:
    with Guest("out 0x10, al\nsti\nnop\nout 0x11, al") as guest:
        assert guest.next() == 0x10
        guest.pulse(1)
        guest.pulse(0)
        assert [guest.next() for _ in range(3)] == [0x50, 0x51, 0x11]
        assert guest.ledger.injected == 2


# NMI ------------------------------------------------------------------------------------------


def test_an_nmi_comes_with_interrupts_off() -> None:
    with Guest("out 0x10, al\nout 0x11, al") as guest:
        assert guest.next() == 0x10
        guest.vcpu.nmi()
        assert [guest.next() for _ in range(2)] == [0x42, 0x11]
        assert guest.count(ExitReason.NMI_WINDOW) == 0


def test_without_interrupt_controllers_the_first_nmi_comes_a_block_later() -> None:
    """A VM that has none is not prepared to stop behind an exit, until one is asked for."""
    with Guest("out 0x10, al\nout 0x11, al\njmp 1f\n1: out 0x12, al\nout 0x13, al",
               irqchip=False) as guest:  # fmt: skip
        assert guest.next() == 0x10
        guest.vcpu.nmi()
        assert [guest.next() for _ in range(3)] == [0x11, 0x42, 0x12]
        guest.vcpu.nmi()
        assert [guest.next() for _ in range(2)] == [0x42, 0x13]


@pytest.mark.parametrize(("asked", "come"), [(1, 1), (2, 2), (3, 2), (5, 2)])
def test_how_many_nmis_can_wait(asked: int, come: int) -> None:
    """One that is taken at once and one behind it (x86.c, process_nmi())."""
    with Guest("out 0x10, al\nout 0x11, al") as guest:
        assert guest.next() == 0x10
        for _ in range(asked):
            guest.vcpu.nmi()
        assert [guest.next() for _ in range(come + 1)] == [0x42] * come + [0x11]
        assert guest.count(ExitReason.NMI_WINDOW) == come - 1


def test_in_a_handler_only_one_more_can_wait() -> None:
    with Guest("out 0x10, al\nout 0x11, al") as guest:
        assert guest.next() == 0x10
        guest.vcpu.nmi()
        assert guest.next() == 0x42
        for _ in range(3):
            guest.vcpu.nmi()
        assert [guest.next() for _ in range(2)] == [0x42, 0x11]


def test_an_nmi_goes_before_an_interrupt() -> None:
    with Guest("sti\nnop\nout 0x10, al\nout 0x11, al") as guest:
        assert guest.next() == 0x10
        guest.pulse(0)
        guest.vcpu.nmi()
        assert [guest.next() for _ in range(3)] == [0x42, 0x50, 0x11]


def test_an_nmi_handler_that_lets_interrupts_in_gets_them_while_one_more_nmi_waits() -> None:
    with Guest("sti\nnop\nout 0x10, al\nout 0x11, al", nmi_body="sti\nnop\ncli\n") as guest:
        assert guest.next() == 0x10
        guest.vcpu.nmi()
        assert guest.next() == 0x42
        guest.vcpu.nmi()
        guest.pulse(0)
        # Its handler's IRET ends the blocking: the second NMI comes inside the first.
        assert [guest.next() for _ in range(3)] == [0x50, 0x42, 0x11]


def test_an_exception_in_an_nmi_handler_lets_the_next_nmi_in() -> None:
    with Guest("out 0x10, al\nout 0x11, al", nmi_body="ud2\nout 0x43, al\n") as guest:
        assert guest.next() == 0x10
        guest.vcpu.nmi()
        assert guest.next() == 0x42
        guest.vcpu.nmi()
        assert [guest.next() for _ in range(4)] == [0x46, 0x42, 0x46, 0x43]


# HLT -------------------------------------------------------------------------------------------


def test_hlt_in_the_kernel_wakes_by_an_interrupt() -> None:
    with Guest("sti\nhlt\nout 0x11, al") as guest:
        assert guest.next() == "INTR"
        assert guest.vcpu.asleep
        guest.pulse(0)
        assert [guest.next() for _ in range(2)] == [0x50, 0x11]
        assert guest.count(ExitReason.HLT) == 1


def test_a_guest_that_sleeps_goes_on_sleeping_as_often_as_it_is_run() -> None:
    with Guest("sti\nhlt\nout 0x11, al") as guest:
        for _ in range(4):
            assert guest.next() == "INTR"
            assert guest.vcpu.asleep
        guest.pulse(0)
        assert [guest.next() for _ in range(2)] == [0x50, 0x11]


def test_hlt_in_the_kernel_with_interrupts_off_wakes_by_an_nmi_only() -> None:
    with Guest("hlt\nout 0x11, al") as guest:
        assert guest.next() == "INTR"
        guest.pulse(0)
        assert guest.next() == "INTR"
        guest.vcpu.nmi()
        assert [guest.next() for _ in range(2)] == [0x42, 0x11]
        assert guest.ledger.injected == 0


def test_an_interrupt_that_waits_already_ends_sti_hlt_at_once() -> None:
    with Guest("out 0x10, al\nsti\nhlt\nhere: out 0x11, al") as guest:
        assert guest.next() == 0x10
        guest.pulse(0)
        assert guest.next() == 0x50
        regs = guest.vcpu.get_regs()
        frame = guest.ram[regs.rsp + 8 : regs.rsp + 16]
        assert int.from_bytes(frame, "little") == guest.symbols["here"]
        assert guest.count(ExitReason.HLT) == 1
        assert guest.next() == 0x11


def test_without_interrupt_controllers_hlt_is_userspaces_and_an_nmi_goes_on() -> None:
    with Guest("hlt\nout 0x11, al", irqchip=False) as guest:
        assert guest.next() == "HLT"
        guest.vcpu.nmi()
        assert [guest.next() for _ in range(2)] == [0x42, 0x11]


# Ends that are explained ---------------------------------------------------------------------


def test_an_interrupt_without_a_gate_is_explained() -> None:
    with Guest(f"mov qword ptr [{IDT} + 16*32], 0\nsti\nnop\nout 0x10, al\nnop") as guest:
        assert guest.next() == 0x10
        guest.pulse(0)
        assert guest.next() == "SHUTDOWN"
        assert "interrupt 0x20 (IRQ 0)" in guest.vcpu.explanation


def test_a_delivery_outside_ram_is_an_internal_error() -> None:
    with Guest("mov rsp, 0x80000000\nsti\nnop\nout 0x10, al\nnop") as guest:
        assert guest.next() == 0x10
        guest.pulse(0)
        assert guest.next() == "INTERNAL_ERROR"
        internal = guest.kvm_run.internal
        assert internal.suberror == InternalError.DELIVERY_EV
        assert "0x7ffffff8" in guest.vcpu.explanation


def test_a_task_gate_is_an_internal_error() -> None:
    source = """
        lidt [idtr]
        int 0x30
    idtr: .word 0x187
          .long idt - 0x180
    idt:  .quad 0x0000850000280000
    """
    with Client(source, CpuMode.PROTECTED) as client:
        assert client.run() == KvmExit.INTERNAL_ERROR
        assert client.kvm_run.internal.suberror == InternalError.EMULATION
        assert "is a task gate" in client.vcpu.explanation
        assert "does not switch tasks" in client.vcpu.explanation


def test_virtual_8086_mode_is_an_internal_error() -> None:
    source = "\n".join(f"push {n}" for n in (0, 0, 0, 0, 0, 0x7000, 0x20002, 0))
    source += "\nmov eax, offset v86\nshl eax, 12\nshr eax, 12\npush 0\niretd\nv86: nop"
    with Client(source, CpuMode.PROTECTED) as client:
        client.ram[0:2] = b"\xcd\x10"
        assert client.run() == KvmExit.INTERNAL_ERROR
        assert "virtual-8086 mode" in client.vcpu.explanation


def test_a_page_fault_is_explained_by_its_own_address_not_by_that_of_the_next() -> None:
    """The IDT's page is missing, too: its address is what CR2 has in the end."""
    with Guest("mov eax, 0x80000000\nmov cr3, rax\nhere: nop") as guest:
        assert guest.next() == "SHUTDOWN"
        here = guest.symbols["here"]
        assert guest.vcpu.explanation.startswith(f"page fault (#PF) at {here:#x}, but")
        assert "whose page table at 0x80000000 is outside RAM" in guest.vcpu.explanation
