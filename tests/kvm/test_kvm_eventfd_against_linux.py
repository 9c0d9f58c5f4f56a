"""ioeventfd and irqfd of the toy KVM against Linux's own: the same stores, the same answers.

A guest makes one access after the other; after each it tells userspace with an OUT. Compared
is, for each of them, which eventfds were signalled, and what came out to userspace.
"""

from __future__ import annotations

import mmap
import os
import random

import linux_eventfd
import linux_kvm
import pytest

from toyvisor.errors import UsageError
from toyvisor.guest.assembler import assemble_text
from toyvisor.host.eventfd import EventFd
from toyvisor.kvm.api import KvmExit, KvmRegs
from toyvisor.kvm.vm import Kvm
from toyvisor.modes import CpuMode
from toyvisor.qemu.boot import boot_sregs, write_boot_tables
from toyvisor.trace.events import Trace
from toyvisor.trace.ledger import Ledger

if why_not := linux_kvm.why_not():
    pytest.skip(f"needs Linux's KVM: {why_not}", allow_module_level=True)

CODE, DEVICE, RAM = 0x1000, 0xD0000000, 0x80000
PORT, MARK = 0x300, 0x12
REGISTERS = {1: "al", 2: "ax", 4: "eax", 8: "rax"}

#: (address or port, length, datamatch, is it a port)
Assigned = tuple[int, int, int | None, bool]

ONE_OF_EACH: tuple[Assigned, ...] = (
    (DEVICE + 0x50, 4, 0, False),
    (DEVICE + 0x50, 4, 1, False),
    (DEVICE + 0x50, 2, 1, False),
    (DEVICE + 0x60, 4, None, False),
    (DEVICE + 0x70, 0, None, False),
    (DEVICE + 0x80, 1, None, False),
    (DEVICE + 0x90, 8, 1 << 40, False),
    (DEVICE + 0xA0, 2, 0x10001, False),
    (DEVICE + 0xFFE, 4, None, False),
    (DEVICE + 0x1000, 0, None, False),  # at the beginning of a page
    (PORT, 2, 7, True),
    (PORT + 0x10, 0, None, True),
    (PORT + 0x20, 1, None, True),
    (PORT + 0x30, 4, None, True),
    (PORT + 0x31, 1, None, True),
)
#: No store fits: its data has 16 bits; KVM cuts a store in two where a page ends.
NEVER = ((DEVICE + 0xA0, 2, 0x10001, False), (DEVICE + 0xFFE, 4, None, False))


def store(address: int, size: int, value: int) -> str:
    return f"mov rdi, {address:#x}\nmov rax, {value:#x}\nmov [rdi], {REGISTERS[size]}\n"


def out(port: int, size: int, value: int) -> str:
    return f"mov edx, {port:#x}\nmov eax, {value:#x}\nout dx, {REGISTERS[size]}\n"


def load(address: int, size: int) -> str:
    return f"mov rdi, {address:#x}\nmov {REGISTERS[size]}, [rdi]\n"


def around(assigned: Assigned) -> list[str]:
    """Accesses that hit it, and accesses that just don't."""
    address, length, datamatch, is_port = assigned
    form, sizes = (out, (1, 2, 4)) if is_port else (store, (1, 2, 4, 8))
    value = 5 if datamatch is None else datamatch
    accesses = []
    for size in sizes:
        for data in (value, value ^ 1, value | 1 << 33, 0):
            if not is_port or data < 1 << 32:
                accesses.append(form(address, size, data))
        accesses += [form(address + offset, size, value % (1 << 32)) for offset in (-1, 1)]
    if not is_port and length:
        accesses.append(load(address, length))
    return accesses


def program(accesses: list[str]) -> bytes:
    text = "".join(f"{access}out {MARK:#x}, al\n" for access in accesses)
    return assemble_text(f"{text}hlt", mode=CpuMode.LONG, origin=CODE).image


def start(vcpu: object, ram: mmap.mmap, code: bytes) -> None:
    write_boot_tables(memoryview(ram), CpuMode.LONG)
    ram[CODE : CODE + len(code)] = code
    vcpu.set_sregs(boot_sregs(CpuMode.LONG))
    vcpu.set_regs(KvmRegs(rip=CODE, rflags=2, rsp=0x8FF0))


