"""What a student is told when the guest has come to its end by an event it could not take."""

from __future__ import annotations

import pytest

from toyvisor.cpu.events import GP, PF, Event, EventType
from toyvisor.guest.program import load_program
from toyvisor.kvm.exceptions import (
    exception_name,
    explain_delivery_outside_ram,
    explain_sleep,
    explain_triple_fault,
)
from toyvisor.qemu.machine import Machine
from toyvisor.qemu.result import RunResult, collect

PIT_AT_8 = """
        mov     al, 0x11
        out     0x20, al
        mov     al, 8
        out     0x21, al
        mov     al, 4
        out     0x21, al
        mov     al, 1
        out     0x21, al
        mov     al, 0xfe
        out     0x21, al
        mov     al, 0x30
        out     0x43, al
        mov     al, 100
        out     0x40, al
        xor     al, al
        out     0x40, al
"""


def run(tmp_path, mode: str, code: str, devices: str = "") -> RunResult:
    path = tmp_path / "guest.s"
    path.write_text(
        f'; /// machine\n; mode = "{mode}"\n; devices = [{devices}]\n; ///\n'
        f'.include "machine.inc"\n.include "idt.inc"\n_start:\n{code}\n'
    )
    with Machine(load_program(path, use_cache=False)) as machine:
        return collect(machine, machine.run(100_000))


def test_names():
    assert exception_name(GP) == "general protection fault (#GP)"
    assert exception_name(0x80) == "interrupt 0x80"


@pytest.mark.parametrize("mode", ["real", "protected", "long"])
def test_a_call_to_a_bios_that_is_not_there(tmp_path, mode):
    found = run(tmp_path, mode, "mov ah, 0x0e\nint 0x10\nhlt")
    assert "software interrupt 0x10" in found.explanation
    assert "there is no BIOS" in found.explanation
    assert found.location.startswith(str(tmp_path / "guest.s:9"))


def test_a_system_call_through_a_gate_that_is_not_open_names_the_gate(tmp_path):
    """The gate is there, so nothing is said of a missing system."""
    found = run(
        tmp_path,
        "long",
        "idt_gate64 0x80, handler\nmov word ptr [IDT + 16 * 0x80 + 4], 0xc00\nlidt [idtr]\n"
        "int 0x80\nhandler: hlt\nidtr: idt_pointer64",
    )
    assert "software interrupt 0x80, but gate 0x80 of the IDT" in found.explanation
    assert "no system" not in found.explanation


@pytest.mark.parametrize("mode", ["real", "protected", "long"])
def test_an_interrupt_without_a_handler_names_its_line(tmp_path, mode):
    found = run(tmp_path, mode, PIT_AT_8 + "sti\nhlt\njmp $", '"pic", "pit"')
    assert found.explanation.startswith("interrupt 0x8 (IRQ 0), but ")
    assert "before STI" in found.explanation
    assert found.location.startswith(str(tmp_path / "guest.s:26")), "the HLT it slept in"


def test_an_interrupt_of_a_busy_guest_is_placed_where_it_came(tmp_path):
    found = run(tmp_path, "long", PIT_AT_8 + "sti\nbusy: jmp busy", '"pic", "pit"')
    assert found.location.startswith(str(tmp_path / "guest.s:26"))


def test_an_instruction_that_looks_like_int_is_not_blamed_for_an_interrupt(tmp_path):
    found = run(tmp_path, "long", PIT_AT_8 + "sti\nhlt\nint 0x8", '"pic", "pit"')
    assert found.explanation.startswith("interrupt 0x8 (IRQ 0), but ")


@pytest.mark.parametrize(("code", "is_iret"), [(b"\xcf", True), (b"\x48\xcf", True),
                                               (b"\x66\xcf", True), (b"\x48\x89", False),
                                               (b"\xfa\xcf", False)])  # fmt: skip
def test_an_iret_that_fails_is_asked_for_an_error_code(code, is_iret):
    event = Event(GP, EventType.HARDWARE_EXCEPTION, 0x38)
    text = explain_triple_fault(GP, code, (0xF000, 0xFFF), 0, [(event, "gate 13 is empty")])
    assert ("found 0x38 on the stack for CS" in text) == is_iret


