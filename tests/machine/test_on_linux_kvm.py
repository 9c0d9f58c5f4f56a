"""A machine on Linux's KVM: it ends when it should, and lets go of everything it took."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toyvisor.cli import main
from toyvisor.errors import MachineError, SourceError, UsageError
from toyvisor.guest.program import Program, load_program
from toyvisor.host.console import Console
from toyvisor.host.console_input import InputFile
from toyvisor.kvm import linux, linux_vcpu
from toyvisor.kvm.api import KvmExit
from toyvisor.qemu.accel import AccelName
from toyvisor.qemu.machine import Machine
from toyvisor.qemu.vcpu_thread import Ending, Outcome

needs_kvm = pytest.mark.skipif(linux.why_not() is not None, reason=f"{linux.why_not()}")

WITH_PIC = 'title = "t"\nmode = "long"\ndevices = ["pic", "pit", "debugcon"]'


def program(folder: Path, code: str, block: str = 'title = "t"\nmode = "long"') -> Program:
    lines = "\n".join(f"; {line}" for line in ["/// machine", *block.splitlines(), "///"])
    path = folder / "guest.s"
    path.write_text(f"{lines}\n{code}\n")
    return load_program(path)


def run(of: Program, seconds: float = 5.0) -> tuple[Ending, Machine, float]:
    with Machine(of, accel=AccelName.KVM) as machine:
        begin = time.monotonic()
        ending = machine.run(max_seconds=seconds)
        return ending, machine, time.monotonic() - begin


# Ends -------------------------------------------------------------------------------------


@needs_kvm
def test_a_guest_that_never_exits_is_stopped_when_its_time_is_up(tmp_path: Path) -> None:
    ending, machine, took = run(program(tmp_path, "1: jmp 1b"), seconds=0.2)
    assert ending.outcome is Outcome.BUDGET
    assert ending.explanation.startswith("the guest was still running after 0.2 seconds")
    assert 0.2 <= took < 1.0
    assert machine.ledger.userspace[KvmExit.INTR] == 1


@needs_kvm
def test_a_guest_that_always_exits_is_stopped_too(tmp_path: Path) -> None:
    ending, machine, took = run(program(tmp_path, "1: out 0xe9, al\njmp 1b"), seconds=0.2)
    assert ending.outcome is Outcome.BUDGET
    assert took < 1.0
    assert machine.ledger.userspace[KvmExit.IO] > 100


@needs_kvm
def test_hlt_without_interrupt_controllers_comes_out_to_qemu(tmp_path: Path) -> None:
    ending, machine, _ = run(program(tmp_path, "mov eax, 7\nhlt"))
    assert ending == Ending(Outcome.HALTED, "the guest executed HLT")
    assert machine.ledger.userspace_exits == machine.ledger.userspace[KvmExit.HLT] == 1


@needs_kvm
@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("cli\nhlt", "the guest executed HLT with interrupts off: only an NMI could wake it"),
        ("sti\nhlt", "the guest waits in HLT, and no interrupt is to come"),
    ],
)
def test_a_guest_that_sleeps_for_good_in_the_kernel_ends_soon(
    tmp_path: Path, code: str, why: str
) -> None:
    """KVM_RUN would never return: somebody has to look."""
    ending, _, took = run(program(tmp_path, code, WITH_PIC))
    assert ending == Ending(Outcome.HALTED, why)
    assert took < 1.0


@needs_kvm
def test_a_guest_that_the_slowest_timer_wakes_is_left_to_sleep(tmp_path: Path) -> None:
    """65536 ticks are 55 ms; it waits for six of them, and no exit goes to QEMU meanwhile."""
    code = """
.include "machine.inc"
.include "idt.inc"
_start: idt_gate64 PIC_MASTER_VECTORS, tick
        lidt    [idtr]
        call    pic_init
        mov     al, 0
        call    pic_unmask
        mov     al, 0x34                # counter 0, two bytes, mode 2
        out     0x43, al
        xor     eax, eax                # 0 is 65536
        out     0x40, al
        out     0x40, al
        xor     ebx, ebx
        sti
1:      hlt
        cmp     ebx, 6
        jb      1b
        cli
        hlt
tick:   inc     ebx
        push    rax
        mov     al, 0x20
        out     PIC_MASTER_CMD, al
        pop     rax
        iretq
