"""The language of guest programs, by example."""

from __future__ import annotations

import pytest
from assembling import code, refused

from toyvisor.errors import SourceError, UsageError
from toyvisor.guest.assembler import assemble_text
from toyvisor.modes import CpuMode


def test_lwns_real_mode_guest() -> None:
    text = "mov dx,0x3f8\nadd al,bl\nadd al,'0'\nout dx,al\nmov al,'\\n'\nout dx,al\nhlt"
    assert code(text, 16, 0x1000) == "baf803" + "00d8" + "0430" + "ee" + "b00a" + "ee" + "f4"


def test_a_boot_sector_in_nasm_style() -> None:
    text = """
        bits 16
        org 0x7c00
        start:  xor ax, ax
                mov ds, ax
                mov si, msg
        .next:  lodsb
                or al, al
                jz .done
                mov ah, 0Eh
                int 10h
                jmp short .next
        .done:  hlt
                jmp .done
        msg     db "Hello", 13, 10, 0
        times 510-($-$$) db 0
        dw 0AA55h
        """
    assembly = assemble_text(text, mode=CpuMode.REAL)
    assert len(assembly.image) == 512
    assert assembly.image[-2:] == b"\x55\xaa"
    assert assembly.origin == assembly.entry == 0x7C00
    assert assembly.symbols["start.next"] == 0x7C07


def test_a_way_from_real_to_long_mode_in_nasm_style() -> None:
    text = """
        bits 16
        org 7C00h
        CODE32  equ gdt.code - gdt
        %define SERIAL 0x3F8
        %macro putc 1
            mov dx, SERIAL
            mov al, %1
            out dx, al
        %endmacro
        start:  putc 'R'
                lgdt [gdtr]
                jmp dword CODE32:protected
        [bits 32]
        protected:
                mov dword [0x9000], 0xA003
                or eax, 1 << 31
                jmp gdt.code64 - gdt:long_mode
        bits 64
        default rel
        long_mode:
                lea rsi, [msg]
                mov rcx, msg.len
        .copy:  lodsb
                loop .copy
        msg:    db "Hello"
        .len    equ $ - msg
                align 8, db 0
        gdt:    dq 0
        .code:  dw 0xFFFF, 0
                db 0, 10011010b, 11001111b, 0
        .code64: dq 0x00209A0000000000
        gdtr:   dw $ - gdt - 1
                dd gdt
        """
    image = assemble_text(text, mode=CpuMode.REAL).image.hex()
    assert image.startswith("baf803" + "b052" + "ee" + "0f0116587c" + "66ea137c00000800")
    assert image[2 * 0x13 :].startswith("c7050090000003a00000" + "0d00000080" + "ea297c00001000")
    assert image[2 * 0x29 :].startswith("488d350a000000" + "48c7c105000000" + "ac" + "e2fd")


def test_a_driver_in_gnu_style() -> None:
    text = (
        """
        .intel_syntax noprefix
        .set QUEUE_NOTIFY, 0x50
        .macro write32 offset:req, value=1
            mov dword ptr [rdi + \\offset], \\value
        .endm
        .globl _start
        nop
        _start: mov edi, offset window
            write32 QUEUE_NOTIFY
            write32 0x70, 0xf
        wait\\@:
        """.replace("wait\\@:", "")
        + "\nwindow = 0xd0000000\nhlt\n"
    )
    text = text.replace("offset window", "window")
    assembly = assemble_text(text, origin=0x100000)
    assert assembly.entry == 0x100001
    assert assembly.image.hex() == "90bf000000d0c7475001000000c747700f000000f4"


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("1 + 2 * 3", 7),
        ("(1 + 2) * 3", 9),
        ("1 << 2 + 3", 32),
        ("7 & 3 | 8 ^ 1", 11),
        ("-7 / 2", -3),
        ("-7 % 2", -1),
        ("~0 & 0xff", 255),
        ("!5 + !0", 1),
        ("0x10 + 10h + 0b11 + 11b + 0o17 + 17q + 0d9", 16 + 16 + 3 + 3 + 15 + 15 + 9),
        ("0xffff_ffff", 0xFFFFFFFF),
        ("'A' + 1", 66),
        ("-(3 - 5)", 2),
        ("1 - - 1", 2),
        ("5 > 3 && 2 != 2", 0),
        ("~0 >> 60", 15),
    ],
)
def test_expressions_are_cs(expression: str, value: int) -> None:
    wanted = (value % 2**64).to_bytes(8, "little").hex()
    assert code(f".quad {expression}") == wanted


