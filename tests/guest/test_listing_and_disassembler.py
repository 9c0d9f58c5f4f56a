"""The source map, and bytes back to text."""

from __future__ import annotations

import pytest
from assembling import MODES, code

from toyvisor.guest.assembler import assemble_text
from toyvisor.guest.disassembler import decode_one, disassemble, memory_access_size
from toyvisor.modes import CpuMode


def test_every_byte_of_code_leads_to_its_line() -> None:
    assembly = assemble_text(
        'start:\n  mov eax, 1 ; one\nmsg: .ascii "abc"\n\n  hlt\n', origin=0x1000, file="t.s"
    )
    where = {a: assembly.listing.at(a) for a in range(0xFFF, 0x100B)}
    assert where[0xFFF] is None
    lines = {a: line.location.line for a, line in where.items() if line is not None}
    assert lines == {
        **dict.fromkeys(range(0x1000, 0x1005), 2),
        **dict.fromkeys(range(0x1005, 0x1008), 3),
        0x1008: 5,
    }
    line = where[0x1003]
    assert line is not None
    assert (line.text, str(line.location)) == ("  mov eax, 1 ; one", "t.s:2:3")


def test_the_listing_as_text() -> None:
    text = assemble_text("a:\nmov eax, 1\n.zero 20", origin=0x1000, file="t.s").listing.format()
    assert text.splitlines() == [
        "# t.s",
        "1000                             1  a:",
        "1000  b801000000                 2  mov eax, 1",
        "1005  00000000000000000000..     3  .zero 20",
    ]


def test_lines_of_a_macro_are_those_of_its_body() -> None:
    assembly = assemble_text(".macro m x\nmov al, \\x\nhlt\n.endm\nm 1\nm 2")
    lines = [line.location.line for line in assembly.listing.lines]
    assert lines == [2, 3, 2, 3]
    assert assembly.listing.lines[2].text == "mov al, 2"


def test_symbols_and_entry() -> None:
    assembly = assemble_text("nop\n_start: nop\nx = 5\n.x: nop", origin=0x10)
    assert assembly.entry == 0x11
    assert assembly.symbols == {"_start": 0x11, "x": 5, "_start.x": 0x12}
    assert assemble_text("nop", origin=0x10).entry == 0x10


def test_disassembly_of_code_and_of_bytes_that_are_none() -> None:
    found = disassemble(bytes.fromhex("b801000000" + "06" + "f4"), 0x1000, CpuMode.LONG)
    assert [(i.address, i.text, i.size) for i in found] == [
        (0x1000, "mov eax, 1", 5),
        (0x1005, ".byte 0x06", 1),
        (0x1006, "hlt", 1),
    ]


def test_decoding_one_instruction() -> None:
    one = decode_one(bytes.fromhex("b801000000f4"), 0, CpuMode.LONG)
    assert one is not None
    assert one.text == "mov eax, 1"
    assert decode_one(b"\xb8\x01", 0, CpuMode.LONG) is None
    assert decode_one(b"", 0, CpuMode.LONG) is None


def test_sixteen_bit_names() -> None:
    assert [i.mnemonic for i in disassemble(b"\x98\x99", 0, CpuMode.REAL)] == ["cbw", "cwd"]


@pytest.mark.parametrize(
    ("statement", "bits", "size"),
    [
        ("mov rax, [rdi]", 64, 8), ("mov [rdi], rax", 64, 8), ("mov dword ptr [rdi], 1", 64, 4),
        ("movups xmm0, [rdi]", 64, 16), ("movups [rdi], xmm0", 64, 16), ("movd xmm0, [rdi]", 64, 4),
        ("movzx eax, byte ptr [rdi]", 64, 1), ("movsx rax, word ptr [rdi]", 64, 2),
        ("movsxd rax, dword ptr [rdi]", 64, 4), ("movsb", 64, 1), ("movsq", 64, 8),
        ("rep movsd", 64, 4), ("rep stosb", 64, 1), ("lodsw", 64, 2), ("cmpsb", 64, 1),
        ("insb", 64, 1), ("outsd", 64, 4), ("push rax", 64, 8), ("push word ptr [rdi]", 64, 2),
        ("push 5", 64, 8), ("pop rbx", 64, 8), ("call 0", 64, 8), ("ret", 64, 8), ("pushfq", 64, 8),
        ("push qword ptr [rdi]", 64, 8), ("call qword ptr [rdi]", 64, 8), ("leave", 64, 8),
        ("push ax", 16, 2), ("push eax", 16, 4), ("push eax", 32, 4), ("push ax", 32, 2),
        ("call 0", 16, 2), ("ret", 32, 4), ("pusha", 16, 2), ("pushad", 32, 4),
        ("xchg [rdi], eax", 64, 4), ("lock xadd [rdi], rax", 64, 8), ("inc byte ptr [rdi]", 64, 1),
        ("cmpxchg8b qword ptr [rdi]", 64, 8), ("cmpxchg16b [rdi]", 64, 16),
        ("fxsave [rdi]", 64, 512),
        ("fld qword ptr [rdi]", 64, 8), ("fld tbyte ptr [rdi]", 64, 10),
        ("movsd xmm0, [rdi]", 64, 8),
        ("movss [rdi], xmm0", 64, 4), ("movnti [rdi], rax", 64, 8), ("lgdt [rdi]", 64, 10),
        ("lgdt [eax]", 32, 6), ("xlatb", 64, 1), ("vmovups ymm0, [rdi]", 64, 32),
        ("bt dword ptr [rdi], 3", 64, 4), ("jmp qword ptr [rdi]", 64, 8), ("test [rdi], al", 64, 1),
        ("lea rax, [rdi]", 64, 0), ("nop dword ptr [rdi]", 64, 0), ("add eax, ebx", 64, 0),
        ("hlt", 64, 0), ("invlpg [rdi]", 64, 0), ("prefetcht0 [rdi]", 64, 0), ("out dx, al", 64, 0),
        ("mov al, [0x1234]", 16, 1), ("iretq", 64, 8), ("int 0x80", 32, 4), ("enter 8, 0", 64, 8),
        ("mov eax, fs:[0x10]", 64, 4), ("movbe eax, [rdi]", 64, 4), ("ldmxcsr [rdi]", 64, 4),
    ],
)  # fmt: skip
def test_how_wide_an_instructions_memory_access_is(statement: str, bits: int, size: int) -> None:
    data = bytes.fromhex(code(statement, bits))
    assert memory_access_size(data, 0, MODES[bits]) == size


def test_no_instruction_accesses_nothing() -> None:
    assert memory_access_size(b"\x06", 0, CpuMode.LONG) == 0
    assert memory_access_size(b"", 0, CpuMode.LONG) == 0
