"""The way through the layers, drawn with characters."""

from __future__ import annotations

from toyvisor.trace.events import Layer
from toyvisor.ui.stepper.lane_path import Step, draw_gaps, draw_path

GUEST, KVM, QEMU, HOST = Layer

STORE = [
    Step(QEMU, "ioctl"),
    Step(GUEST, "vm_entry"),
    Step(GUEST, "vm_exit"),
    Step(KVM, "kvm_mmio"),
    Step(KVM, "copy"),
    Step(KVM, "kvm_userspace_exit"),
    Step(QEMU, "copy"),
    Step(QEMU, "memory_region_ops_write"),
    Step(HOST, "copy"),
    Step(HOST, "syscall"),
    Step(QEMU, "ioctl"),
]


def test_a_store_that_reaches_the_host() -> None:
    assert draw_path(STORE) == {
        GUEST: " ╭●═○╮               ",
        KVM: " │   ╰•─◆─•╮         ",
        QEMU: "•╯         ╰◆─•╮   ╭•",
        HOST: "               ╰◆─$╯ ",
    }


def test_rows_between_the_lanes_carry_the_lines_that_cross() -> None:
    assert draw_gaps(STORE) == {
        GUEST: " │   │               ",
        KVM: " │         │         ",
        QEMU: "               │   │ ",
    }


def test_nothing_yet() -> None:
    assert set(draw_path([]).values()) == {""}
    assert draw_path([Step(KVM, "copy")])[KVM] == "◆"
