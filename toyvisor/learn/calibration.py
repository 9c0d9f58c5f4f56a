"""The cost table, measured on this machine: `toyvisor calibrate`.

Small guests on Linux's KVM do one thing over and over, in the way of QEMU's pci-testdev and of
kvm-unit-tests' vmexit.flat; a cost is the difference of two such loops, so that what they share
cancels. What has nothing to do with a guest (a system call, a context switch, a copy) is timed on
the host. All times are the shortest of several turns, as whatever else the machine does can
only add to them, and become cycles by the rate of its time-stamp counter.

    vmexit              an OUT that an ioeventfd takes, without the loop around it
    mmio_emulation      a store that an ioeventfd takes - an OUT that one takes
    userspace_return    a store that comes out to userspace - one that an ioeventfd takes,
                        - what Python takes for one ioctl()
    interrupt           an exit with an interrupt behind it - the same with the line masked,
                        without the two instructions of its handler
    guest_instruction   a quarter of a loop of four
    syscall             getppid() - a call of Python's own
    context_switch      half of a round trip between two processes on one processor, through pipes,
                        without the reads and writes
    copied_byte         memmove() of 32 KiB - of 2 KiB, a byte of it

What begins a copy, and a ring access, can't be told apart from the rest in this way: they
keep the figures of the shipped table.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from toyvisor.errors import MachineError
from toyvisor.host.real_eventfd import RealEventFd
from toyvisor.kvm import ioctls
from toyvisor.kvm.api import KvmExit, KvmRegs
from toyvisor.learn.cost_model import Cost
from toyvisor.modes import CpuMode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from toyvisor.kvm.linux import LinuxVm
    from toyvisor.kvm.linux_vcpu import LinuxVcpu

_ORIGIN, _RAM_SIZE, _STACK = 0x1000, 0x10000, 0x8000
_PORT, _DOORBELL, _LINE, _VECTORS = 0x600, 0xD0000000, 5, 0x20
_UNMASKED, _MASKED = ~(1 << _LINE) & 0xFF, 0xFF
_LONG, _SHORT = 32 << 10, 2 << 10
_TURNS = 7


@dataclass(frozen=True, slots=True)
class Timed:
    """One measured cost: nanoseconds, and of what."""

    nanoseconds: float
    how: str


@dataclass(frozen=True, slots=True)
class Calibration:
    """All measured costs by the names of the cost table, and of which machine they are.

    What was lost in the noise, as small differences are on a busy machine, is not in `times`.
    """

    times: Mapping[str, Timed]
    #: cycles of the time-stamp counter in a nanosecond
    gigahertz: float
    processor: str
    kvm: str
    linux: str

    @property
    def machine(self) -> str:
        """In a few words."""
        return f"{self.processor}, Linux {self.linux}, {self.kvm}"

    def costs(self) -> dict[str, Cost]:
        """For the cost table."""
        return {
            key: Cost(
                float(f"{timed.nanoseconds * self.gigahertz:.4g}"),
                "measured",
                f"{timed.how}: {timed.nanoseconds:.4g} ns here",
            )
            for key, timed in self.times.items()
        }


def calibrate(seconds: float = 3.0) -> Calibration:
    """Measure, for about so long. Raises MachineError without /dev/kvm."""
    from toyvisor.kvm.linux import ioctl, is_software, module_name

    patience = seconds / 100  # a dozen loops, in seven turns
    times: dict[str, Timed] = {}
    syscall, python_ioctl = _host_calls(patience)
    with _guest(_INSTRUCTIONS) as (_, vcpu):
        gigahertz = ioctl(vcpu.fd, ioctls.GET_TSC_KHZ, 0, "KVM_GET_TSC_KHZ") / 1e6
    instruction = _in_guest(_INSTRUCTIONS, patience) / 4
    pio = _in_guest(_OUTS, patience, pio=True) - 2 * instruction
    mmio = _in_guest(_STORES, patience, pio=False) - 2 * instruction
    userspace = _to_userspace(_STORES, patience) - 2 * instruction - python_ioctl
    times["guest_instruction"] = Timed(instruction, "a loop of additions")
    times["vmexit"] = Timed(pio, "an OUT to an ioeventfd")
    times["mmio_emulation"] = Timed(mmio - pio, "a store to an ioeventfd, less an OUT to one")
    times["userspace_return"] = Timed(
        userspace - mmio, "a store to userspace, less one to an ioeventfd"
    )
    times["copied_byte"] = Timed(_copied_byte(patience), "memmove() of 32 KiB, less of 2 KiB")
    times["syscall"] = Timed(syscall, "getppid()")
    times["context_switch"] = Timed(
        _context_switch(patience), "two processes on one processor, by pipes"
    )
    times["interrupt"] = Timed(
        _interrupt(patience) - 2 * instruction,
        "an exit with an interrupt, less one with the line masked",
    )
    name = module_name() or "KVM built in"
    return Calibration(
        {key: timed for key, timed in times.items() if timed.nanoseconds > 0},
        gigahertz,
        _processor(),
        f"{name}, a software KVM" if is_software() else name,
        os.uname().release.partition("-")[0],
    )


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return os.uname().machine


# Guests -------------------------------------------------------------------------------------

_INSTRUCTIONS = "1: add rax, rcx\nadd rax, 3\ndec rcx\njnz 1b\nhlt"
_OUTS = f"mov edx, {_PORT}\n1: out dx, al\ndec rcx\njnz 1b\nhlt"
_STORES = f"mov edi, {_DOORBELL}\n1: mov [rdi], eax\ndec rcx\njnz 1b\nhlt"
#: In real mode: one exit after the other, interrupts on, the line masked or not (BL).
_INTERRUPTS = f"""
        mov     word ptr [{4 * (_VECTORS + _LINE)}], offset handler
        mov     word ptr [{4 * (_VECTORS + _LINE) + 2}], 0
        mov     al, 0x11                # ICW1: ICW4 will follow
        out     0x20, al
        mov     al, {_VECTORS}          # ICW2
        out     0x21, al
        mov     al, 4                   # ICW3: the slave is at input 2
        out     0x21, al
        mov     al, 3                   # ICW4: 8086, and ends interrupts by itself
        out     0x21, al
        mov     al, bl
        out     0x21, al
        mov     dx, {_PORT}
        sti
