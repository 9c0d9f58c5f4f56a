"""pic.inc and pit.inc: what their routines leave behind, in 16-, 32- and 64-bit code."""

from __future__ import annotations

import mmap

import pytest

from toyvisor.guest.assembler import assemble_text
from toyvisor.kvm import i8254_registers, i8259_registers
from toyvisor.kvm.api import KvmExit, KvmRegs
from toyvisor.kvm.i8254 import Pit
from toyvisor.kvm.i8259 import PicPair
from toyvisor.kvm.vm import Kvm
from toyvisor.modes import CpuMode
from toyvisor.qemu.boot import boot_sregs, write_boot_tables
from toyvisor.trace.events import Trace
from toyvisor.trace.ledger import Ledger

MODES = pytest.mark.parametrize("mode", list(CpuMode), ids=[mode.name for mode in CpuMode])
KEPT = ("rbx", "rsi", "rdi", "rbp")


class Guest:
    """A processor, and KVM's interrupt controllers and timer at its ports."""

    def __init__(self, mode: CpuMode) -> None:
        self.mode = mode
        self.pics = PicPair(lambda level: None)
        self.pit = Pit(lambda level: None, lambda: 0)
        self.exits = 0

    def call(self, routine: str, **registers: int) -> int:
        """Call a routine from its include file; eax."""
        include = f'.include "{routine[:3]}.inc"'
        origin = 0x1000 if self.mode is CpuMode.REAL else 0x100000
        text = f"call {routine}\nhlt\n{include}"
        assembly = assemble_text(text, mode=self.mode, origin=origin)
        ledger = Ledger(Trace())
        ram = memoryview(mmap.mmap(-1, 0x200000))
        write_boot_tables(ram, self.mode)
        ram[origin : origin + len(assembly.image)] = assembly.image
        vm = Kvm(ledger).create_vm()
        vm.set_user_memory_region(0, 0, ram)
        for device, of in ((self.pics, i8259_registers), (self.pit, i8254_registers)):
            for first, length in of.PORT_RANGES:
                vm.pio_bus.register(first, length, device)
        vcpu = vm.create_vcpu()
        vcpu.set_sregs(boot_sregs(self.mode))
        kept = {name: 0x1111 * number for number, name in enumerate(KEPT)}
        vcpu.set_regs(KvmRegs(rip=origin, rflags=2, rsp=0x8FF0, **kept | registers))
        vcpu.run()
        assert vcpu.kvm_run.exit_reason == KvmExit.HLT
        regs = vcpu.get_regs()
        assert {name: getattr(regs, name) for name in KEPT} == kept
        assert regs.rsp == 0x8FF0
        assert ledger.userspace_exits == 1  # the HLT
        self.exits = ledger.lightweight_exits
        vm.close()
        return regs.rax & 0xFFFFFFFF


@MODES
def test_pic_init(mode):
    guest = Guest(mode)
    guest.pics.set_irq(5, 1)
    guest.call("pic_init")
    assert guest.exits == 10
    master, slave = guest.pics.pics
    assert (master.irq_base, slave.irq_base) == (0x20, 0x28)
    assert (master.imr, slave.imr) == (0xFB, 0xFF)
    assert (master.initialized, slave.initialized, master.auto_eoi) == (1, 1, 0)
    assert guest.pics.output == 0


@MODES
@pytest.mark.parametrize("irq", [0, 1, 7, 8, 10, 15])
def test_pic_unmask_and_mask(mode, irq):
    guest = Guest(mode)
    guest.call("pic_init")
    guest.call("pic_unmask", rax=irq)
    assert guest.exits == 2
    assert guest.pics.why_not(irq) is None
    assert sum(pic.imr.bit_count() for pic in guest.pics.pics) == 14
    guest.call("pic_mask", rax=irq)
    assert (guest.pics.pics[0].imr, guest.pics.pics[1].imr) == (0xFB, 0xFF)


@MODES
@pytest.mark.parametrize(("irq", "exits"), [(5, 1), (7, 1), (8, 2), (10, 2)])
def test_pic_eoi(mode, irq, exits):
    guest = Guest(mode)
    guest.call("pic_init")
    guest.call("pic_unmask", rax=irq)
    guest.pics.set_irq(irq, 1)
    assert guest.pics.read_irq() == 0x20 + irq
    in_service = guest.call("pic_read_isr") & 0xFFFF
    assert in_service == (1 << irq if irq < 8 else 1 << irq | 1 << 2)
    guest.call("pic_eoi", rax=irq)
    assert guest.exits == exits
    assert guest.call("pic_read_isr") & 0xFFFF == 0


@MODES
@pytest.mark.parametrize("irq", [3, 7, 9, 15])
def test_pic_set_level(mode, irq):
    guest = Guest(mode)
    guest.call("pic_set_level", rax=5)
    guest.call("pic_set_level", rax=irq)
    assert guest.exits == 2
    master, slave = guest.pics.pics
    assert master.elcr | slave.elcr << 8 == 1 << 5 | 1 << irq


@MODES
@pytest.mark.parametrize(
    ("rate", "count"), [(19, 62799), (100, 11932), (1000, 1193), (1234, 967), (5000, 239)]
)
def test_pit_set_rate(mode, rate, count):
    """Linux has the same period for the same HZ (PIT_LATCH)."""
    guest = Guest(mode)
    guest.call("pit_set_rate", rcx=rate)
    assert guest.exits == 3
    counter = guest.pit.channels[0]
    assert (counter.mode, counter.count) == (2, count)
    assert guest.pit.next_expiry == 4 * count


@MODES
@pytest.mark.parametrize(("routine", "counter_mode"), [("pit_set_period", 2), ("pit_set_once", 0)])
def test_pit_set_period_and_once(mode, routine, counter_mode):
    guest = Guest(mode)
    for ticks, count in ((1000, 1000), (0, 65536), (0x1234, 0x1234)):
        guest.call(routine, rax=ticks)
        assert guest.exits == 3
        counter = guest.pit.channels[0]
        assert (counter.mode, counter.count) == (counter_mode, count)


@MODES
def test_pit_read(mode):
    guest = Guest(mode)
    guest.call("pit_set_period", rax=0x1234)
    assert guest.call("pit_read") & 0xFFFF == 0x1234
    assert guest.exits == 3
