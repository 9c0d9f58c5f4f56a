"""Interrupts: controllers, timer, vectors; and the answer to "why does IRQ n not reach me?"."""

from __future__ import annotations

from pathlib import Path

import pytest
from sessions import session, session_of

from toyvisor.debug.moment import StopReason, Unit
from toyvisor.debug.session import Session
from toyvisor.debug.views.interrupts import changed_interrupts, interrupts, why_no_interrupt
from toyvisor.exit_reasons import ExitReason

PIT = 'mode = "long"\ndevices = ["pic", "pit"]'


def behind(s: Session, kind: str) -> None:
    while s.step(Unit.EVENT).reason is StopReason.STEP:
        if s.events[s.moment.events - 1].kind.name == kind:
            return
    raise AssertionError(f"no {kind} comes")


def test_controllers_timer_and_vectors_of_a_guest_that_waits_for_its_timer() -> None:
    with session("timer_tick") as s:
        s.run_to("sleep")
        view = interrupts(s.machine, s.program)
    master, slave = view.chips
    assert (master.vector_base, slave.vector_base) == (0x20, 0x28)
    assert (master.imr, slave.imr) == (0xFA, 0xFF)
    assert master.is_initialized
    timer = view.lines[0]
    assert (timer.device, timer.vector, timer.trigger, timer.why_not) == ("pit", 0x20, "edge", "")
    assert view.pit is not None
    first = view.pit.channels[0]
    assert (first.mode, first.mode_name, first.count) == (2, "rate generator", 11932)
    assert view.pit.period == 4 * 11932
    assert view.pit.in_instructions is not None
    assert 0 < view.pit.in_instructions <= view.pit.period
    assert [(v.vector, v.name, v.label, v.type) for v in view.vectors] == [
        (0x20, "IRQ 0 (pit)", "timer", "interrupt gate")
    ]
    assert (view.table, view.table_base, view.table_limit) == ("IDT", 0xF000, 4095)
    assert not view.interrupts_enabled


def test_real_mode_has_a_vector_table() -> None:
    with session("timer_tick_real") as s:
        s.run_to("sleep")
        view = interrupts(s.machine, s.program)
    assert (view.table, view.table_base) == ("IVT", 0)
    assert [(v.vector, v.label, v.type) for v in view.vectors] == [(8, "timer", "real-mode vector")]


def test_exceptions_have_their_names() -> None:
    with session("double_fault") as s:
        s.go_to_end()
        view = interrupts(s.machine, s.program)
    assert {8: "#DF"}.items() <= {v.vector: v.name for v in view.vectors}.items()
    assert not view.has_controllers
    assert view.chips == view.lines == ()


def test_an_interrupt_on_its_way() -> None:
    """Requested, taken (INTA), in service; then EOI."""
    with session("timer_tick") as s:
        behind(s, "kvm_inj_virq")
        injected = interrupts(s.machine, s.program)
        assert injected.injecting.startswith("KVM has an interrupt ready")
        assert (injected.chips[0].irr, injected.chips[0].isr) == (0, 1)
        assert why_no_interrupt(s.machine, 0) == (
            "IRQ 0 (pit) is in service: its handler has not sent EOI yet (port 0x20), and until "
            "then no further one comes"
        )
        s.run_to("timer")
        handler = interrupts(s.machine, s.program)
        assert not handler.interrupts_enabled
        assert "injecting" in changed_interrupts(injected, handler)


@pytest.mark.parametrize(
    ("program", "irq", "why"),
    [
        ("broken/masked_forever", 0,
         "IRQ 0 (pit) is requested, but IRQ 0 is masked: bit 0 of the master's IMR (port 0x21)"),
        ("broken/no_eoi", 0, "IRQ 0 (pit) is in service: its handler has not sent EOI yet"),
    ],
)  # fmt: skip
def test_why_a_guest_is_not_interrupted(program: str, irq: int, why: str) -> None:
    with session(program) as s:
        s.go_to_end()
        assert why_no_interrupt(s.machine, irq).startswith(why)


def test_a_line_that_was_never_acknowledged_makes_no_new_request() -> None:
    with session("broken/no_interrupt_ack") as s:
        s.go_to_end()
        assert "has stayed up since its last interrupt" in why_no_interrupt(s.machine, 5)


def test_a_machine_without_controllers() -> None:
    with session("one_store") as s:
        assert why_no_interrupt(s.machine, 5).startswith(
            "this machine has no interrupt controllers"
        )


SOURCE = """
    .include "machine.inc"
    .include "idt.inc"
    .include "pic.inc"
_start:
    call    pic_init
    mov     al, 0
    call    pic_unmask
    mov     al, 0x30            ; counter 0, once
    out     0x43, al
    mov     al, 8
    out     0x40, al
    mov     al, 0
    out     0x40, al
    mov     ecx, 100
wait:
    loop    wait
before:
    sti
shadow:
    nop
    hlt
"""


def test_what_holds_an_interrupt_off_at_the_processor(tmp_path: Path) -> None:
    with session_of(SOURCE, tmp_path, block=PIT) as s:
        assert why_no_interrupt(s.machine, 0).startswith(
            "IRQ 0 (pit) is not requested: the timer's counter 0 has not been set"
        )
        s.run_to("wait")
        assert "expires in" in why_no_interrupt(s.machine, 0)
        s.run_to("before")
        assert interrupts(s.machine).intr == 1
        assert "interrupts are off in the processor (IF is 0)" in why_no_interrupt(s.machine, 0)
        s.step()
        assert interrupts(s.machine).in_shadow
        assert "comes after the next instruction" in why_no_interrupt(s.machine, 0)


def test_an_interrupt_without_a_handler(tmp_path: Path) -> None:
    """At the exit for the interrupt window nothing is in its way but what comes then."""
    with session_of(SOURCE, tmp_path, block=PIT) as s:
        s.run_to("before")
        behind(s, "vm_exit")
        assert s.events[s.moment.events - 1].fields["reason"] == ExitReason.INTERRUPT_WINDOW
        assert "the IDT (base 0x0, limit 0x0) has no entry" in why_no_interrupt(s.machine, 0)


def test_what_changed() -> None:
    with session("timer_tick") as s:
        s.run_to("pic_init")
        before = interrupts(s.machine, s.program)
        s.run_to("sleep")
        after = interrupts(s.machine, s.program)
    changed = changed_interrupts(before, after)
    assert {"imr0", "imr1", "chip0", "irq1", "pit0", "pit"} <= changed
    assert "isr0" not in changed
    assert changed_interrupts(None, after) == frozenset()
