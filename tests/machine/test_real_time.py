"""Frames and bytes from outside, which come when they come, and the guest's time beside them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_interrupt_wiring import GATE, IDTR, LONG, PIC_SETUP
from test_machine import program

from toyvisor.guest.library import guest_programs_dir
from toyvisor.guest.program import Program, load_program
from toyvisor.host.console import Console
from toyvisor.host.console_input import InputFile
from toyvisor.host.net import NetBackend
from toyvisor.host.poll import can_read
from toyvisor.host.waiters import WaitQueue
from toyvisor.qemu.machine import Machine
from toyvisor.qemu.vcpu_thread import Outcome

FRAME = bytes(100)


class PipeTap(WaitQueue):
    """A real file with frames in it, all of one length."""

    name = "tap0"

    def __init__(self) -> None:
        super().__init__()
        self.read_end, self.write_end = os.pipe()

    def fileno(self) -> int:
        return self.read_end

    @property
    def readable(self) -> bool:
        return can_read(self.read_end)

    def recv(self) -> bytes | None:
        return os.read(self.read_end, len(FRAME)) if self.readable else None

    def transmit(self, frame: memoryview) -> None:
        raise AssertionError("nobody sends")

    def close(self) -> None:
        os.close(self.read_end)
        os.close(self.write_end)


@pytest.fixture
def tap() -> Iterator[PipeTap]:
    tap = PipeTap()
    yield tap
    tap.close()


def busy_receiver(folder: Path) -> Program:
    """virtio_net_rx, but it never sleeps; and its ring is smaller than what comes at once."""
    text = (guest_programs_dir() / "virtio_net_rx.s").read_text()
    sleep = next(line for line in text.splitlines() if line.endswith("we sleep in KVM"))
    path = folder / "busy.s"
    path.write_text(text.replace(sleep, "        pause"))
    return load_program(path, symbols={"QUEUE_SIZE": 2})


@pytest.mark.parametrize(
    "options",
    [{}, {"ioeventfd": True}, {"ioeventfd": True, "irqfd": True}, {"vhost": True}],
    ids=lambda options: "+".join(options) or "vcpu thread",
)
def test_a_guest_that_never_sleeps_receives_what_comes_after_a_ring_was_full(
    tmp_path: Path, tap: PipeTap, options: dict[str, bool]
) -> None:
    net = NetBackend()
    net.file = tap  # type: ignore[assignment]
    os.write(tap.write_end, 3 * FRAME)
    with Machine(
        busy_receiver(tmp_path), net, options={"virtio-net": options}, registers={"r12": 4}
    ) as machine:
        later = threading.Timer(0.2, os.write, [tap.write_end, FRAME])
        later.start()
        ending = machine.run(200_000_000)
        later.join()
        assert (ending.outcome, machine.vcpu.get_regs().r13) == (Outcome.HALTED, 4)


def echo_guest(pit_irq: str) -> str:
    """Sends one byte back, and then halts for good. The PIT's rate is the slowest."""
    return (
        PIC_SETUP.format(imr=pit_irq) + GATE.format(vector=0x20).replace("handler", "tick")
        + GATE.format(vector=0x24)
        + "xor ebp, ebp\nmov al, 0x34\nout 0x43, al\nmov al, 0\nout 0x40, al\nout 0x40, al\n"
        "mov dx, 0x3f9\nmov al, 1\nout dx, al\n1: sti\nhlt\ntest ebx, ebx\njz 1b\ncli\nhlt\n"
        "handler: mov dx, 0x3f8\nin al, dx\nmov ebx, eax\nout dx, al\nmov al, 0x20\n"
        "out 0x20, al\niretq\n"
        "tick: inc ebp\nmov al, 0x20\nout 0x20, al\niretq\n" + IDTR
    )  # fmt: skip


@pytest.mark.parametrize("imr", ["0xef", "0xee"], ids=["PIT masked", "PIT ticks"])
def test_a_guest_with_a_pit_waits_for_a_key_and_its_time_is_real(tmp_path: Path, imr: str) -> None:
    source = program(tmp_path, f'{LONG}devices = ["pic", "pit", "serial"]', echo_guest(imr))
    read_end, write_end = os.pipe()
    console = Console(input=InputFile(read_end))
    with Machine(source, console=console) as machine:
        later = threading.Timer(0.5, os.write, [write_end, b"x"])
        start, later_cpu = time.monotonic(), time.process_time()
        later.start()
        ending = machine.run(10_000_000)
        passed, worked = time.monotonic() - start, time.process_time() - later_cpu
        later.join()
        regs = machine.vcpu.get_regs()
    os.close(read_end)
    os.close(write_end)
    assert (ending.outcome, console.text) == (Outcome.HALTED, "x")
    assert passed >= 0.5
    assert worked < passed, "it sleeps"
    # 65,536 ticks of 1,193,182 Hz: 18.2 times a second.
    most = int(passed * 18.2) + 1
    assert (8 <= regs.rbp <= most) if imr == "0xee" else regs.rbp == 0


def test_a_tick_in_a_block_that_can_not_be_cut_comes_at_its_end(tmp_path: Path) -> None:
    """No disassembler knows these NOPs: the time slice ends before them, the PIT's time not."""
    nops = 12 * ".byte 0x0f, 0x1e, 0xc0\n"
    code = (
        PIC_SETUP.format(imr="0xfe") + GATE.format(vector=0x20)
        + "xor ebp, ebp\nmov al, 0x34\nout 0x43, al\nmov al, 0xe8\nout 0x40, al\nmov al, 3\n"
        f"out 0x40, al\nsti\n1:\n{nops}cmp ebp, 3\njb 1b\ncli\nhlt\n"
        "handler: inc ebp\nmov al, 0x20\nout 0x20, al\niretq\n" + IDTR
    )  # fmt: skip
    with Machine(program(tmp_path, f'{LONG}devices = ["pic", "pit"]', code)) as machine:
        ending = machine.run(100_000)
        assert (ending.outcome, machine.vcpu.get_regs().rbp) == (Outcome.HALTED, 3)
        assert 12_000 <= machine.vcpu.instructions <= 12_200, "3 times 1000 ticks of 4"
