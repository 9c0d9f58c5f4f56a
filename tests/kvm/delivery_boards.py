"""The same guest on the toy's KVM and on Linux's, and what can be seen of its life.

A story is a list of stops, one for each return of KVM_RUN: what it was for, where the guest
stood, and at a handler's OUT the frame it found.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field

import linux_kvm
from delivery_kit import (
    CODE,
    GDT,
    HANDLER_PORT,
    HANDLERS,
    IDT,
    IOPL3,
    MODES,
    NO_PAGE,
    PAGE_TABLES,
    RAM_END,
    RF,
    Guest,
    P,
    U,
    W,
)

from toyvisor.cpu.events import DF
from toyvisor.kvm.api import KvmExit, KvmRegs, KvmSregs
from toyvisor.kvm.vm import Kvm
from toyvisor.modes import CR0_PG
from toyvisor.qemu.boot import boot_sregs
from toyvisor.trace.ledger import Ledger

#: A page without RAM behind it, mapped where NO_PAGE is, if the guest wants a device.
DEVICE = 0x50000
END_PORT = 0x11
MOST_STOPS = 12
SECONDS = 1.0
#: CF, PF, AF, ZF, SF, TF, IF, DF, OF, IOPL, NT
FLAGS = 0x7FD5


@dataclass
class Stop:
    """One return of KVM_RUN."""

    what: tuple[object, ...]
    rip: int
    rsp: int
    rflags: int
    cs: int
    ss: int
    cr2: int
    #: At a handler: its vector, and the words it finds, lowest first.
    vector: int | None = None
    frame: list[int] = field(default_factory=list)
    #: Which of them is the flags.
    flags_at: int = 0

    def seen(self, flags: int) -> tuple[object, ...]:
        """What is compared.

        Left out: flags at a device's exit, for Linux posts stores (both_kvms.py); RF
        in a double fault's frame, about which the manual says nothing.
        """
        frame = list(self.frame)
        if frame:
            frame[self.flags_at] &= flags | (0 if self.vector == DF else RF)
        if self.what[0] == "mmio":
            flags = 0
        return (
            self.what, hex(self.rip), hex(self.rsp), hex(self.rflags & flags), self.cs, self.ss,
            hex(self.cr2), self.vector, [hex(word) for word in frame],
        )  # fmt: skip


Story = list[Stop]
#: By stop: the lines to pulse and "nmi"s to send while it is handled.
Script = dict[int, list[int | str]]


def sregs_for(guest: Guest) -> KvmSregs:
    """The special registers that the guest's tables want."""
    sregs = boot_sregs(MODES[guest.bits])
    if guest.bits == 16:
        sregs.idt.base, sregs.idt.limit = 0, 0x3FF
        return sregs
    sregs.gdt.base, sregs.gdt.limit = GDT, 0x8F
    sregs.idt.base, sregs.idt.limit = IDT, 256 * (16 if guest.bits == 64 else 8) - 1
    if guest.bits == 64 or guest.paging:
        sregs.cr3 = PAGE_TABLES
        sregs.cr0 |= CR0_PG
    if guest.bits == 64:
        sregs.efer |= 1 << 11  # NXE
    return sregs


def ram_for(guest: Guest, *, device: bool, pokes: Iterable[tuple[int, bytes]]) -> mmap.mmap:
    ram = mmap.mmap(-1, RAM_END)
    ram[:] = bytes(guest.image())
    if device and guest.bits == 64:
        at = guest.page_entry(NO_PAGE)
        ram[at : at + 8] = (DEVICE | P | W | U).to_bytes(8, "little")
    for address, data in pokes:
        ram[address : address + len(data)] = data
    return ram