@pytest.mark.parametrize(
    ("text", "bytes_"),
    [
        (".byte 1, -1, 255, 'a'", "01ffff61"),
        (".word 1, 0xffff\n.short 2", "0100ffff0200"),
        (".long 1\n.int -1", "01000000ffffffff"),
        (".quad 0xffffffffffffffff", "ff" * 8),
        (".octa 1", "01" + "00" * 15),
        ('.ascii "ab", "c"', "616263"),
        ('.asciz "ab"\n.string "c"', "6162006300"),
        (".zero 3\n.space 2, 0xff\n.skip 1", "000000ffff00"),
        (".fill 2, 2, 0x1234", "34123412"),
        (".byte 1\n.align 4\n.byte 2", "0190909002"),
        (".byte 1\n.balign 4, 0\n.byte 2", "0100000002"),
        (".byte 1\n.p2align 3,,1\n.byte 2", "0102"),
        ("db 'it', 0\ndw 'ab', 1\ndd 1", "697400" + "6162" + "0100" + "01000000"),
        ("db `a\\n`", "610a"),
        ("dw 'abc'", "61626300"),
        ("align 4\ndb 1\nalign 4, db 0", "01000000"),
        ("resw 1\nresd 1", "00" * 6),
        ("times 2 db 1, 2", "01020102"),
        ("times 4-($-$$) db 7", "07070707"),
        (".long ., .\ndd $, $", "00000000" + "04000000" + "08000000" + "08000000"),
        (".byte 1\n.org 4, 0xcc\n.byte 2", "01cccccc02"),
        ("s: .byte 1\n.org s + 3", "010000"),
    ],
)  # fmt: skip
def test_data_directives(text: str, bytes_: str) -> None:
    assert code(text) == bytes_


@pytest.mark.parametrize(
    ("text", "bytes_"),
    [
        ("and al, ~0x80", "247f"),
        ("and ax, ~0x8000", "6625ff7f"),
        ("and dword ptr [rax], ~0x80000000", "8120ffffff7f"),
        ("MASK = ~(0x80 | 1)\nand al, MASK", "247e"),
        (".byte ~0x80, ~0xff & ~1", "7f00"),
    ],
)
def test_an_inverted_mask_is_as_wide_as_its_place(text: str, bytes_: str) -> None:
    assert code(text) == bytes_
    assert "does not fit" in refused("mov al, -129").message
    assert "does not fit" in refused("and al, ~0x100 - 1").message


def test_binary_numbers_work_before_layout_too() -> None:
    assert code(".equ N, 11b\n.if N == 11b\n.rept 10b\nnop\n.endr\n.endif") == "9090"


def test_numeric_labels_mean_the_nearest() -> None:
    assert code("1: nop\n1: jmp 1b\njmp 1f\n1: nop") == "90" + "ebfe" + "eb00" + "90"
    assert "no label 2: after" in refused("2: jmp 2f").message


def test_10b_is_a_label_if_there_is_one_and_a_binary_number_else() -> None:
    assert code("10: jmp 10b") == "ebfe"
    assert code("mov al, 10b") == "b002"


def test_local_labels_belong_to_the_label_before() -> None:
    text = "f: nop\n.loop: jmp .loop\ng: nop\n.loop: jmp .loop\njmp f.loop"
    assert code(text) == "90ebfe90ebfeebf9"
    error = refused("f: nop\n.a: nop\ng: jmp .a")
    assert "'.a' is not defined" in error.message
    assert code(".La: nop\nf: jmp .La") == "90ebfd"


def test_set_may_change_a_constant_and_equ_may_not() -> None:
    assert code(".set i, 1\n.byte i\n.set i, i + 1\n.byte i") == "0102"
    assert "already defined" in refused(".equ a, 1\n.equ a, 2").message
    assert code(".equ a, 1\n.equ a, 1\n.byte a") == "01"
    assert code(".byte later\nlater = 7") == "07"


def test_rept_and_counting_make_tables() -> None:
    assert code(".set i, 0\n.rept 4\n.byte i * i\n.set i, i + 1\n.endr") == "00010409"
    assert code("%assign n 2\n%rep n\nnop\n%endrep") == "9090"


def test_conditions_choose_lines() -> None:
    text = ".if SIZE > 8\nnop\n.elseif SIZE == 8\nhlt\n.else\ncli\n.endif"
    assert [code(text, SIZE=size) for size in (9, 8, 7)] == ["90", "f4", "fa"]
    guard = ".ifndef SIZE\nSIZE = 4\n.endif\n.byte SIZE"
    assert code(guard) == "04"
    assert code(guard, SIZE=64) == "40"
    assert "no .endif" in refused(".if 1\nnop").message
    assert "known by now" in refused("x: nop\n.if x\n.endif").message


