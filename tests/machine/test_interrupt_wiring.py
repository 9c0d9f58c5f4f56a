"""How a device's line, an eventfd and a thread's wake-up reach the guest of a whole machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_machine import program

from toyvisor.errors import SourceError
from toyvisor.exit_reasons import ExitReason
from toyvisor.host.net import NetBackend
from toyvisor.qemu.machine import Arrivals, Machine
from toyvisor.qemu.result import RunResult, collect
from toyvisor.qemu.vcpu_thread import TIME_SLICE, Outcome

LONG = 'title = "t"\nmode = "long"\n'
FRAMES = [bytes([n]) * 60 for n in range(1, 6)]


# Takes the PIC from its state after power-on: vectors 0x20 to 0x2f, IRQ `irq` alone unmasked.
PIC_SETUP = """
        mov     al, 0x11
        out     0x20, al
        out     0xa0, al
        mov     al, 0x20
        out     0x21, al
        mov     al, 0x28
        out     0xa1, al
        mov     al, 4
        out     0x21, al
        mov     al, 2
        out     0xa1, al
        mov     al, 1
        out     0x21, al
        out     0xa1, al
        mov     al, {imr}
        out     0x21, al
"""
GATE = """
        mov     eax, offset handler
        mov     [0x20000 + 16*{vector}], ax
        mov     word ptr [0x20000 + 16*{vector} + 2], 8
        mov     word ptr [0x20000 + 16*{vector} + 4], 0x8e00
        shr     eax, 16
        mov     [0x20000 + 16*{vector} + 6], ax
        lidt    [rip + idtr]
