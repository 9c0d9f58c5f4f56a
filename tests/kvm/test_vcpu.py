"""KVM_RUN: what a client sees in kvm_run, exit by exit."""

from __future__ import annotations

import mmap

import pytest

from toyvisor.errors import UsageError
from toyvisor.exit_reasons import ExitReason
from toyvisor.guest.assembler import assemble_text
from toyvisor.kvm.api import MMIO_DATA_OFFSET, PIO_DATA_OFFSET, KvmExit, KvmRegs
from toyvisor.kvm.cpuid import cpuid
from toyvisor.kvm.vcpu import Vcpu
from toyvisor.kvm.vm import Kvm, Vm
from toyvisor.modes import CpuMode
from toyvisor.qemu.boot import boot_sregs, write_boot_tables
from toyvisor.trace.events import Trace
from toyvisor.trace.ledger import Ledger

ORIGIN = 0x100000
DEVICE = 0xD0000000


class Client:
    """A minimal userspace: one VM, one vCPU, some code."""

    def __init__(self, source: str, mode: CpuMode = CpuMode.LONG, **registers: int) -> None:
        origin = 0x1000 if mode is CpuMode.REAL else ORIGIN
        assembly = assemble_text(source, mode=mode, origin=origin)
        self.symbols = assembly.symbols
        self.ledger = Ledger(Trace())
        self.ram = memoryview(mmap.mmap(-1, 0x200000))
        write_boot_tables(self.ram, mode)
        self.ram[origin : origin + len(assembly.image)] = assembly.image
        self.vm: Vm = Kvm(self.ledger).create_vm()
        self.vm.set_user_memory_region(0, 0, self.ram)
        self.vcpu: Vcpu = self.vm.create_vcpu()
        self.vcpu.set_sregs(boot_sregs(mode))
        self.vcpu.set_regs(KvmRegs(rip=origin, rflags=2, rsp=0x8FF0, **registers))
        self.kvm_run = self.vcpu.kvm_run

    def run(self) -> KvmExit:
        self.vcpu.run()
        return KvmExit(self.kvm_run.exit_reason)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.vm.close()


def test_a_store_to_a_device_is_an_mmio_exit_with_its_data() -> None:
    with Client("mov dword ptr [rdi+0x50], 0x11223344\nhlt", rdi=DEVICE) as client:
        assert client.run() == KvmExit.MMIO
        mmio = client.kvm_run.mmio
        assert (mmio.phys_addr, mmio.len, mmio.is_write) == (DEVICE + 0x50, 4, 1)
        assert bytes(mmio.data) == bytes.fromhex("44332211") + bytes(4)
        assert (client.ledger.guest_to_kvm.count, client.ledger.guest_to_kvm.bytes) == (1, 4)
        assert client.run() == KvmExit.HLT
        assert client.ledger.total_exits == client.ledger.userspace_exits == 2


def test_a_load_completes_only_at_the_next_run() -> None:
    with Client("mov eax, [rdi]\nhlt", rdi=DEVICE, rax=7) as client:
        assert client.run() == KvmExit.MMIO
        assert client.kvm_run.mmio.is_write == 0
        assert client.vcpu.get_regs().rax == 7
        assert client.ledger.kvm_to_guest.count == 0
        client.kvm_run.mapping[MMIO_DATA_OFFSET : MMIO_DATA_OFFSET + 4] = b"\x01\x02\x03\x04"
        assert client.vcpu.get_regs().rax == 7
        assert client.run() == KvmExit.HLT
        assert client.vcpu.get_regs().rax == 0x04030201
        assert (client.ledger.kvm_to_guest.count, client.ledger.kvm_to_guest.bytes) == (1, 4)


def test_an_8_byte_store_is_one_exit_of_length_8() -> None:
    with Client("mov [rdi], rax\nhlt", rdi=DEVICE, rax=0x8877665544332211) as client:
        client.run()
        assert client.kvm_run.mmio.len == 8
        assert bytes(client.kvm_run.mmio.data).hex() == "1122334455667788"


def test_a_16_byte_store_is_two_exits_as_kvm_has_mmio_fragments_of_8() -> None:
    with Client("movups [rdi], xmm0\nhlt", rdi=DEVICE) as client:
        seen = []
        while client.run() == KvmExit.MMIO:
            seen.append((client.kvm_run.mmio.phys_addr, client.kvm_run.mmio.len))
        assert seen == [(DEVICE, 8), (DEVICE + 8, 8)]