def test_macros_take_arguments_defaults_and_unique_labels() -> None:
    text = """
        .macro spin count, reg=ecx
            mov \\reg, \\count
        again\\@: dec \\reg
            jnz again\\@
        .endm
        spin 3
        spin 4, eax
        spin reg=edx, count=5
        """
    spin = "{}{:02x}000000ff{}75fc"
    assert code(text) == spin.format("b9", 3, "c9") + spin.format("b8", 4, "c8") + spin.format(
        "ba", 5, "ca"
    )


def test_nasm_macros() -> None:
    text = "%macro twice 1\n%%here: %1\n%1\njmp %%here\n%endmacro\ntwice nop\ntwice cli"
    assert code(text) == "9090ebfc" + "fafaebfc"


def test_a_macro_that_calls_itself_ends_as_an_error() -> None:
    assert "nested more than" in refused(".macro m\nm\n.endm\nm").message


def test_an_error_in_a_macro_names_the_line_in_it_and_the_call() -> None:
    error = refused(".macro m x\nmov al, \\x\n.endm\nnop\nm 300")
    assert error.location.line == 2
    assert "called at t.s:5" in error.message


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("mov eax, [rdi][8]", "mov eax, [rdi+8]"),
        ("mov eax, 8[rdi]", "mov eax, [rdi+8]"),
        ("mov eax, [4*rcx+rbx]", "mov eax, [rbx+rcx*4]"),
        ("mov eax, [rcx*(2+2)+rbx]", "mov eax, [rbx+rcx*4]"),
        ("mov eax, [rcx*5]", "mov eax, [rcx+rcx*4]"),
        ("mov eax, [rax+rsp]", "mov eax, [rsp+rax]"),
        ("mov eax, [fs:0x10]", "mov eax, fs:[0x10]"),
        ("mov eax, fs:0x10", "mov eax, fs:[0x10]"),
        ("x: mov eax, dword ptr x[rip]", "x: mov eax, [rip + x]"),
        ("x: mov eax, dword ptr x", "x: mov eax, [x]"),
        ("x: mov eax, [abs x]", "x: mov eax, [x]"),
        ("default rel\nx: mov eax, [x]", "x: mov eax, [rel x]"),
        ("MOV EAX, DWORD PTR [RDI]", "mov eax, [rdi]"),
        ("push dword 5", "push 5"),
        ("movsx rax, dword [rbx]", "movsxd rax, dword ptr [rbx]"),
        ("shl eax", "shl eax, 1"),
        ("movs byte ptr [rdi], byte ptr [rsi]", "movsb"),
        ("lodsb al, byte ptr ds:[rsi]", "lodsb"),
        ("retn", "ret"),
        ("loopz $", "loope $"),
        ("fld st0", "fld st(0)"),
        ("int 3", "int3"),
        ("jmp near x\nx:", "jmp near x ; five bytes\nx:"),
        ("mov rax, offset flat:x\nx:", "mov rax, offset x\nx:"),
    ],
)
def test_two_spellings_of_one_thing(one: str, other: str) -> None:
    assert code(one) == code(other)


def test_a_bare_label_asks_for_address_or_memory() -> None:
    error = refused("msg: mov eax, msg")
    assert "address for NASM" in error.message
    assert "`offset msg`" in str(error.hint)
    assert code("msg: .byte 1\nend: mov eax, end - msg") == "01b801000000"


def test_in_nasm_source_a_bare_label_is_its_address() -> None:
    assert code("bits 16\nmsg: mov si, msg\nmov ax, [msg]", origin=0x100) == "be0001a10001"
    assert code("default rel\nmsg: mov esi, msg") == "be00000000"


def test_jumps_are_as_short_as_they_can_be() -> None:
    assert code("jmp x\n.zero 127\nx:")[:4] == "eb7f"
    assert code("jmp x\n.zero 128\nx:")[:10] == "e980000000"
    assert code("jmp near x\nx:") == "e900000000"
    # The second jump just reaches; were it longer, the first would not.
    assert code("a: jmp b\n.zero 124\njmp a\nb:").startswith("eb7e")


def test_a_16_bit_jump_wraps_within_its_64_kib_only() -> None:
    assert code("jmp near 0", 16, origin=0xFFF0) == "e90d00"
    assert "cannot reach" in refused("call 0x12345", 16).message
    assert "cannot reach" in refused("jmp 0x112345678", 32).message
    assert code("x: jmp x", 16, origin=0x20000) == "ebfe"


def test_a_segment_that_is_not_the_default_is_kept() -> None:
    assert code("mov ax, ds:[bp]", 16) == "3e8b4600"
    assert code("mov ax, ss:[bx]", 16) == "368b07"


def test_repeated_jumps_are_short_too() -> None:
    assert code("times 3 jmp x\nx:") == "eb04" + "eb02" + "eb00"