idtr:   idt_pointer64
.include "pic.inc"
"""
    ending, machine, took = run(program(tmp_path, code, WITH_PIC))
    assert ending.outcome is Outcome.HALTED
    assert machine.ledger.userspace[KvmExit.IO] == 0
    assert 0.3 < took < 1.5


@needs_kvm
def test_a_shutdown_says_where_and_who_knows_more(tmp_path: Path) -> None:
    ending, _, _ = run(program(tmp_path, "nop\nud2"))
    assert ending.outcome is Outcome.SHUTDOWN
    assert "triple fault at RIP 0x100001" in ending.explanation
    assert "without --accel kvm" in ending.explanation


@needs_kvm
def test_code_where_there_is_no_ram_is_an_internal_error(tmp_path: Path) -> None:
    ending, _, _ = run(program(tmp_path, "mov eax, 0xe0000000\njmp rax"))
    assert ending.outcome is Outcome.INTERNAL_ERROR
    assert ending.explanation.startswith("KVM_INTERNAL_ERROR_EMULATION: ")
    assert "RIP 0xe0000000" in ending.explanation


@needs_kvm
def test_an_nmi_comes_in_without_a_controller(tmp_path: Path) -> None:
    """KVM_NMI wakes a guest even with interrupts off."""
    code = """
.include "machine.inc"
.include "idt.inc"
_start: idt_gate64 2, nmi
        lidt    [idtr]
        out     0xe9, al
        mov     ecx, 1
        hlt
nmi:    mov     ebx, 0x77
        iretq
idtr:   idt_pointer64
"""
    with Machine(program(tmp_path, code), accel=AccelName.KVM) as machine:
        vcpu = machine.vcpu
        assert isinstance(vcpu, linux_vcpu.LinuxVcpu)
        vcpu.run()
        assert vcpu.kvm_run.exit_reason == KvmExit.IO
        vcpu.nmi()
        vcpu.run()
        assert vcpu.get_regs().rbx == 0x77


# Interruptions ----------------------------------------------------------------------------


@needs_kvm
def test_ctrl_c_gets_a_guest_out_of_kvm_run(tmp_path: Path) -> None:
    path = program(tmp_path, "1: jmp 1b").path
    command = [sys.executable, "-m", "toyvisor", "run", str(path), "--accel", "kvm"]
    process = subprocess.Popen([*command, "--max-seconds", "60"], stderr=subprocess.PIPE)
    time.sleep(0.6)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    assert process.returncode == 130
    assert b"guest.s:" in errors
    assert b"Traceback" not in errors


@needs_kvm
@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.floats(0, 0.02), st.booleans())
def test_a_signal_at_any_moment_is_not_missed(
    tmp_path_factory: pytest.TempPathFactory, delay: float, exits: bool
) -> None:
    """Right before the system call is the moment that immediate_exit is there for."""
    code = "1: out 0xe9, al\njmp 1b" if exits else "1: jmp 1b"
    of = program(tmp_path_factory.getbasetemp(), code)
    with Machine(of, accel=AccelName.KVM) as machine:
        before = signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
        inner = machine.vcpu.run

        def first_run() -> None:
            machine.vcpu.run = inner
            signal.setitimer(signal.ITIMER_REAL, delay or 1e-6)
            inner()

        machine.vcpu.run = first_run
        begin = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            machine.run(max_seconds=20)
        assert time.monotonic() - begin < 2
        signal.signal(signal.SIGALRM, before)


@needs_kvm
def test_signal_handlers_are_as_before_when_the_run_is_over(tmp_path: Path) -> None:
    def mine(_number: int, _frame: object) -> None: ...

    before = signal.signal(linux_vcpu.SIG_IPI, mine)
    try:
        run(program(tmp_path, "hlt"))
        assert signal.getsignal(linux_vcpu.SIG_IPI) is mine
        assert signal.set_wakeup_fd(-1) == -1
    finally:
        signal.signal(linux_vcpu.SIG_IPI, before)


@needs_kvm
def test_another_thread_than_the_main_one_is_told_that_it_can_not(tmp_path: Path) -> None:
    caught: list[BaseException] = []
    of = program(tmp_path, "hlt")

    def elsewhere() -> None:
        try:
            run(of)
        except UsageError as error:
            caught.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert "in the main thread only" in str(caught[0])


@needs_kvm
def test_what_goes_wrong_beside_the_guest_ends_the_run(tmp_path: Path) -> None:
    """A fault in a handler of QEMU's main loop is not lost in its thread."""

    def fails() -> None:
        raise ZeroDivisionError

    block = 'title = "t"\nmode = "long"\ndevices = ["pic", "virtio-net"]'
    with Machine(program(tmp_path, "1: jmp 1b", block), accel=AccelName.KVM) as machine:
        machine.board.main_loop.schedule_bh(fails)
        with pytest.raises(ZeroDivisionError):
            machine.run(max_seconds=20)


