"""Everything Keystone 0.9.2 was seen to do wrong, and what our assembler does instead."""

from __future__ import annotations

import time

import pytest
from assembling import code, refused

from toyvisor.errors import SourceError
from toyvisor.guest.assembler import assemble_file, assemble_text
from toyvisor.guest.encoder import Encoder, EncoderError
from toyvisor.modes import CpuMode


def test_decimal_numbers_stay_decimal() -> None:
    assert code("mov eax, 10") == "b80a000000"


def test_a_broken_statement_among_good_ones_is_an_error() -> None:
    error = refused("nop\nmov eax,\nret")
    assert error.location.line == 2
    assert "missing" in error.message


def test_an_open_bracket_is_an_error() -> None:
    error = refused("mov eax,[rbx\nret")
    assert "'[' is never closed" in error.message
    assert (error.location.line, error.location.column) == (1, 9)


@pytest.mark.parametrize(
    ("statement", "same_as"),
    [
        ("mov eax, [rdi-X]", "mov eax, [rdi-5]"),
        ("mov eax, [rdi+X*2]", "mov eax, [rdi+10]"),
        ("mov eax, -X", "mov eax, -5"),
        ("mov eax, 10-X", "mov eax, 5"),
    ],
)
def test_constants_are_folded(statement: str, same_as: str) -> None:
    assert code(f".equ X,5\n{statement}") == code(same_as)


def test_an_address_beyond_31_bits_is_refused_in_long_mode() -> None:
    error = refused("mov dword ptr [0xfee00000],1")
    assert "signed 32-bit" in error.message
    assert "load it into a register" in str(error.hint)


def test_a_plain_address_is_absolute_at_every_load_address() -> None:
    wanted = "c7042500000010" + "01000000"
    assert code("mov dword ptr [0x10000000],1") == wanted
    assert code("mov dword ptr [0x10000000],1", origin=0x100000) == wanted


def test_a_segment_with_a_plain_address_is_absolute() -> None:
    assert code("mov r12, gs:[0x60]") == "654c8b242560000000"


@pytest.mark.parametrize(
    ("statement", "bits"),
    [
        ("mov al,300", 64),
        ("mov eax,0x123456789", 64),
        ("push 0x123456789", 64),
        ("push 0xffffffff", 64),
        ("mov byte ptr [rax], 256", 64),
        ("add rax, 0x80000000", 64),
        ("and rax, 0xffffffff", 64),
        ("mov qword ptr [rax], 0xffffffff", 64),
        ("shl eax, 256", 64),
        ("int 256", 64),
        ("out 0x3f8, al", 64),
        ("in al, 256", 64),
        ("ret 65536", 64),
        ("push 0x10000", 16),
        ("mov ax, 0x10000", 16),
        ("aam 256", 32),
        ("mov [rdi + 0x80000000], eax", 64),
        ("mov [bx + 0x10000], ax", 16),
        ("mov [0x10000], ax", 16),
    ],
)  # fmt: skip
def test_a_number_that_does_not_fit_is_an_error(statement: str, bits: int) -> None:
    message = refused(statement, bits).message
    assert "fit" in message or "cannot be encoded" in message


def test_push_0xffff_pushes_65535() -> None:
    assert code("push 0xffff") == "68ffff0000"


@pytest.mark.parametrize("jump", ["loop", "loope", "jrcxz", "jecxz", "jmp short", "je short"])
def test_a_short_jump_that_cannot_reach_is_an_error(jump: str) -> None:
    assert "cannot reach" in refused(f"x: .zero 200\n{jump} x").message


def test_a_near_jump_that_cannot_reach_is_an_error() -> None:
    assert "cannot reach" in refused("je 0x123456789a").message


def test_a_word_that_does_not_fit_is_an_error() -> None:
    assert "70000 does not fit in 16 bits" in refused(".word 70000").message


def test_an_unknown_directive_is_an_error() -> None:
    assert "unknown directive .error" in refused('.error "x"').message


@pytest.mark.parametrize(
    "statement", ["jmp rip", "pop rip", "push rip", "mov rip, rax", "rax: nop"]
)
def test_registers_are_no_names_and_rip_no_operand(statement: str) -> None:
    assert refused(statement).location.line == 1


