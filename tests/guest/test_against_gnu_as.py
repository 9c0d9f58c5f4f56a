"""Our encodings against GNU as, statement by statement, in 16-, 32- and 64-bit code."""

from __future__ import annotations

import re

import pytest
from assembling import MODES
from gnu_as import assemble, needs_gnu_as
from gnu_corpus import STATEMENTS

from toyvisor.errors import SourceError
from toyvisor.guest.assembler import assemble_text

pytestmark = needs_gnu_as

# What GNU as takes and we refuse, on purpose.
REFUSED = {
    16: {
        # Keystone drops the prefix of SSE instructions in 16-bit code; nobody needs them there.
        "movdqa [bp], xmm4", "movd xmm0, eax", "movd ecx, xmm1", "pxor xmm0, xmm0",
        "paddb xmm1, xmm2", "ucomisd xmm0, xmm1", "movq qword ptr [bp], xmm0",
        "pshufd xmm0, xmm1, 0x1b", "pextrw eax, xmm1, 3", "pinsrw xmm2, eax, 1",
        "psrldq xmm1, 4", "aesenc xmm0, xmm1", "palignr xmm0, xmm1, 4", "pmovmskb eax, xmm0",
        # Far for GNU as, near for NASM.
        "jmp dword ptr [si]",
        # `ptr` before a number that is no memory.
        "push dword ptr 5",
    },
    32: {"push word ptr 5"},
    64: {"push word ptr 5"},
}  # fmt: skip
ONLY_OURS = {64: {"sysretl"}, 32: set[str](), 16: set[str]()}


def equivalent(ours: bytes, theirs: bytes, statement: str) -> bool:
    """The differences that mean nothing, each by its own rule."""
    # The order of prefixes (SDM vol. 2, 2.1.1).
    if statement.startswith(("lock", "rep")):
        return sorted(ours[:3]) == sorted(theirs[:3]) and ours[3:] == theirs[3:]
    # [bp+si] with a displacement of zero bytes or of one byte 0.
    if "[bp+si]" in statement:
        return re.sub(rb"\A(..?)?([\x4a\x42\x52])\x00", _without_displacement, ours) == theirs
    # The hint NOPs 0f 18 /4 and 0f 1f /0 do the same nothing.
    if statement.startswith("nop"):
        return len(ours) == len(theirs)
    # A segment register is stored as 16 bits whatever the operand size.
    if re.fullmatch(r"mov word ptr .*, es", statement):
        return ours == b"\x66" + theirs
    # rbp + rbp is rbp * 2, and both default to a zero displacement; only ds and ss differ,
    # which in 64-bit code have no base.
    return statement == "mov eax, dword ptr [rbp+rbp]"


def _without_displacement(match: re.Match[bytes]) -> bytes:
    return (match.group(1) or b"") + bytes([match.group(2)[0] - 0x40])


@pytest.mark.parametrize("bits", [16, 32, 64])
def test_every_statement_is_encoded_as_gnu_as_does(bits: int, tmp_path) -> None:
    statements = STATEMENTS[bits]
    address, different = 0, []
    for statement, theirs in zip(statements, assemble(statements, bits, tmp_path), strict=True):
        try:
            ours = assemble_text(statement, mode=MODES[bits], origin=address).image
        except SourceError as error:
            ours = None
            reason = error.message
        address += len(theirs or b"")
        if ours == theirs:
            continue
        if ours is None:
            if statement not in REFUSED[bits]:
                different.append(f"{statement}: {theirs.hex()}, we refuse: {reason}")
        elif theirs is None:
            if statement not in ONLY_OURS[bits]:
                different.append(f"{statement}: GNU as refuses, ours {ours.hex()}")
        elif not equivalent(ours, theirs, statement):
            different.append(f"{statement}: {theirs.hex()}, ours {ours.hex()}")
    assert not different, "\n".join(different)
    assert len(statements) > 1000


PROGRAMS = {
    64: """
        .equ BASE, 0x1000
        start:  lea rdi, [rip + message]
                mov ecx, offset length
        1:      mov al, [rdi]
                test al, al
                jz 2f
                inc rdi
                call far_away
                loop 1b
        2:      jmp start
                .balign 8, 0xcc
        table:  .quad start, message - start, BASE * 2 + 1
        message: .asciz "text\\n"
        length = . - message
                .zero 150
        far_away: cmp dword ptr [rdi + BASE], 'A'
                jne start
                jmp 3f
                .skip 120
        3:      ret
        """,
    16: """
        start:  mov si, offset message
        1:      lodsb
                test al, al
                jz done
                mov dx, 0x3f8
                out dx, al
                jmp 1b
        done:   hlt
                jmp done
        message: .ascii "hi", "there"
                .byte 0, 1, -1, 255
                .word 0x1234, -1
                .org 200
                .long message, 5 - 3, ~0
        """,
    32: """
        1:      mov eax, [table + 4]
        before:
                mov ebx, [table + eax * 4]
                mov dword ptr [ebx + 4], 7
                jecxz end
                .p2align 4, 0xcc
        table:  .long 1, 2, . - table, .
                .fill 3, 2, 0x4142
        end:    ret
        """,
}


@pytest.mark.parametrize("bits", [16, 32, 64])
def test_whole_programs_are_laid_out_as_gnu_as_does(bits: int, tmp_path) -> None:
    marked = PROGRAMS[bits].strip("\n")
    theirs = assemble(marked.split("\n"), bits, tmp_path)
    ours = assemble_text(marked, mode=MODES[bits]).image
    assert ours == b"".join(t or b"" for t in theirs)