# What a run takes and gives back ------------------------------------------------------------


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@needs_kvm
@pytest.mark.parametrize("options", [{}, {"vhost": True}], ids=["plain", "vhost"])
def test_a_machine_that_is_closed_leaves_no_file_open(options: dict[str, bool]) -> None:
    of = load_program("virtio_net_rx")
    wanted = {"virtio-net": options} if options else {}
    with Machine(of, accel=AccelName.KVM, options=wanted) as machine:
        machine.run(max_seconds=0.2)
    before = descriptors()
    for _ in range(3):
        with Machine(of, accel=AccelName.KVM, options=wanted) as machine:
            machine.run(max_seconds=0.2)
    assert descriptors() == before
    assert "host" not in [thread.name for thread in threading.enumerate()]


@needs_kvm
def test_a_machine_that_can_not_be_built_leaves_no_file_open(tmp_path: Path) -> None:
    block = 'title = "t"\nmode = "long"\ndevices = ["pic", "nonsense"]'
    of = program(tmp_path, "hlt", block)
    before = descriptors()
    for _ in range(3):
        with pytest.raises(SourceError, match="nonsense"):
            Machine(of, accel=AccelName.KVM)
    assert descriptors() == before


# Where there is none --------------------------------------------------------------------------


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Make opening /dev/kvm fail with an errno."""

    def fail(number: int) -> None:
        real = os.open

        def open_(path: str, *arguments: int) -> int:
            if path == linux.DEVICE:
                raise OSError(number, os.strerror(number), path)
            return real(path, *arguments)

        monkeypatch.setattr(os, "open", open_)

    return fail


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOENT, "/dev/kvm: No such file or directory (hint: this machine has no KVM"),
        (errno.EACCES, "/dev/kvm: Permission denied (hint: you may not open it"),
        (errno.EBUSY, "/dev/kvm: Device or resource busy"),
    ],
)
@pytest.mark.parametrize(
    "command",
    [
        ("run", "add", "--accel", "kvm"),
        ("run", "add", "--accel", "both"),
        ("compare", "--accel", "both"),
        ("calibrate",),
    ],
)
def test_without_kvm_it_says_so_and_what_to_do(
    refuse: Callable[[int], None],
    capsys: pytest.CaptureFixture[str],
    command: tuple[str, ...],
    number: int,
    words: str,
) -> None:
    refuse(number)
    assert main(list(command)) == 2
    assert words in capsys.readouterr().err


def test_a_device_that_is_no_kvm_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linux, "DEVICE", "/dev/null")
    with pytest.raises(MachineError, match="is no KVM"):
        Machine(load_program("add"), accel=AccelName.KVM)


def test_doctor_says_what_is_missing(
    refuse: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    refuse(errno.EACCES)
    assert main(["doctor"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if "/dev/kvm" in line)
    assert line.startswith("--")
    assert "Permission denied" in line
    assert "no --accel kvm" in line


@needs_kvm
def test_doctor_runs_a_guest_on_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if "/dev/kvm" in line)
    assert line.startswith("ok")
    assert "2 + 2 is 4, halted" in line


def test_the_module_is_named_and_a_software_one_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Sys:
        def __init__(self, *_: str) -> None: ...

        def glob(self, pattern: str) -> Iterator[Path]:
            return tmp_path.glob(pattern)

    monkeypatch.setattr(linux, "Path", Sys)
    assert (linux.module_name(), linux.is_software()) == (None, False)
    (tmp_path / "kvm_pvm").mkdir()
    assert (linux.module_name(), linux.is_software()) == ("kvm_pvm", True)
    (tmp_path / "kvm_amd").mkdir()
    assert (linux.module_name(), linux.is_software()) == ("kvm_amd", False)


@needs_kvm
def test_a_guest_that_wants_no_more_interrupts_ends_though_input_could_come(
    tmp_path: Path,
) -> None:
    """Nothing that comes in could wake it: it does not wait for the terminal."""
    block = 'title = "t"\nmode = "long"\ndevices = ["pic", "serial"]'
    ends = os.pipe()
    console = Console(input=InputFile(ends[0]))
    of = program(tmp_path, "cli\nhlt", block)
    with Machine(of, console=console, accel=AccelName.KVM) as machine:
        begin = time.monotonic()
        assert machine.run(max_seconds=5).outcome is Outcome.HALTED
        assert time.monotonic() - begin < 1
    for end in ends:
        os.close(end)


@needs_kvm
def test_looking_at_a_guest_becomes_seldom(tmp_path: Path) -> None:
    """Each look is a signal and an exit; a guest that computes is not to be slowed by them."""
    with Machine(program(tmp_path, "1: jmp 1b"), accel=AccelName.KVM) as machine:
        looks = []
        look = machine.vcpu.look
        machine.vcpu.look = lambda: (looks.append(1), look())
        machine.run(max_seconds=1)
    assert 2 <= len(looks) <= 8


_RESETS = """
.include "machine.inc"
.include "virtio.inc"
_start: mov     edi, MMIO_BASE
        mov     ecx, 60