def test_port_io_goes_through_the_pio_page() -> None:
    with Client("mov al, 0x41\nout 0xe9, al\nin ax, 0x60\nhlt", CpuMode.REAL) as client:
        assert client.run() == KvmExit.IO
        io = client.kvm_run.io
        assert (io.direction, io.size, io.port, io.count) == (1, 1, 0xE9, 1)
        assert client.kvm_run.mapping[io.data_offset] == 0x41
        assert client.run() == KvmExit.IO
        assert (io.direction, io.size, io.port) == (0, 2, 0x60)
        client.kvm_run.mapping[PIO_DATA_OFFSET : PIO_DATA_OFFSET + 2] = b"\x34\x12"
        assert client.run() == KvmExit.HLT
        assert client.vcpu.get_regs().rax & 0xFFFF == 0x1234


def test_rep_insb_is_one_exit_for_many_elements() -> None:
    with Client("rep insb\nhlt", rdi=0x20000, rcx=20, rdx=0x60) as client:
        assert client.run() == KvmExit.IO
        assert (client.kvm_run.io.size, client.kvm_run.io.count) == (1, 20)
        data = bytes(range(20))
        client.kvm_run.mapping[PIO_DATA_OFFSET : PIO_DATA_OFFSET + 20] = data
        assert client.run() == KvmExit.HLT
        assert bytes(client.ram[0x20000:0x20014]) == data
        assert client.ledger.exits[ExitReason.IO_INSTRUCTION] == 1
        assert (client.ledger.kvm_to_guest.count, client.ledger.kvm_to_guest.bytes) == (1, 20)


def test_cpuid_never_comes_to_userspace() -> None:
    source = "mov eax, 0x40000000\ncpuid\nhlt"
    with Client(source) as client:
        assert client.run() == KvmExit.HLT
        regs = client.vcpu.get_regs()
        text = b"".join(r.to_bytes(4, "little") for r in (regs.rbx, regs.rcx, regs.rdx))
        assert text == b"KVMKVMKVM\0\0\0"
        assert client.ledger.exits[ExitReason.CPUID] == 1
        assert client.ledger.lightweight_exits == 1


def test_cpuid_announces_only_what_the_processor_has() -> None:
    from unicorn import UC_ARCH_X86, UC_HOOK_INSN, UC_MODE_64, Uc
    from unicorn import x86_const as x86

    uc = Uc(UC_ARCH_X86, UC_MODE_64)
    uc.mem_map(0x1000, 0x1000)
    uc.mem_write(0x1000, b"\x0f\xa2")
    assert UC_HOOK_INSN
    for leaf in (1, 0x80000001):
        uc.reg_write(x86.UC_X86_REG_RAX, leaf)
        uc.emu_start(0x1000, 0x1002)
        _, _, ecx, edx = cpuid(leaf)
        hypervisor = 1 << 31 if leaf == 1 else 0
        assert ecx & ~hypervisor & ~uc.reg_read(x86.UC_X86_REG_RCX) == 0
        # SYSCALL, NX and long mode are there although this model's leaf does not say so.
        known = 1 << 11 | 1 << 20 | 1 << 29 if leaf != 1 else 0
        assert edx & ~known & ~uc.reg_read(x86.UC_X86_REG_RDX) == 0


def test_a_leaf_past_the_end_answers_as_the_last_basic_leaf() -> None:
    assert cpuid(0x1234) == cpuid(1)
    assert cpuid(0x9000_0000) == cpuid(1)
    assert cpuid(0x4000_0099) == (0, 0, 0, 0)


@pytest.mark.parametrize(("number", "answer"), [(1, 0), (5, -1000), (12, -1000), (0x1234, -1000)])
def test_a_hypercall_is_answered_in_the_kernel(number: int, answer: int) -> None:
    with Client("vmcall\nhlt", rax=number) as client:
        assert client.run() == KvmExit.HLT
        assert client.vcpu.get_regs().rax == answer % (1 << 64)
        assert client.ledger.exits[ExitReason.VMCALL] == 1
        assert client.ledger.lightweight_exits == 1


@pytest.mark.parametrize("traced", [False, True])
def test_a_hypercall_comes_to_userspace_if_it_asked_for_it(traced: bool) -> None:
    with Client("vmcall\nhlt", rax=12, rbx=0x1000, rcx=2, rdx=1) as client:
        client.ledger.trace.enabled = traced
        client.vcpu.exit_hypercalls = 1 << 12
        assert client.run() == KvmExit.HYPERCALL
        hypercall = client.kvm_run.hypercall
        assert (hypercall.nr, list(hypercall.args)[:3]) == (12, [0x1000, 2, 1])
        hypercall.ret = 99
        assert client.run() == KvmExit.HLT
        assert client.vcpu.get_regs().rax == 99