"""
IDTR = "\nidtr: .word 0xfff\n      .quad 0x20000\n"


def serial_guest(imr: int = 0xEF, handler: str = "") -> str:
    """Waits for three bytes on the serial line, by interrupt."""
    body = handler or (
        "mov dx, 0x3f8\nin al, dx\nmov [0x30000 + rbx], al\ninc ebx\nmov al, 0x20\nout 0x20, al"
    )
    return (
        PIC_SETUP.format(imr=imr) + GATE.format(vector=0x24)
        + "mov dx, 0x3f9\nmov al, 1\nout dx, al\n"
        + "1: sti\nhlt\ncmp ebx, 3\njb 1b\ncli\nhlt\n"
        + f"handler:\n{body}\niretq\n" + IDTR
    )  # fmt: skip


def run(
    tmp_path: Path, devices: str, code: str, *, block: str = "", frames: Any = (), **options: Any
) -> tuple[Machine, RunResult]:
    source = program(tmp_path, f"{LONG}{block}devices = [{devices}]", code)
    with Machine(source, NetBackend(list(frames)), **options) as machine:
        ending = machine.run(200_000)
        return machine, collect(machine, ending)


def test_bytes_on_the_serial_line_interrupt_the_guest(tmp_path: Path) -> None:
    machine, result = run(tmp_path, '"pic", {type = "serial", input = "abc"}', serial_guest())
    assert bytes(machine.ram[0x30000:0x30003]) == b"abc"
    assert result.outcome is Outcome.HALTED
    assert "interrupts off" in result.explanation
    assert (result.injected, result.exit_status) == (3, 0)
    # Each byte: IRQ 4 up and down, a read() and a turn of the main loop.
    assert result.syscalls["ioctl(KVM_IRQ_LINE)"] == 6
    assert result.syscalls["read"] == 3
    assert result.context_switches == 2 * result.syscalls["ppoll"]


def test_without_a_pic_the_line_goes_nowhere_and_hlt_ends_the_run(tmp_path: Path) -> None:
    _, result = run(tmp_path, '{type = "serial", input = "abc"}', "sti\nhlt")
    assert result.outcome is Outcome.HALTED
    assert result.explanation == "the guest executed HLT"
    assert "ioctl(KVM_IRQ_LINE)" not in result.syscalls
    assert result.userspace_by_reason == {"HLT": 1}


def test_a_guest_that_nothing_can_wake_ends_and_says_so(tmp_path: Path) -> None:
    _, result = run(tmp_path, '"pic"', "sti\nhlt\nud2")
    assert result.outcome is Outcome.HALTED
    assert "no interrupt is to come" in result.explanation
    assert (result.userspace_exits, result.lightweight_exits) == (0, 1)
    assert result.exit_status == 0


def test_a_masked_line_with_a_request_is_reported(tmp_path: Path) -> None:
    _, result = run(
        tmp_path, '"pic", {type = "serial", input = "abc"}', serial_guest(imr=0xFF)
    )  # fmt: skip
    assert result.exit_status == 1
    (mistake,) = result.mistakes
    assert mistake.rule == "pic.blocked"
    assert "IRQ 4 (serial)" in mistake.message
    assert "masked" in mistake.message


def test_a_missing_eoi_is_reported(tmp_path: Path) -> None:
    handler = "mov dx, 0x3f8\nin al, dx\ninc ebx"
    _, result = run(
        tmp_path, '"pic", {type = "serial", input = "abc"}', serial_guest(handler=handler)
    )  # fmt: skip
    (mistake,) = result.mistakes
    assert "no EOI has been sent" in mistake.message
    assert result.injected == 1


@pytest.mark.parametrize(
    ("devices", "message"),
    [
        ('"pit"', "the pit interrupts by the pic"),
        ('{type = "virtio-net", irqfd = true}', "irqfd needs the interrupt controllers"),
        ('{type = "virtio-net", vhost = true}', "vhost needs the interrupt controllers"),
        ('"pic", {type = "virtio-net", vhost = "yes"}', "vhost is 'yes', not true or false"),
        ('"pic", {type = "pit", irq = 1}', "pit has no option 'irq'"),
        ('"pic", "pic"', "pic is there twice"),
        ('{type = "serial", input = 7}', "input is 7, not a text"),
        (
            ", ".join(['"pic"', *['"mmio-nic"'] * 12]),
            "mmio-nic12: the pic has no interrupt line left",
        ),
    ],
)
def test_wiring_that_can_not_be_is_an_error_at_its_line(
    tmp_path: Path, devices: str, message: str
) -> None:
    with pytest.raises(SourceError, match=r"guest\.s:4:") as caught:
        run(tmp_path, devices, "hlt")
    assert message in str(caught.value)


def test_the_pit_interrupts_and_time_passes_while_the_guest_sleeps(tmp_path: Path) -> None:
    code = (
        PIC_SETUP.format(imr=0xFE) + GATE.format(vector=0x20)
        + "mov al, 0x34\nout 0x43, al\nmov al, 0xe8\nout 0x40, al\nmov al, 3\nout 0x40, al\n"
        + "1: sti\nhlt\ncmp ebx, 4\njb 1b\ncli\nhlt\n"
        + "handler: inc ebx\nmov al, 0x20\nout 0x20, al\niretq\n" + IDTR
    )  # fmt: skip
    machine, result = run(tmp_path, '"pic", "pit"', code)
    assert result.injected == 4
    # 1000 ticks of 4 instructions each; hardly any of them executed.
    assert 4 * 4000 <= machine.vcpu.timing.now < 5 * 4000
    assert result.instructions < 200
    assert result.userspace_exits == 0


def test_the_timer_interrupts_a_guest_that_works(tmp_path: Path) -> None:
    code = (
        PIC_SETUP.format(imr=0xFE) + GATE.format(vector=0x20)
        + "mov al, 0x34\nout 0x43, al\nmov al, 0xe8\nout 0x40, al\nmov al, 3\nout 0x40, al\n"
        + "sti\n1: inc r8\ncmp ebx, 4\njb 1b\ncli\nhlt\n"
        + "handler: inc ebx\nmov al, 0x20\nout 0x20, al\niretq\n" + IDTR
    )  # fmt: skip
    _, result = run(tmp_path, '"pic", "pit"', code)
    assert (result.injected, result.vmx_exits["PREEMPTION_TIMER"]) == (4, 4)
    assert result.userspace_exits == 0, "timers end in KVM"
    assert 4 * 4000 <= result.instructions < 4 * 4000 + 200


# Frames over the wire, and threads ------------------------------------------------------------


def test_frames_that_come_over_the_wire_do_not_lie_in_memory(tmp_path: Path) -> None:
    machine, result = run(
        tmp_path, '"virtio-net"', "hlt", block='frames = "wire"\n', frames=FRAMES
    )  # fmt: skip
    assert machine.frames_given == 0
    assert bytes(machine.ram[0x10000:0x10010]) == bytes(16)
    assert result.received == []


def test_frames_keys_are_checked(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="frames is one of table, wire, requests"):
        program(tmp_path, LONG + 'frames = "air"')


def test_a_guest_that_polls_is_preempted_when_another_thread_is_woken(tmp_path: Path) -> None:
    """The frame's arrival wakes the main loop; the vCPU runs on to the end of its slice."""
    arrivals = Arrivals(burst=1, interval=5_000)
    code = "1: inc r8\ncmp r8, 20000\njb 1b\nhlt"
    machine, result = run(
        tmp_path, '"virtio-net"', code, block='frames = "wire"\n', frames=FRAMES[:2],
        arrivals=arrivals, trace=True,
    )  # fmt: skip
    exits = [e.clock for e in machine.trace if e.kind.name == "vm_exit"
             and e.fields["reason"] == ExitReason.PREEMPTION_TIMER]  # fmt: skip
    # Nobody has set the card up, so the loop looks once and leaves the tap alone.
    assert exits == [5_000, 5_000 + TIME_SLICE, 10_000]
    assert result.userspace_by_reason == {"INTR": 1, "HLT": 1}
    assert result.context_switches == 2


def test_a_run_without_other_threads_has_no_slices(tmp_path: Path) -> None:
    _, result = run(tmp_path, '"serial"', "mov ecx, 50000\n1: loop 1b\nhlt")
    assert result.vmx_exits == {"HLT": 1}
    assert result.context_switches == 0
