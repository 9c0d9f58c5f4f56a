"""idt.inc: the tables that its macros build, read as the processor reads them."""

from __future__ import annotations

from pathlib import Path

import pytest
from running import load_here

from toyvisor.cpu.descriptors import Descriptor, Gate
from toyvisor.modes import CpuMode
from toyvisor.qemu.boot import CODE_SELECTOR
from toyvisor.qemu.machine import Machine

PROGRAM = """
; /// machine
; title = "a table"
; mode = "{mode}"
; ///
.include "machine.inc"
.include "idt.inc"
_start:
{text}
        hlt
handler:
        hlt
"""
KEPT = {"rax": 1, "rbx": 2, "rcx": 3, "rdx": 4, "rsi": 5, "rdi": 6, "rbp": 7}


class Guest:
    """RAM, symbols and IDTR after a few lines of a program have run."""

    def __init__(self, folder: Path, mode: CpuMode, text: str) -> None:
        program = load_here(folder, PROGRAM.format(mode=mode, text=text))
        self.symbols = program.assembly.symbols
        with Machine(program, registers=KEPT) as machine:
            machine.run(1000)
            self.ram = bytes(machine.ram)
            self.idt = machine.vcpu.get_sregs().idt
            regs = machine.vcpu.get_regs()
        assert {name: getattr(regs, name) for name in KEPT} == KEPT, "macros change no register"
        assert regs.rsp == 0x8FF0

    def gate(self, vector: int, size: int) -> Gate:
        place = self.symbols["IDT"] + size * vector
        return Gate.decode(self.ram[place : place + size])


def table_is_empty_but_for(guest: Guest, size: int, *vectors: int) -> bool:
    table = guest.ram[guest.symbols["IDT"] : guest.symbols["IDT"] + 256 * size]
    entries = [table[at : at + size] for at in range(0, len(table), size)]
    return [n for n, entry in enumerate(entries) if any(entry)] == list(vectors)


@pytest.mark.parametrize(("mode", "size"), [(CpuMode.PROTECTED, 8), (CpuMode.LONG, 16)])
def test_gates(tmp_path, mode, size):
    macro = f"idt_gate{mode.bits}"
    guest = Guest(
        tmp_path,
        mode,
        f"{macro} 0, handler\n{macro} 0x80, handler, GATE_TRAP | GATE_DPL3\n"
        f"{macro} 0x20 + 223, handler, GATE_INTERRUPT",
    )
    handler = guest.symbols["handler"]
    interrupt = Gate(handler, CODE_SELECTOR, ist=0, type=0xE, dpl=0, present=True)
    assert guest.gate(0, size) == guest.gate(255, size) == interrupt
    assert guest.gate(0x80, size) == interrupt._replace(type=0xF, dpl=3)
    assert table_is_empty_but_for(guest, size, 0, 0x80, 255)


def test_a_gate_with_a_stack_of_its_own(tmp_path):
    guest = Guest(tmp_path, CpuMode.LONG, "idt_gate64 8, handler, ist=7")
    assert guest.gate(8, 16) == Gate(guest.symbols["handler"], CODE_SELECTOR, 7, 0xE, 0, True)


def test_a_gate_overwrites_what_was_there(tmp_path):
    text = "mov eax, -1\nmov edi, IDT\nmov ecx, 16\nrep stosb\nidt_gate64 0, handler"
    kept = "mov eax, 1\nmov edi, 6\nmov ecx, 3"
    guest = Guest(tmp_path, CpuMode.LONG, f"{text}\n{kept}")
    assert guest.gate(0, 16) == Gate(guest.symbols["handler"], CODE_SELECTOR, 0, 0xE, 0, True)


def test_a_handler_above_64_kib_in_both_pieces_of_the_address(tmp_path):
    guest = Guest(tmp_path, CpuMode.LONG, "idt_gate64 3, 0x89abcdef\nidt_gate64 4, 0xffffffff")
    assert guest.gate(3, 16).offset == 0x89ABCDEF
    assert guest.gate(4, 16).offset == 0xFFFFFFFF


def test_real_mode_vectors(tmp_path):
    guest = Guest(tmp_path, CpuMode.REAL, "ivt_entry 8, handler\nivt_entry 255, handler")
    entry = guest.symbols["handler"].to_bytes(2, "little") + bytes(2)
    assert guest.ram[8 * 4 : 9 * 4] == guest.ram[255 * 4 : 256 * 4] == entry
    assert not any(guest.ram[: 8 * 4])
    assert not any(guest.ram[9 * 4 : 255 * 4])


@pytest.mark.parametrize(
    ("mode", "limit"), [(CpuMode.PROTECTED, 256 * 8 - 1), (CpuMode.LONG, 256 * 16 - 1)]
)
def test_lidt_loads_the_whole_table(tmp_path, mode, limit):
    data = f"jmp go\nidtr: idt_pointer{mode.bits}\ngo: lidt [idtr]"
    guest = Guest(tmp_path, mode, data)
    assert (guest.idt.base, guest.idt.limit) == (guest.symbols["IDT"], limit)


@pytest.mark.parametrize("address", [0x120340, 0x89ABCDE0])
def test_the_descriptor_of_a_tss(tmp_path, address):
    data = f"jmp go\nentry: tss_descriptor {address:#x}\nentry_end:\ngo: nop"
    guest = Guest(tmp_path, CpuMode.LONG, data)
    first, end = guest.symbols["entry"], guest.symbols["entry_end"]
    assert end - first == 16
    found = Descriptor(int.from_bytes(guest.ram[first : first + 8], "little"))
    assert (found.base, found.limit) == (address, guest.symbols["TSS_SIZE"] - 1)
    assert (found.type, found.is_segment, found.present, found.dpl) == (9, False, True, 0)
    assert not any(guest.ram[first + 8 : end]), "bits 32 and up of the base"