def test_code_widths_can_change_within_a_program() -> None:
    text = ".code16\nmov ax, 1\njmp 8:p\n.code32\np: mov eax, 1\n.code64\nmov rax, [rdi]"
    assert code(text, origin=0x1000) == "b80100" + "ea0810" + "0800" + "b801000000" + "488b07"


def test_string_instructions_can_only_choose_the_source_segment() -> None:
    assert code("movsb es:[di], cs:[si]", 16) == "2ea4"
    assert "it always uses [rsi] and [rdi]" in str(refused("stosb [rax]").hint)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("mov [rax], 1", "how many bytes", "byte ptr"),
        ("mov eax, bx", "does not take these operands", "different sizes"),
        ("mov [rax], [rbx]", "does not take", "at most one memory operand"),
        ("out 0x3f8, al", "1016 does not fit in 8 bits", "dx"),
        ("shr rax, cx", "does not take", "a number or cl"),
        ("mov eax, [bx]", "bx cannot address memory in 64-bit", "use rbx"),
        ("mov eax, [rax + rbx + rcx]", "at most two registers", None),
        ("mov eax, [rax*3 + rbx]", "1, 2, 4 or 8", None),
        ("mov eax, [rax + rsp*2]", "rsp cannot be scaled", None),
        ("mov eax, [rax - rbx]", "cannot be subtracted", None),
        ("mov eax, rax + 1", "register rax in a number", "brackets"),
        ("lock nop", "lock does not go with nop", "#UD"),
        ("lock inc eax", "without memory", "#UD"),
        ("rep inc eax", "does not repeat", "string"),
        ("rep", "needs its instruction", "rep movsb"),
        ("movl $5, %eax", "unexpected '$'", "AT&T"),
        ("mov %rax, %rbx", "unexpected '%'", "AT&T"),
        ("mvo eax, 1", "unknown instruction 'mvo'", "mov"),
        ("start mov eax, 1", "expected a comma", "colon"),
        (".globle x", "unknown directive", ".globl"),
        ("extern printf", "not supported", "linker"),
        ("mov eax, 12ab", "malformed number", "0x12ab"),
        ('.byte "abc"', "does not take texts", ".ascii"),
        ('db "a\\n"', "backslash", "back quotes"),
        ("#include <x>", "would be a comment", ".include"),
        ("a: nop\na: nop", "already defined at t.s:1", None),
        ("mov eax, (1", "never closed", None),
        ("mov eax, 1)", "without a '('", None),
        ("mov eax, 1 2", "expected a comma", None),
        ("mov eax,, 1", "expected a value", None),
        ("mov eax, 1/0", "division by zero", None),
        ("mov eax, 1 << -1", "cannot shift by -1", None),
        ("times -1 nop", "negative", None),
        (".align 3", "not a power of two", None),
        (".byte 1\n.org 0", "cannot go back", None),
        (".org 0x7c00\nnop", "begin with nothing but filling", "by `org`"),
        ("nop\norg 5", "before the first byte", None),
        ("mov cs, ax", "cannot write to cs", "far jump"),
        ("pop cs", "does not exist", None),
        ("a = b + 1\nb = a", "never gets a value", "circle"),
        ("x: .zero 10 - (y - x)\ny:", "never come to rest", None),
        ("mov eax, a + b\na: b: nop", "sum of addresses", None),
        ("/* open", "never closed", "*/"),
        ("mov al, 'x", "never closed", None),
    ],
)
def test_mistakes_are_explained(text: str, message: str, hint: str | None) -> None:
    error = refused(text)
    assert message in error.message
    if hint is None:
        return
    assert hint in str(error.hint)


@pytest.mark.parametrize(
    ("text", "bits"),
    [("mov rax, 1", 32), ("mov r8d, 1", 32), ("syscall", 64), ("pusha", 64), ("push es", 64),
     ("mov eax, [rel x]\nx:", 32), ("jrcxz $", 32), ("jmp 8:5", 64), ("iretq", 32),
     ("fxsave64 [eax]", 32), ("into", 64), ("cdqe", 32)],
)  # fmt: skip
def test_instructions_of_another_mode_are_refused(text: str, bits: int) -> None:
    if text == "syscall":
        assert code(text, bits) == "0f05"
    else:
        assert "code" in refused(text, bits).message


def test_symbols_from_outside_are_constants() -> None:
    assembly = assemble_text("mov al, COUNT", symbols={"COUNT": 3})
    assert assembly.image.hex() == "b003"
    assert assembly.symbols["COUNT"] == 3
    with pytest.raises(SourceError, match="from outside"):
        assemble_text("COUNT = 4", symbols={"COUNT": 3})


def test_an_impossible_origin_is_refused() -> None:
    with pytest.raises(UsageError):
        assemble_text("nop", origin=-1)