1:      out     dx, al
        jmp     1b
handler:
        inc     si
        iret
"""


@contextmanager
def _guest(
    source: str, count: int = 1, mode: CpuMode = CpuMode.LONG, *, irqchip: bool = False
) -> Iterator[tuple[LinuxVm, LinuxVcpu]]:
    """A VM with a piece of code, and RCX as its count."""
    from toyvisor.guest.assembler import assemble_text
    from toyvisor.kvm.linux import LinuxKvm
    from toyvisor.qemu.boot import boot_sregs, write_boot_tables
    from toyvisor.trace.ledger import Ledger

    ram = memoryview(mmap.mmap(-1, _RAM_SIZE))
    write_boot_tables(ram, mode)
    image = assemble_text(source, mode=mode, origin=_ORIGIN).image
    ram[_ORIGIN : _ORIGIN + len(image)] = bytes(image)
    vm = LinuxKvm(Ledger()).create_vm()
    try:
        vm.set_user_memory_region(0, 0, ram)
        if irqchip:
            vm.create_irqchip()
        vcpu = vm.create_vcpu()
        vcpu.set_sregs(boot_sregs(mode))
        vcpu.set_regs(KvmRegs(rip=_ORIGIN, rsp=_STACK, rflags=2, rcx=count))
        yield vm, vcpu
    finally:
        vm.close()


def _in_guest(source: str, patience: float, *, pio: bool | None = None) -> float:
    """Nanoseconds for one round of a loop that stays in the guest and KVM.

    `pio`: an ioeventfd takes its OUTs (True) or stores (False).
    """

    def rounds(count: int) -> float:
        with _guest(source, count) as (vm, vcpu):
            eventfd = RealEventFd("doorbell")
            if pio is not None:
                vm.ioeventfd(eventfd, _PORT if pio else _DOORBELL, 1 if pio else 4, pio=pio)
            begin = time.perf_counter()
            vcpu.run()
            elapsed = time.perf_counter() - begin
            signalled = eventfd.read()
            eventfd.close()
            _check(vcpu.kvm_run.exit_reason == KvmExit.HLT, "the loop did not end")
            _check(signalled == (0 if pio is None else count), "eventfds were not signalled")
        return elapsed

    return _per_round(rounds, patience)


def _to_userspace(source: str, patience: float) -> float:
    """Nanoseconds for one round of a loop that comes out each time; Python's ioctl() included."""

    def rounds(count: int) -> float:
        with _guest(source, count + 2) as (_, vcpu):
            fd, run, ioctl = vcpu.fd, ioctls.RUN, fcntl.ioctl
            ioctl(fd, run, 0)
            begin = time.perf_counter()
            for _ in range(count):
                ioctl(fd, run, 0)
            elapsed = time.perf_counter() - begin
            _check(vcpu.kvm_run.exit_reason == KvmExit.MMIO, "a store did not come out")
        return elapsed

    return _per_round(rounds, patience)