def play(vcpu: object, take: object) -> list[object]:
    """What each access led to: the exits to userspace, then what the eventfds had."""
    kvm_run = vcpu.kvm_run
    happened: list[object] = []
    while True:
        vcpu.run()
        fields = kvm_run.fields
        if fields.exit_reason == KvmExit.MMIO:
            mmio = kvm_run.mmio
            data = bytes(mmio.data[: mmio.len]) if mmio.is_write else b""
            happened.append((mmio.phys_addr, mmio.len, mmio.is_write, data))
            mmio.data[:] = [0] * 8
        elif fields.exit_reason == KvmExit.IO and kvm_run.io.port == MARK:
            happened.append(take())
        elif fields.exit_reason == KvmExit.IO:
            happened.append((kvm_run.io.port, kvm_run.io.size, kvm_run.io.direction))
        else:
            assert fields.exit_reason == KvmExit.HLT
            return happened


def on_the_toy(assigned: tuple[Assigned, ...], code: bytes) -> list[object]:
    ram = mmap.mmap(-1, RAM)
    vm = Kvm(Ledger(Trace())).create_vm()
    vm.set_user_memory_region(0, 0, memoryview(ram))
    eventfds = [EventFd("kick") for _ in assigned]
    for eventfd, (address, length, datamatch, pio) in zip(eventfds, assigned, strict=True):
        vm.ioeventfd(eventfd, address, length, datamatch, pio=pio)
    vcpu = vm.create_vcpu()
    start(vcpu, ram, code)
    try:
        return play(vcpu, lambda: [eventfd.read() for eventfd in eventfds])
    finally:
        vm.close()


def on_linux(assigned: tuple[Assigned, ...], code: bytes) -> list[object]:
    ram = mmap.mmap(-1, RAM)
    vm = linux_kvm.LinuxVm({0: ram})
    eventfds = [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in assigned]
    try:
        for eventfd, (address, length, datamatch, pio) in zip(eventfds, assigned, strict=True):
            assert (
                linux_eventfd.ioeventfd(vm.vm, eventfd, address, length, datamatch, pio=pio) is None
            )
        start(vm, ram, code)
        with linux_kvm.TimeLimit(vm, 5):
            return play(vm, lambda: [linux_eventfd.take(eventfd) for eventfd in eventfds])
    finally:
        vm.close()
        for eventfd in eventfds:
            os.close(eventfd)


@pytest.mark.parametrize("assigned", ONE_OF_EACH, ids=str)
def test_the_same_stores_signal(assigned: Assigned) -> None:
    accesses = around(assigned)
    code = program(accesses)
    ours, theirs = on_the_toy((assigned,), code), on_linux((assigned,), code)
    assert ours == theirs
    marks = [entry for entry in theirs if isinstance(entry, list)]
    assert len(marks) == len(accesses)
    # The test is none if nothing hits, or everything.
    assert ([1] in marks) is (assigned not in NEVER)
    assert [0] in marks


@pytest.mark.parametrize("seed", range(3))
def test_many_side_by_side(seed: int) -> None:
    accesses = [access for assigned in ONE_OF_EACH for access in around(assigned)]
    random.Random(seed).shuffle(accesses)
    code = program(accesses[:150])
    ours, theirs = on_the_toy(ONE_OF_EACH, code), on_linux(ONE_OF_EACH, code)
    assert ours == theirs
    signals = [entry for entry in theirs if isinstance(entry, list)]
    assert all(sum(counts) <= 1 for counts in signals)
    assert sum(map(sum, signals)) > 20


# The ioctl ---------------------------------------------------------------------------------

#: what is there already, and what is asked for
COLLISIONS: list[tuple[Assigned, Assigned]] = [
    (there, (there[0] + offset, length, datamatch, there[3] ^ other_bus))
    for there in ((PORT, 4, None, False), (PORT, 4, 5, False), (PORT, 0, None, False))
    for offset in (0, 1)
    for other_bus in (False, True)
    for length, datamatch in ((0, None), (2, None), (2, 5), (4, None), (4, 5), (4, 6), (8, 5))
]
MISTAKES: list[Assigned] = [
    *((DEVICE, length, None, False) for length in (3, 5, 6, 7, 9, 16, 1 << 16)),
    (DEVICE, 0, 0, False),
    (PORT, 0, 1, True),
    (2**64 - 1, 1, None, False),
    (2**64 - 4, 4, None, False),
    (2**64 - 4, 8, None, False),
    (2**64 - 5, 4, None, False),
    (2**64 - 1, 0, None, False),
]