@pytest.mark.parametrize("name", ["byte", "ptr", "offset", "short", "xmm0", "st", "cr0", "lock"])
def test_reserved_words_are_no_labels(name: str) -> None:
    message = refused(f"{name}: nop").message
    assert "reserved" in message or "register" in message


def test_iret_in_long_mode_asks_which() -> None:
    assert "iretq" in str(refused("iret").hint)
    assert code("iretq") == "48cf"
    assert code("iret", 32) == code("iret", 16) == "cf"


def test_a_comment_does_not_run() -> None:
    assert code("; mov eax,1\nnop ; hlt\nnop # hlt\nnop // hlt\n/* hlt\nhlt */ nop") == "90" * 4


def test_comment_signs_inside_quotes_are_text() -> None:
    assert bytes.fromhex(code(".ascii \";#//\" ; a comment\nmov al, '#'")) == b";#//\xb0#"


def test_nasm_sizes_need_no_ptr() -> None:
    assert code("mov byte [rax],1") == code("mov byte ptr [rax],1") == "c60001"


def test_text_and_section_are_accepted() -> None:
    assert code(".text\n.globl _start\n.section .data\n.intel_syntax noprefix\nnop") == "90"


def test_a_high_byte_register_with_rex_is_an_error() -> None:
    error = refused("mov ah, byte ptr [r8]")
    assert "ah cannot be used together with r8" in error.message


@pytest.mark.parametrize("text", ["<<<<<<< HEAD", '.ascii "open', "rep >", "%define", "[bits"])
def test_what_hangs_keystone_is_an_error_at_once(text: str) -> None:
    started = time.monotonic()
    assert refused(text).location.line == 1
    assert time.monotonic() - started < 1


def test_bits_16_switches_the_code_width() -> None:
    assert code("[bits 16]\nmov ax, 1\nbits 32\nmov eax, 1") == "b80100" + "b801000000"


def test_define_replaces_tokens() -> None:
    assert code("%define BASE rdi\n%define OFF 1+2\nmov eax, [BASE+OFF*2]") == "8b4705"


@pytest.mark.parametrize(
    "text",
    [".zero 2000000000", ".fill 100000000", "times 2000000000 nop", ".fill 9000000, 8",
     ".org 0x7fffffffffff", "resq 1 << 40", ".rept 1 << 40\nnop\n.endr", ".zero -1",
     ".balign 1 << 40", "times 0x10000000 db 1"],
)  # fmt: skip
def test_huge_sizes_are_refused_at_once(text: str) -> None:
    started = time.monotonic()
    assert refused(text).location.line == 1
    assert time.monotonic() - started < 1


def test_an_undefined_label_is_named_with_names_like_it() -> None:
    error = refused("buffer: nop\njmp bufer")
    assert error.message == "'bufer' is not defined"
    assert error.hint == "did you mean buffer?"
    assert (error.location.line, error.location.column) == (2, 5)


def test_letters_of_every_language_may_stand_in_comments_and_texts() -> None:
    assert bytes.fromhex(code('nop ; é\n.ascii "é"')) == b"\x90\xc3\xa9"
    assert "only allowed in comments" in refused("mov é, 1").message


def test_nul_is_refused() -> None:
    with pytest.raises(Exception, match="NUL"):
        assemble_text("nop\0nop")


@pytest.mark.parametrize(
    ("students_write", "meaning"),
    [
        ("1: nop\njmp 1b", "90ebfd"),
        ("jmp 1f\nnop\n1:", "eb0190"),
        ("x: mov eax, offset x", "b800000000"),
        ("x: mov eax, [rel x]", "8b05faffffff"),
        ("x: lea rax, x", "488d042500000000"),
        ("x: jmp short x", "ebfe"),
        ("db 1, 'ab', \"c\"", "01616263"),
        ("times 3 nop", "909090"),
        ("X equ 5\ndb X", "05"),
        ("org 0x10\ndw $", "1000"),
        ("section .text\nnop", "90"),
        ("db 1010b, 0o17, 0x1F, 1fh, 0b11, 1_0", "0a0f1f1f030a"),
        ("mov ax, 'AB'", "66b84142"),
        ('mov al, "A"', "b041"),
        ('.ascii "\\x41\\n\\101"', "410a41"),
        ("mov al, '\\n'", "b00a"),
        ("resb 2\nnop", "000090"),
        ("a: db 1\nb: db 2\nc: db b - a, c - a", "01020102"),
        ("global _start\n_start: nop", "90"),
    ],
)
def test_what_students_know_from_gnu_as_and_nasm(students_write: str, meaning: str) -> None:
    assert code(students_write) == meaning