class Life:
    """Runs a guest to its end and writes its story down."""

    def __init__(self, guest: Guest, ram: mmap.mmap) -> None:
        self.guest = guest
        self.ram = ram
        self.story: Story = []

    def live(self, vm: object, script: Script) -> Story:
        """`vm`: run, get_regs, get_sregs, kvm_run, irq_line, nmi."""
        for number in range(MOST_STOPS):
            stop = self.step(vm)
            if stop.what[0] not in ("io", "mmio") or stop.what[:2] == ("io", END_PORT):
                break
            for what in script.get(number, ()):
                if what == "nmi":
                    vm.nmi()
                else:
                    vm.irq_line(what, 1)
                    vm.irq_line(what, 0)
        return self.story

    def step(self, vm: object) -> Stop:
        """KVM_RUN once."""
        vm.run()
        stop = self._stop(vm)
        self.story.append(stop)
        return stop

    def _stop(self, vm: object) -> Stop:
        regs, sregs, run = vm.get_regs(), vm.get_sregs(), vm.kvm_run
        what: tuple[object, ...] = (KvmExit(run.exit_reason).name.lower(),)
        rip = regs.rip
        if run.exit_reason == KvmExit.IO:
            io = run.io
            what = ("io", io.port, io.direction, io.size, io.count)
            rip = self._at_out(rip)
        elif run.exit_reason == KvmExit.MMIO:
            mmio = run.mmio
            what = ("mmio", mmio.phys_addr, mmio.len, mmio.is_write)
            rip = 0  # a store is posted on Linux: RIP stands behind it
            mmio.data[:] = [0x5A] * 8
        elif run.exit_reason == KvmExit.INTERNAL_ERROR:
            what = ("internal_error", run.internal.suberror)
        stop = Stop(what, rip, regs.rsp, regs.rflags, sregs.cs.selector, sregs.ss.selector,
                    sregs.cr2)  # fmt: skip
        if what[:2] == ("io", HANDLER_PORT):
            self._read_frame(stop)
        return stop

    def _at_out(self, rip: int) -> int:
        """Linux stands behind an OUT, the toy at it: the address it is found at."""
        return rip - 2 if self.ram[rip - 2] in (0xE6, 0xE4) and self.ram[rip] != 0xE6 else rip

    def _read_frame(self, stop: Stop) -> None:
        guest = self.guest
        vector = (stop.rip - HANDLERS) // 16
        width = guest.width or guest.bits // 8
        count = 3
        has_error = guest.bits != 16 and vector in guest.with_error_code
        if guest.bits == 64 or guest.cs & 3:
            count += 2
        raw = self.ram[stop.rsp : stop.rsp + width * (count + has_error)]
        stop.vector = vector
        stop.frame = [
            int.from_bytes(raw[i : i + width], "little") for i in range(0, len(raw), width)
        ]
        stop.flags_at = 2 + has_error


@contextmanager
def toy_vm(guest: Guest, ram: mmap.mmap):
    """The toy's, with interrupt controllers."""
    vm = Kvm(Ledger()).create_vm()
    vm.set_user_memory_region(0, 0, memoryview(ram))
    vm.create_irqchip()
    vcpu = vm.create_vcpu()
    vcpu.set_sregs(sregs_for(guest))
    vcpu.set_regs(KvmRegs(**({"rip": CODE, "rflags": 2} | guest.registers)))
    vcpu.irq_line = vm.irq_line
    vcpu.deadline = 1_000_000
    try:
        yield vcpu
    finally:
        vm.close()


@contextmanager
def linux_vm(guest: Guest, ram: mmap.mmap):
    """Linux's, with interrupt controllers."""
    vm = linux_kvm.LinuxVm({0: ram}, irqchip=True)
    try:
        vm.set_sregs(sregs_for(guest))
        vm.set_regs(KvmRegs(**({"rip": CODE, "rflags": 2} | guest.registers)))
        with linux_kvm.TimeLimit(vm, SECONDS):
            yield vm
    finally:
        vm.close()


def on_the_toy(guest: Guest, script: Script, ram: mmap.mmap) -> Story:
    with toy_vm(guest, ram) as vm:
        return Life(guest, ram).live(vm, script)


def on_linux(guest: Guest, script: Script, ram: mmap.mmap) -> Story:
    life = Life(guest, ram)
    try:
        with linux_vm(guest, ram) as vm:
            return life.live(vm, script)
    except linux_kvm.TimeIsUpError:
        life.story.append(Stop(("time is up",), 0, 0, 0, 0, 0, 0))
        return life.story


def flags_to_compare(*, iopl: bool) -> int:
    return FLAGS if iopl else FLAGS & ~IOPL3