def test_a_triple_fault_is_a_shutdown_and_explained() -> None:
    with Client("ud2") as client:
        assert client.run() == KvmExit.SHUTDOWN
        assert "invalid opcode (#UD)" in client.vcpu.explanation


def test_a_page_fault_says_where() -> None:
    with Client("mov rax, [rdi]", rdi=0x1_2345_6789_0) as client:
        assert client.run() == KvmExit.SHUTDOWN
        assert "page fault (#PF) at 0x1234567890" in client.vcpu.explanation


def test_a_jump_out_of_ram_is_an_emulation_failure() -> None:
    with Client("jmp rdi", rdi=0x300000) as client:
        assert client.run() == KvmExit.INTERNAL_ERROR
        assert client.kvm_run.internal.suberror == 1
        assert "0x300000" in client.vcpu.explanation


def test_a_spent_time_slice_is_kvm_exit_intr_and_the_guest_can_go_on() -> None:
    with Client("1: inc rax\njmp 1b") as client:
        client.vcpu.deadline = 1001
        assert client.run() == KvmExit.INTR
        assert (client.vcpu.instructions, client.vcpu.get_regs().rax) == (1001, 501)
        client.vcpu.deadline = 2000
        assert client.run() == KvmExit.INTR
        assert (client.vcpu.instructions, client.vcpu.get_regs().rax) == (2000, 1000)


class KernelDevice:
    """An in-kernel register."""

    def __init__(self) -> None:
        self.value = 0

    def accepts(self, address: int, size: int, value: int | None) -> bool:
        return address & 4 == 0

    def read(self, address: int, size: int) -> int | None:
        return self.value if address & 4 == 0 else None

    def write(self, address: int, size: int, value: int) -> bool:
        if address & 4:
            return False
        self.value = value
        return True


def test_a_kernel_device_makes_the_exit_a_lightweight_one() -> None:
    source = "mov dword ptr [rdi], 5\nmov eax, [rdi]\nmov [rdi+4], eax\nhlt"
    with Client(source, rdi=DEVICE) as client:
        client.vm.mmio_bus.register(DEVICE, 8, KernelDevice())
        assert client.run() == KvmExit.MMIO, "the device does not want its upper half"
        assert client.kvm_run.mmio.phys_addr == DEVICE + 4
        assert client.ledger.total_exits == 3
        assert client.ledger.lightweight_exits == 2
        assert client.vcpu.get_regs().rax == 5


def test_a_kernel_device_at_a_port() -> None:
    with Client("mov al, 9\nout 0x80, al\nin al, 0x80\nhlt", rax=0) as client:
        client.vm.pio_bus.register(0x80, 1, KernelDevice())
        assert client.run() == KvmExit.HLT
        assert client.ledger.exits[ExitReason.IO_INSTRUCTION] == 2
        assert client.ledger.lightweight_exits == 2


def test_registers_come_back_as_they_were_set() -> None:
    with Client("hlt") as client:
        regs = KvmRegs(*range(1, 17), ORIGIN, 2)
        client.vcpu.set_regs(regs)
        again = client.vcpu.get_regs()
        assert [getattr(again, n) for n, _ in KvmRegs._fields_] == [*range(1, 17), ORIGIN, 2]


def test_registers_can_not_be_set_in_the_middle_of_a_load() -> None:
    with Client("mov eax, [rdi]\nhlt", rdi=DEVICE) as client:
        client.run()
        with pytest.raises(UsageError, match="pending"):
            client.vcpu.set_regs(KvmRegs())


def test_special_registers_of_long_mode_are_what_the_boot_state_says() -> None:
    with Client("hlt") as client:
        client.run()
        sregs = client.vcpu.get_sregs()
        assert sregs.cr0 & 0x80000001 == 0x80000001
        assert sregs.cr3 == 0x9000
        assert sregs.efer & 0x500 == 0x500
        assert (sregs.cs.selector, sregs.idt.limit) == (8, 0)


@pytest.mark.parametrize(
    ("address", "size", "message"),
    [(0x1000, 100, "whole pages"), (0x1001, 4096, "whole pages"), (0x1FF000, 8192, "overlaps")],
)
def test_a_bad_memory_slot_is_refused(address: int, size: int, message: str) -> None:
    vm = Kvm(Ledger()).create_vm()
    vm.set_user_memory_region(0, 0, memoryview(mmap.mmap(-1, 0x200000)))
    with pytest.raises(UsageError, match=message):
        vm.set_user_memory_region(1, address, memoryview(bytearray(size)))


@pytest.mark.parametrize("mode", list(CpuMode))
def test_each_mode_computes_in_its_own_width(mode: CpuMode) -> None:
    register = {16: "ax", 32: "eax", 64: "rax"}[mode.bits]
    with Client(f"mov {register}, -1\nadd {register}, 2\nhlt", mode) as client:
        assert client.run() == KvmExit.HLT
        assert client.vcpu.get_regs().rax == 1
        assert client.vcpu.get_regs().rflags & 1 == 1