1:      mov     dword ptr [rdi + VIRTIO_MMIO_STATUS], 0
        mov     dword ptr [rdi + VIRTIO_MMIO_STATUS], 1
        mov     dword ptr [rdi + VIRTIO_MMIO_STATUS], 3
        mov     dword ptr [rdi + VIRTIO_MMIO_DRIVER_FEATURES_SEL], 1
        mov     dword ptr [rdi + VIRTIO_MMIO_DRIVER_FEATURES], 1
        mov     dword ptr [rdi + VIRTIO_MMIO_STATUS], 11
        mov     dword ptr [rdi + VIRTIO_MMIO_STATUS], 15
        dec     ecx
        jnz     1b
        cli
        hlt
"""


@needs_kvm
@pytest.mark.parametrize("option", ["ioeventfd", "vhost"])
def test_a_guest_that_resets_its_device_for_ever_costs_no_files(
    tmp_path: Path, option: str
) -> None:
    """Each DRIVER_OK takes eventfds, each reset gives them back."""
    block = (
        f'title = "t"\nmode = "long"\ndevices = ["pic", {{type = "virtio-net", {option} = true}}]'
    )
    with Machine(program(tmp_path, _RESETS, block), accel=AccelName.KVM) as machine:
        before = descriptors()
        assert machine.run(max_seconds=10).outcome is Outcome.HALTED
        assert machine.ledger.userspace[KvmExit.MMIO] >= 60 * 7
        assert descriptors() < before + 12


@needs_kvm
def test_a_machine_can_be_run_again_and_closed_twice(tmp_path: Path) -> None:
    machine = Machine(program(tmp_path, "1: inc rax\njmp 1b"), accel=AccelName.KVM)
    assert machine.run(max_seconds=0.1).outcome is Outcome.BUDGET
    first = machine.vcpu.get_regs().rax
    begin = time.monotonic()
    assert machine.run(max_seconds=0.1).outcome is Outcome.BUDGET
    assert time.monotonic() - begin >= 0.1
    assert machine.vcpu.get_regs().rax > first
    machine.close()
    machine.close()


@needs_kvm
def test_a_second_ctrl_c_leaves_while_another_thread_is_at_work(tmp_path: Path) -> None:
    """It comes as KeyboardInterrupt wherever the thread is: here, waiting for its turn."""
    before = signal.getsignal(signal.SIGINT)
    with Machine(program(tmp_path, "1: jmp 1b"), accel=AccelName.KVM) as machine:

        def holds_the_lock() -> None:
            for _ in range(2):
                time.sleep(0.2)
                os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.3)

        machine.kernel.timers.add(1000, holds_the_lock)
        with pytest.raises(KeyboardInterrupt):
            machine.run(max_seconds=20)
    assert signal.getsignal(signal.SIGINT) is before
    assert signal.set_wakeup_fd(-1) == -1