def _check(holds: bool, what: str) -> None:
    if not holds:
        raise MachineError(f"this KVM can't be measured: {what}")


def _interrupt(patience: float) -> float:
    """Nanoseconds that one interrupt adds to an exit."""
    taken, masked = _times_per_round(
        (partial(_interrupts, _UNMASKED), partial(_interrupts, _MASKED)), patience
    )
    return taken - masked


def _interrupts(mask: int, count: int) -> float:
    with _guest(_INTERRUPTS, mode=CpuMode.REAL, irqchip=True) as (vm, vcpu):
        vcpu.set_regs(KvmRegs(rip=_ORIGIN, rsp=_STACK, rflags=2, rbx=mask))
        vcpu.run()
        begin = time.perf_counter()
        for _ in range(count):
            vm.irq_line(_LINE, 1)
            vm.irq_line(_LINE, 0)
            vcpu.run()
        elapsed = time.perf_counter() - begin
        taken = vcpu.get_regs().rsi & 0xFFFF
        _check(taken == (0 if mask == _MASKED else count & 0xFFFF), "interrupts were lost")
    return elapsed


def _per_round(rounds: Callable[[int], float], patience: float) -> float:
    """Nanoseconds for one: as many rounds as take so long, in several turns."""
    return _times_per_round((rounds,), patience)[0]


def _times_per_round(loops: Sequence[Callable[[int], float]], patience: float) -> list[float]:
    """The same for several that are to be compared, turn by turn."""
    count = 100
    while (elapsed := loops[0](count)) < patience / 4 and count < 1 << 26:
        count *= 4
    count = max(100, int(count * patience / max(elapsed, 1e-9)))
    turns = [[rounds(count) for rounds in loops] for _ in range(_TURNS)]
    return [min(times) / count * 1e9 for times in zip(*turns, strict=True)]


# The host -----------------------------------------------------------------------------------


def _host_calls(patience: float) -> tuple[float, float]:
    """Nanoseconds of a system call, and of what Python adds to an ioctl()."""
    with _guest(_INSTRUCTIONS) as (vm, _):
        syscall = _calls(os.getppid, patience) - _calls(sys.getrecursionlimit, patience)
        # One that does next to nothing: what is left is the way there and back.
        cheap = partial(fcntl.ioctl, vm.fd, ioctls.CHECK_EXTENSION, 0)
        whole = _calls(cheap, patience)
    return syscall, max(0.0, whole - syscall)


def _calls(call: Callable[[], object], patience: float) -> float:
    def rounds(count: int) -> float:
        begin = time.perf_counter()
        for _ in range(count):
            call()
        return time.perf_counter() - begin

    return _per_round(rounds, patience)


def _copied_byte(patience: float) -> float:
    source, target = (ctypes.create_string_buffer(_LONG) for _ in range(2))
    move = ctypes.memmove
    long, short = (
        _calls(partial(move, target, source, size), patience) for size in (_LONG, _SHORT)
    )
    return (long - short) / (_LONG - _SHORT)


_ECHO = """
import os, sys
source, target = map(int, sys.argv[1:])
while os.read(source, 1):
    os.write(target, b"x")
"""


def _context_switch(patience: float) -> float:
    """Nanoseconds from one process to another that it has woken, on one processor."""
    there, back = os.pipe(), os.pipe()
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(mine)})  # the other one inherits it
    try:
        ends = there[0], back[1]
        other = subprocess.Popen(
            [sys.executable, "-S", "-c", _ECHO, *map(str, ends)], pass_fds=ends
        )

        def round_trip() -> None:
            os.write(there[1], b"x")
            os.read(back[0], 1)

        def alone() -> None:
            os.write(back[1], b"x")
            os.read(back[0], 1)

        round_trip()  # it is up
        both = _calls(round_trip, patience)
        os.close(there[1])
        other.wait()
        return (both - 2 * _calls(alone, patience)) / 2
    finally:
        os.sched_setaffinity(0, mine)
        for end in (there[0], *back):
            os.close(end)