def test_a_leading_zero_asks_octal_or_decimal() -> None:
    error = refused("mov eax, 017")
    assert "decimal 17 in NASM and octal 0o17 in GNU as" in error.message
    assert error.hint == "write 17 or 0o17"
    assert "decimal 9" in refused("mov eax, 09").message
    assert code("mov al, 0") == "b000"


def test_org_counts_from_the_beginning_of_the_program() -> None:
    assert code("nop\n.org 4\nnop", origin=0x1000) == "9000000090"


@pytest.mark.parametrize(
    ("statement", "bytes_"),
    [
        ("jmp 8:0x1000", "ea00100800"),
        ("jmp 0xf000:0xfff0", "eaf0ff00f0"),
        ("ljmp 8, 0x1000", "ea00100800"),
        ("jmp dword 8:0x12345", "66ea452301000800"),
        ("call 8:0x1000", "9a00100800"),
        ("push 1", "6a01"),
        ("push 0x1234", "683412"),
        ("push dword 1", "666a01"),
        ("call 0x10", "e80d00"),
        ("ret", "c3"),
        ("retf", "cb"),
        ("iret", "cf"),
        ("ret 4", "c20400"),
    ],
)
def test_real_mode_forms(statement: str, bytes_: str) -> None:
    assert code(statement, 16) == bytes_


@pytest.mark.parametrize(
    ("statement", "bytes_"),
    [("movsd", "a5"), ("cmpsd", "a7"), ("endbr64", "f30f1efa"), ("rdpid rax", "f30fc7f8"),
     ("sysretq", "480f07"), ("sysretl", "0f07"), ("rep stosd", "f3ab"), ("movsw", "66a5")],
)  # fmt: skip
def test_instructions_keystone_does_not_know(statement: str, bytes_: str) -> None:
    assert code(statement) == bytes_


def test_incbin_reads_only_beside_the_program(tmp_path) -> None:
    (tmp_path / "data.bin").write_bytes(b"\x01\x02\x03\x04")
    program = tmp_path / "p.s"

    def image(text: str) -> str:
        program.write_text(text)
        return assemble_file(program, mode=CpuMode.LONG, origin=0, use_cache=False).image.hex()

    assert image('.incbin "data.bin"') == "01020304"
    assert image('incbin "data.bin", 1, 2') == "0203"
    for path in ("/etc/passwd", "../../../../etc/passwd", "~/x"):
        with pytest.raises(SourceError, match=r"absolute|outside"):
            image(f'.incbin "{path}"')
    (tmp_path / "link").symlink_to("/etc/passwd")
    with pytest.raises(SourceError, match="outside"):
        image('.incbin "link"')
    with pytest.raises(SourceError, match="number from 0 to 4"):
        image('.incbin "data.bin", 5')


def test_lgdt_in_protected_mode_loads_all_32_bits_of_the_base() -> None:
    assert code("lgdt [eax]", 32) == "0f0110"  # Keystone's 66 prefix would make it 24


def test_an_encoder_that_dies_or_hangs_is_replaced() -> None:
    encoder = Encoder(seconds=0.5)
    try:
        with pytest.raises(EncoderError, match="crashed"):
            encoder.encode(64, "mov ah, byte ptr [r8]")
        assert encoder.encode(64, "nop").code == b"\x90"
        with pytest.raises(EncoderError, match="took more"):
            encoder.encode(64, "[bits 16]")
        assert encoder.encode(64, "nop").code == b"\x90"
        with pytest.raises(EncoderError):
            encoder.encode(64, ".zero 2000000000")
        assert encoder.encode(64, "nop").code == b"\x90"
    finally:
        encoder.close()