class Both:
    """The same ioctls on both; the toy's words stand for an errno."""

    def __init__(self) -> None:
        self.linux = linux_eventfd.BareVm()
        self.toy = Kvm(Ledger(Trace())).create_vm()
        self.toy.create_irqchip()
        self.real = [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(2)]
        self.ours = [EventFd(f"eventfd {number}") for number in range(2)]

    def ioeventfd(self, which: int, args: Assigned, *, deassign: bool = False) -> str | None:
        address, length, datamatch, pio = args
        error = linux_eventfd.ioeventfd(
            self.linux.vm, self.real[which], address, length, datamatch, pio=pio, deassign=deassign
        )
        try:
            self.toy.ioeventfd(
                self.ours[which], address, length, datamatch, pio=pio, deassign=deassign
            )
        except UsageError:
            assert error is not None, "the toy alone refuses"
        else:
            assert error is None, f"Linux alone refuses: {error}"
        return error

    def irqfd(self, which: int, gsi: int, *, deassign: bool = False) -> str | None:
        error = linux_eventfd.irqfd(self.linux.vm, self.real[which], gsi, deassign=deassign)
        try:
            self.toy.irqfd(self.ours[which], gsi, deassign=deassign)
        except UsageError:
            assert error is not None, "the toy alone refuses"
        else:
            assert error is None, f"Linux alone refuses: {error}"
        return error

    def counts(self) -> list[int]:
        real = [linux_eventfd.take(eventfd) for eventfd in self.real]
        assert [eventfd.read() for eventfd in self.ours] == real
        return real


@pytest.fixture
def both() -> object:
    both = Both()
    yield both
    both.linux.close()
    for eventfd in both.real:
        os.close(eventfd)


def test_collisions(both: Both) -> None:
    refused = 0
    for there, asked in COLLISIONS:
        assert both.ioeventfd(0, there) is None
        error = both.ioeventfd(1, asked)
        if error is None:
            both.ioeventfd(1, asked, deassign=True)
        else:
            assert error == "EEXIST"
            refused += 1
        assert both.ioeventfd(0, there, deassign=True) is None
    assert 0 < refused < len(COLLISIONS)


@pytest.mark.parametrize("args", MISTAKES, ids=str)
def test_mistakes(both: Both, args: Assigned) -> None:
    assert both.ioeventfd(0, args) in ("EINVAL", None)


def test_only_what_was_assigned_can_be_deassigned(both: Both) -> None:
    there = (DEVICE, 4, 1, False)
    assert both.ioeventfd(0, there) is None
    for other in ((DEVICE, 4, 2, False), (DEVICE, 4, None, False), (DEVICE, 2, 1, False)):
        assert both.ioeventfd(0, other, deassign=True) == "ENOENT"
    assert both.ioeventfd(0, (DEVICE, 4, 1, True), deassign=True) == "ENOENT"
    assert both.ioeventfd(1, there, deassign=True) == "ENOENT"
    assert both.ioeventfd(0, there, deassign=True) is None
    assert both.ioeventfd(0, there, deassign=True) == "ENOENT"


def test_one_eventfd_interrupts_one_line_only(both: Both) -> None:
    assert both.irqfd(0, 5) is None
    assert both.irqfd(0, 5) == "EBUSY"
    assert both.irqfd(0, 6) == "EBUSY"
    assert both.irqfd(1, 5) is None
    assert both.irqfd(0, 6, deassign=True) is None  # there is none: no error
    assert both.irqfd(0, 6) == "EBUSY"
    assert both.irqfd(0, 5, deassign=True) is None
    assert both.irqfd(0, 6) is None


def test_kvm_takes_the_counter_of_an_irqfd(both: Both) -> None:
    """Since Linux 5.11; before, QEMU could have asked the eventfd whether vhost had called."""
    both.irqfd(0, 5)
    for _ in range(3):
        os.eventfd_write(both.real[0], 1)
        os.eventfd_write(both.real[1], 1)
        for eventfd in both.ours:
            eventfd.signal()
    assert both.counts() == [0, 3]
    both.irqfd(0, 5, deassign=True)
    os.eventfd_write(both.real[0], 1)
    both.ours[0].signal()
    assert both.counts() == [1, 0]


def test_a_signal_requests_an_interrupt(both: Both) -> None:
    both.irqfd(0, 5)
    os.eventfd_write(both.real[0], 1)
    both.ours[0].signal()
    assert both.linux.requests() == 1 << 5
    assert both.toy.irqchip is not None
    assert both.toy.irqchip.get_irqchip()[0].irr == 1 << 5


def test_a_signal_from_before_interrupts_at_once_and_stays_in_the_counter(both: Both) -> None:
    os.eventfd_write(both.real[0], 1)
    both.ours[0].signal()
    both.irqfd(0, 3)
    assert both.linux.requests() == 1 << 3
    assert both.toy.irqchip is not None
    assert both.toy.irqchip.get_irqchip()[0].irr == 1 << 3
    assert both.counts() == [1, 0]