def test_a_reason_is_said_once():
    fault = Event(PF, EventType.HARDWARE_EXCEPTION, 2)
    failures = [(fault, "no page"), (fault, "no page"), (fault, "the IDT is empty")]
    text = explain_triple_fault(PF, b"\x90", (0, 0xFFF), 0x1234, failures)
    assert text.startswith("page fault (#PF) at 0x1234, but no page; so page fault (#PF), ")
    assert text.count("no page") == 1
    assert "the same again; so page fault (#PF), but the IDT is empty; " in text


@pytest.mark.parametrize(
    ("gpa", "where"),
    [
        (0xE0000030, "the IDT is at 0xe0000000"),
        (0xE0001008, "the GDT is at 0xe0001000"),
        (0xE0002FF8, "the stack is at 0xe0003000"),
        (0xE0002FC8, "the stack is at 0xe0003000"),
        (0xE0004000, "the IDT, the GDT, the TSS or the stack lies there"),
    ],
)
def test_what_has_no_ram(gpa, where):
    tables = {"idt": (0xE0000000, 0xFFF), "gdt": (0xE0001000, 0x17), "rsp": 0xE0003000}
    assert f"needed {gpa:#x}, where there is no RAM ({where})" in explain_delivery_outside_ram(
        gpa, **tables
    )


def test_a_stack_in_a_device_window_is_named(tmp_path):
    found = run(
        tmp_path,
        "long",
        "idt_gate64 3, handler\nlidt [idtr]\nmov esp, 0xe0001000\nint3\n"
        "handler: hlt\nidtr: idt_pointer64",
    )
    assert found.outcome == "internal-error"
    assert "the stack is at 0xe0001000" in found.explanation


def test_sleeps():
    asleep = "the guest waits in HLT, and no interrupt is to come"
    assert explain_sleep(interrupts_are_on=True, came_too_early=False) == asleep
    assert explain_sleep(interrupts_are_on=True, came_too_early=True).startswith(f"{asleep}; the")
    assert "only an NMI" in explain_sleep(interrupts_are_on=False, came_too_early=True)


HANDLER = (
    "jmp go\nhandler: push rax\nmov al, 0x20\nout 0x20, al\npop rax\niretq\n"
    "idtr: idt_pointer64\ngo: idt_gate64 8, handler\nlidt [idtr]\n"
)


def test_a_wakeup_that_was_not_lost_is_not_suspected(tmp_path):
    found = run(tmp_path, "long", HANDLER + PIT_AT_8 + "sti\nhlt\nnop\nhlt", '"pic", "pit"')
    assert found.injected == 1
    assert found.explanation == explain_sleep(interrupts_are_on=True, came_too_early=False)
    assert "cpu.lost-wakeup" not in [mistake.rule for mistake in found.mistakes]


@pytest.mark.parametrize(
    ("code", "is_lost"),
    [("sti\nnop\nhlt", True), ("sti\nhlt", False), ("sti\nhlt\nhlt", False)],
)
def test_only_an_instruction_between_sti_and_hlt_loses_a_wakeup(tmp_path, code, is_lost):
    """The timer's tick has waited with interrupts off, and is the only one."""
    wait = "mov ecx, 500\n1: dec ecx\njnz 1b\n"
    found = run(tmp_path, "long", HANDLER + PIT_AT_8 + wait + code, '"pic", "pit"')
    assert found.injected == 1
    assert ("cpu.lost-wakeup" in [mistake.rule for mistake in found.mistakes]) == is_lost


def test_interrupts_at_exception_vectors_are_reported_but_not_in_real_mode(tmp_path, capfd):
    long_mode = run(tmp_path, "long", HANDLER + PIT_AT_8 + "sti\nhlt\nhlt", '"pic", "pit"')
    assert [mistake.rule for mistake in long_mode.mistakes] == ["pic.vector"]
    real_handler = (
        "jmp go\nhandler: push ax\nmov al, 0x20\nout 0x20, al\npop ax\niret\n"
        "go: ivt_entry 8, handler\n"
    )
    real = run(tmp_path, "real", real_handler + PIT_AT_8 + "sti\nhlt\nhlt", '"pic", "pit"')
    assert real.injected == 1
    assert real.mistakes == []
    assert capfd.readouterr().err == "", "Unicorn has nothing to complain about"


def test_a_busy_guest_is_no_storm():
    with Machine(load_program("sti_hlt")) as machine:
        result = collect(machine, machine.run(2000))
    assert (result.outcome, result.mistakes) == ("budget", [])
    assert result.injected
