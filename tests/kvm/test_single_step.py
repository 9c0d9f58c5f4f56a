"""KVM_SET_GUEST_DEBUG: KVM_EXIT_DEBUG behind each instruction, on the toy and on Linux's KVM."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from toyvisor.guest.program import load_program
from toyvisor.kvm import linux
from toyvisor.kvm.api import DR6_SINGLE_STEP, DR7_FIXED, KvmExit
from toyvisor.qemu.accel import AccelName
from toyvisor.qemu.machine import Machine
from toyvisor.qemu.step_log import Step, first_disagreement

ACCELS = [AccelName.TOY] + ([AccelName.KVM] if linux.why_not() is None else [])
both = pytest.mark.parametrize("accel", ACCELS)
Start = Callable[..., Machine]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    @contextmanager
    def start(code: str, accel: AccelName, devices: str = "") -> Iterator[Machine]:
        path = tmp_path / "guest.s"
        block = f'; /// machine\n; title = "t"\n; mode = "long"\n; devices = [{devices}]\n; ///'
        path.write_text(f"{block}\n{code}\n")
        with Machine(load_program(path), accel=accel) as machine:
            machine.vcpu.set_guest_debug(single_step=True)
            yield machine

    return start


def stop(machine: Machine) -> tuple[KvmExit, int]:
    """Run to the next exit: what it is, and RIP, from the program's start."""
    machine.vcpu.run()
    rip = machine.vcpu.get_regs().rip - machine.program.assembly.origin
    return KvmExit(machine.vcpu.kvm_run.exit_reason), rip


@both
def test_every_instruction_is_a_step(start: Start, accel: AccelName) -> None:
    with start(
        "mov eax, 1\nadd eax, eax\nxchg eax, ebx\njmp 1f\nud2\n1: nop\nhlt", accel
    ) as machine:
        places = [stop(machine) for _ in range(5)]
        assert places == [(KvmExit.DEBUG, rip) for rip in (5, 7, 8, 12, 13)]
        assert machine.vcpu.get_regs().rbx == 2


@both
def test_kvm_run_has_the_exception_and_where_it_stands(start: Start, accel: AccelName) -> None:
    with start("nop\nnop\nhlt", accel) as machine:
        stop(machine)
        debug = machine.vcpu.kvm_run.debug
        assert (debug.exception, debug.pc) == (1, machine.program.assembly.origin + 1)
        assert debug.dr6 == DR6_SINGLE_STEP
        # Linux gives the guest's own DR7, whose fixed bit not every KVM sets.
        assert debug.dr7 in ((DR7_FIXED,) if accel is AccelName.TOY else (DR7_FIXED, 0))


def test_a_step_of_the_toy_is_one_instruction_exactly(start: Start) -> None:
    with start("1: add rax, 3\ndec ecx\njnz 1b\nhlt", AccelName.TOY) as machine:
        for count in range(1, 50):
            assert stop(machine)[0] is KvmExit.DEBUG
            assert machine.vcpu.instructions == count


def test_an_access_to_a_device_is_an_exit_and_then_a_step(start: Start) -> None:
    code = "mov edi, 0xd0000000\nmov [rdi+0x18], eax\nmov ecx, 7\nhlt"
    with start(code, AccelName.TOY, '"mmio-nic"') as machine:
        assert [stop(machine) for _ in range(5)] == [
            (KvmExit.DEBUG, 5),
            (KvmExit.MMIO, 5),
            (KvmExit.DEBUG, 8),
            (KvmExit.DEBUG, 13),
            (KvmExit.HLT, 14),
        ]


@both
def test_an_instruction_that_has_exited_can_be_finished_before_the_next_step(
    start: Start, accel: AccelName
) -> None:
    """Linux's emulator says nothing of it; the toy's step ends there."""
    with start("out 0xe9, al\nmov ecx, 7\nhlt", accel, '"debugcon"') as machine:
        assert stop(machine)[0] is KvmExit.IO
        machine.vcpu.complete()
        if accel is AccelName.TOY:
            assert stop(machine) == (KvmExit.DEBUG, 2)
        assert machine.vcpu.get_regs().rip - machine.program.assembly.origin == 2
        assert machine.vcpu.get_regs().rcx == 0
        assert stop(machine) == (KvmExit.DEBUG, 7)


@both
def test_without_it_the_guest_runs_on(start: Start, accel: AccelName) -> None:
    with start("nop\nnop\nnop\nhlt", accel) as machine:
        assert stop(machine) == (KvmExit.DEBUG, 1)
        machine.vcpu.set_guest_debug(single_step=False)
        assert stop(machine) == (KvmExit.HLT, 4)


def counts(machine: Machine) -> tuple[object, ...]:
    ledger = machine.ledger
    returns = {number: n for number, n in enumerate(ledger.userspace) if number != KvmExit.DEBUG}
    hops = [(hop.count, hop.bytes) for hop in ledger.hops]
    return machine.vcpu.instructions, machine.net.sent, returns, hops


def test_stepping_changes_nothing_that_is_counted() -> None:
    """The same exits, copies and instructions, whether it is stepped or not."""
    program = load_program("virtio_net_tx")
    with Machine(program) as plain:
        plain.run()
        expected = counts(plain)
    with Machine(program) as stepped:
        stepped.vcpu.set_guest_debug(single_step=True)
        inner = stepped.vcpu.run

        def over_the_steps() -> None:
            inner()
            while stepped.vcpu.kvm_run.exit_reason == KvmExit.DEBUG:
                inner()

        stepped.vcpu.run = over_the_steps
        stepped.run()
        assert counts(stepped) == expected
        # All but the HLT.
        assert stepped.ledger.userspace[KvmExit.DEBUG] == (stepped.vcpu.instructions or 0) - 1


def step(rip: int, rax: int = 0) -> Step:
    return Step(rip, (rax,))


@pytest.mark.parametrize(
    ("coarse", "first"),
    [
        ([], None),
        ([step(1), step(2), step(3)], None),
        ([step(1), step(3)], None),
        ([step(2), step(1)], 1),
        ([step(1), step(2, rax=5)], 1),
        ([step(1), step(2), step(3), step(4)], 3),
    ],
)
def test_steps_may_be_missing_but_not_differ(coarse: list[Step], first: int | None) -> None:
    assert first_disagreement([step(1), step(2), step(3)], coarse) == first


@both
def test_a_step_that_is_called_off_in_the_middle_does_not_stop(
    start: Start, accel: AccelName
) -> None:
    with start("out 0xe9, al\nnop\nhlt", accel, '"debugcon"') as machine:
        assert stop(machine)[0] is KvmExit.IO
        machine.vcpu.set_guest_debug(single_step=False)
        assert stop(machine) == (KvmExit.HLT, 4)