def test_a_real_mode_guest_can_switch_itself_to_protected_mode() -> None:
    source = """
        lgdt [gdtr]
        mov eax, cr0
        or al, 1
        mov cr0, eax
        jmp 8:protected
    .code32
    protected:
        mov ax, 16
        mov ds, ax
        mov edi, 0xd0000000
        mov dword ptr [edi], 0x12345678
        hlt
    .align 8
    gdt: .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
    gdtr: .word 23
          .long gdt
    """
    with Client(source, CpuMode.REAL) as client:
        assert client.run() == KvmExit.MMIO
        assert client.kvm_run.mmio.phys_addr == DEVICE
        assert bytes(client.kvm_run.mmio.data)[:4] == bytes.fromhex("78563412")
        assert client.run() == KvmExit.HLT


HIGH_PROTECTED = """
    lgdt [gdtr]
    mov eax, cr0
    or al, 1
    mov cr0, eax
    jmp dword 8:protected
.align 8
gdt: .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
gdtr: .word 23
      .long gdt
.org 0x21000
.code32
protected:
    mov ax, 16
    mov ds, ax
    mov eax, 1
    vmcall
    mov edi, 0xd0000000
    mov [edi], eax
    mov eax, 5
    vmcall
    inc ebx
    mov [edi+4], eax
    hlt
"""


def test_a_guest_that_left_real_mode_goes_on_after_hypercalls_above_64_kib() -> None:
    with Client(HIGH_PROTECTED, CpuMode.REAL) as client:
        client.ledger.trace.enabled = True
        seen = []
        while client.run() == KvmExit.MMIO:
            mmio = client.kvm_run.mmio
            seen.append((mmio.phys_addr, int.from_bytes(bytes(mmio.data)[:4], "little")))
        assert seen == [(DEVICE, 0), (DEVICE + 4, -1000 & 0xFFFFFFFF)]
        rips = [e.fields["rip"] for e in client.ledger.trace if e.kind.name == "vm_exit"]
        assert rips[0] == client.symbols["protected"] + 11
        assert rips == sorted(rips)
        assert client.vcpu.instructions == 5 + 11


@pytest.mark.parametrize("slice_", range(1, 16))
def test_a_guest_that_left_real_mode_can_be_sliced_anywhere(slice_: int) -> None:
    with Client(HIGH_PROTECTED, CpuMode.REAL) as client:
        client.vcpu.deadline = slice_
        while (reason := client.run()) == KvmExit.MMIO:
            pass
        assert reason == KvmExit.INTR
        assert client.vcpu.instructions == slice_
        client.vcpu.deadline = 1000
        while (reason := client.run()) == KvmExit.MMIO:
            pass
        assert reason == KvmExit.HLT
        assert client.vcpu.get_regs().rbx == 1
        assert client.vcpu.instructions == 16


class Signal:
    """An eventfd that nobody has signalled yet."""

    name = "signal"
    readable = False

    def signal(self) -> None: ...

    def read(self) -> int:
        return 0

    def add_waiter(self, waiter: object) -> None: ...

    def remove_waiter(self, waiter: object) -> None: ...


@pytest.mark.parametrize("gsi", [-1, 16, 24])
def test_interrupt_ioctls_refuse_a_line_that_is_not_there(gsi: int) -> None:
    vm = Kvm(Ledger()).create_vm()
    vm.create_irqchip()
    with pytest.raises(UsageError, match="no interrupt line"):
        vm.irq_line(gsi, 1)
    with pytest.raises(UsageError, match="no interrupt line"):
        vm.irqfd(Signal(), gsi)


def test_interrupt_ioctls_want_the_controllers_in_the_kernel() -> None:
    vm = Kvm(Ledger()).create_vm()
    for attempt in (lambda: vm.irq_line(4, 1), lambda: vm.irqfd(Signal(), 4), vm.create_pit2):
        with pytest.raises(UsageError, match=r"interrupt controllers?"):
            attempt()


def test_the_controllers_and_the_timer_are_created_once_and_before_the_vcpu() -> None:
    vm = Kvm(Ledger()).create_vm()
    vm.create_irqchip()
    vm.create_pit2()
    for again in (vm.create_irqchip, vm.create_pit2):
        with pytest.raises(UsageError, match="once"):
            again()
    late = Kvm(Ledger()).create_vm()
    late.create_vcpu()
    with pytest.raises(UsageError, match="before the first vCPU"):
        late.create_irqchip()
