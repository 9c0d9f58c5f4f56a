"""Statements both GNU as (Intel syntax, noprefix) and we must encode alike, by code width."""

# ruff: noqa: E501, SIM905 - tables read better wide
from __future__ import annotations

from itertools import product

ALU = ("add", "or", "adc", "sbb", "and", "sub", "xor", "cmp")
SHIFTS = ("rol", "ror", "rcl", "rcr", "shl", "sal", "shr", "sar")
CONDITIONS = (
    "o no b c nae nb nc ae z e nz ne be na nbe a s ns p pe np po l nge nl ge le ng nle g".split()
)
SIZES = {1: "byte", 2: "word", 4: "dword", 8: "qword"}

R64 = ("rax", "rbx", "rsp", "rbp", "rdi", "r8", "r12", "r13", "r15")
R32 = ("eax", "ecx", "ebp", "esi")
R16 = ("ax", "dx", "sp", "di")
R8 = ("al", "cl", "ah", "bh")

MEMORY_64 = (
    "[rax]", "[rsp]", "[rbp]", "[r12]", "[r13]", "[rdi+8]", "[rdi-8]", "[rdi+0x1000]",
    "[rbx+rcx]", "[rbx+rcx*4]", "[rbx+rcx*8+16]", "[rcx*2]", "[rcx*8+0x20]", "[r8+r9*2-1]",
    "[eax]", "[eax+ecx*4]", "[rsp+rax]", "[rdi+127]", "[rdi+128]", "[rdi-128]", "[rdi-129]",
    "fs:[0x28]", "gs:[rax+8]", "[0x1234]", "[0x7fffffff]", "[rip+0x10]", "gs:[0]",
)  # fmt: skip
MEMORY_32 = (
    "[eax]", "[esp]", "[ebp]", "[edi+8]", "[edi-0x1000]", "[ebx+ecx]", "[ebx+ecx*4+16]",
    "[ecx*2]", "[0x1234]", "[0xfee00000]", "fs:[0x28]", "es:[edi]", "[bx+si]", "[bp]",
    "[esp+eax]", "[eax+0xfee00000]",
)  # fmt: skip
MEMORY_16 = (
    "[bx]", "[si]", "[di]", "[bp]", "[bx+si]", "[bx+di]", "[bp+si]", "[bp+di+4]", "[bx+8]",
    "[bx-8]", "[si+0x1000]", "[0x1234]", "es:[di]", "cs:[bx]", "[eax]", "[ebx+ecx*4+4]",
    "fs:[0x10]", "[bx+0xfff0]",
)  # fmt: skip


def _alu(registers: dict[int, tuple[str, ...]], memory: tuple[str, ...]) -> list[str]:
    found = []
    for name in (*ALU, "mov", "test"):
        for size, names in registers.items():
            first, second = names[0], names[1]
            found += [f"{name} {first}, {second}", f"{name} {second}, {first}"]
            found += [f"{name} {r}, {v}" for r in names[:2] for v in (1, -1, 0x7F)]
            found += [f"{name} {SIZES[size]} ptr {memory[0]}, 5"]
            if size > 1:
                found += [
                    f"{name} {first}, 0x1234",
                    f"{name} {second}, 128",
                    f"{name} {first}, -129",
                ]
            if size == 4:
                found += [f"{name} {r}, 0xffffffff" for r in names[:2]]
                found += [f"{name} {r}, 0x80000000" for r in names[:2]]
            if size == 8 and name != "mov":
                found += [f"{name} {first}, 0x7fffffff", f"{name} {first}, -0x80000000"]
    for size, names in registers.items():
        found += [f"mov {names[1]}, {m}" for m in memory]
        found += [f"mov {m}, {names[1]}" for m in memory]
        found += [f"add {names[0]}, {m}" for m in memory[:8]]
        found += [f"mov {SIZES[size]} ptr {m}, 1" for m in memory]
    return found


def _unary_and_shifts(registers: dict[int, tuple[str, ...]], memory: tuple[str, ...]) -> list[str]:
    found = []
    for size, names in registers.items():
        for name in ("inc", "dec", "neg", "not", "mul", "imul", "div", "idiv"):
            found += [f"{name} {names[0]}", f"{name} {SIZES[size]} ptr {memory[1]}"]
        for name in SHIFTS:
            found += [f"{name} {names[1]}, {c}" for c in ("1", "3", "cl")]
            found.append(f"{name} {SIZES[size]} ptr {memory[0]}, 4")
            found.append(f"{name} {SIZES[size]} ptr {memory[0]}, cl")
        if size > 1:
            found += [
                f"imul {names[0]}, {names[1]}", f"imul {names[0]}, {names[1]}, 5",
                f"imul {names[0]}, {names[1]}, 1000", f"imul {names[0]}, 7",
                f"imul {names[0]}, {memory[0]}", f"bsf {names[0]}, {names[1]}",
                f"bsr {names[0]}, {memory[0]}", f"bt {names[0]}, 3", f"bts {names[0]}, {names[1]}",
                f"btr {SIZES[size]} ptr {memory[0]}, 2", f"btc {memory[0]}, {names[1]}",
                f"shld {names[0]}, {names[1]}, 4", f"shrd {names[0]}, {names[1]}, cl",
                f"lea {names[0]}, {memory[0]}", f"lea {names[1]}, {memory[3]}",
                f"cmovz {names[0]}, {names[1]}", f"cmovge {names[0]}, {memory[0]}",
                f"popcnt {names[0]}, {names[1]}", f"push {names[0]}", f"pop {names[1]}",
            ]  # fmt: skip
        found += [
            f"xchg {names[0]}, {names[1]}", f"xchg {memory[0]}, {names[1]}",
            f"xadd {memory[0]}, {names[1]}", f"cmpxchg {memory[0]}, {names[1]}",
            f"lock xadd {memory[0]}, {names[1]}", f"lock inc {SIZES[size]} ptr {memory[0]}",
            f"lock cmpxchg {memory[0]}, {names[1]}", f"lock or {SIZES[size]} ptr {memory[0]}, 1",
        ]  # fmt: skip
    return found


def _common(memory: tuple[str, ...]) -> list[str]:
    found = [f"set{c} al" for c in CONDITIONS] + [f"sete byte ptr {memory[0]}"]
    found += [f"{s} {d}" for s, d in product(("movzx eax,", "movsx eax,"), ("bl", "bx"))]
    found += [f"movzx eax, byte ptr {memory[0]}", f"movsx ecx, word ptr {memory[1]}",
              f"movzx cx, byte ptr {memory[2]}", "movzx eax, ah"]  # fmt: skip
    found += """in al, 0x60|in al, dx|in ax, 0x60|in ax, dx|in eax, dx|in eax, 0x40|out 0x80, al
        |out dx, al|out 0x20, ax|out dx, ax|out dx, eax|out 0xe9, al|hlt|nop|cli|sti|cld|std|clc
        |stc|cmc|cpuid|rdtsc|rdtscp|rdmsr|wrmsr|wbinvd|invd|clts|ud2|pause|mfence|lfence|sfence
        |int 0x80|int 0x10|int3|int 3|int 255|leave|ret|ret 8|retf|retf 4|lahf|sahf|xlatb
        |movsb|movsw|movsd|cmpsb|cmpsw|cmpsd|stosb|stosw|stosd|lodsb|lodsw|lodsd|scasb|scasw|scasd
        |insb|insw|insd|outsb|outsw|outsd|rep movsb|rep movsd|rep stosb|rep stosw|rep stosd
        |repe cmpsb|repz cmpsw|repne scasb|repnz scasw|rep insb|rep outsw|cbw|cwde|cwd|cdq
        |pushf|popf|enter 16, 0|enter 0x200, 3|monitor|mwait|vmcall|vmmcall|xgetbv|rdpmc|fninit
        |finit|fnstcw word ptr MEM|fldcw word ptr MEM|fld1|fldz|fldpi|fadd st, st(1)|fld st(2)
        |fld dword ptr MEM|fstp qword ptr MEM|fild word ptr MEM|fistp dword ptr MEM|fxch st(1)
        |fsqrt|fwait|emms|ldmxcsr dword ptr MEM|fxsave MEM|fxrstor MEM|clflush byte ptr MEM
        |movups xmm0, MEM|movups MEM, xmm1|movaps xmm2, xmm3|movdqu xmm1, MEM|movdqa MEM, xmm4
        |movd xmm0, eax|movd ecx, xmm1|movss xmm0, dword ptr MEM|movsd xmm0, qword ptr MEM
        |movsd qword ptr MEM, xmm3|addsd xmm0, xmm1|mulps xmm1, xmm2|pxor xmm0, xmm0
        |paddb xmm1, xmm2|cvtsi2sd xmm0, eax|cvttsd2si eax, xmm1|ucomisd xmm0, xmm1
        |movq xmm0, qword ptr MEM|movq qword ptr MEM, xmm0|pshufd xmm0, xmm1, 0x1b|movnti MEM, ecx
        |cmpxchg8b qword ptr MEM|lock cmpxchg8b qword ptr MEM|bswap eax|lgdt MEM|lidt MEM|sgdt MEM
        |sidt MEM|lldt ax|ltr cx|str ax|sldt bx|smsw ax|lmsw ax|invlpg MEM|verr ax|verw cx
        |mov ds, ax|mov es, bx|mov ss, ax|mov fs, cx|mov gs, dx|mov ax, ds|mov eax, cs|mov bx, ss
        |mov word ptr MEM, es|mov ds, word ptr MEM|push fs|push gs|pop fs|pop gs|endbr64|endbr32
        |lar eax, ecx|lsl eax, ebx|prefetcht0 MEM|prefetchnta MEM|crc32 eax, cl|movbe eax, MEM
        |push word ptr MEM|pop word ptr MEM|jmp MEMF|call MEMF|lss eax, MEM|rep ret|sysenter
        |nop dword ptr MEM|nop word ptr MEM|stac|clac|rsm|lar ax, bx|lsl ecx, bx|wait|xlat
        |pextrw eax, xmm1, 3|pinsrw xmm2, eax, 1|movmskps eax, xmm1|cmpps xmm0, xmm1, 2
        |cmpltps xmm0, xmm1|shufps xmm0, xmm1, 3|psrldq xmm1, 4|aesenc xmm0, xmm1|palignr xmm0, xmm1, 4
        |pmovmskb eax, xmm0|movhlps xmm0, xmm1|sqrtsd xmm1, xmm0|maxss xmm0, xmm1""".replace(
        "\n", ""
    ).split("|")
    return [s.strip().replace("MEMF", f"word ptr {memory[0]}" if memory is MEMORY_16
             else f"{'q' if memory is MEMORY_64 else 'd'}word ptr {memory[0]}")
             .replace("MEM", memory[3]) for s in found]  # fmt: skip


_BRANCHES = (
    [f"j{c} . + 10" for c in CONDITIONS]
    + [f"j{c} . + 0x1000" for c in CONDITIONS[:6]]
    + ["jmp . + 4", "jmp . - 100", "jmp . + 129", "jmp . + 130", "jmp . - 126", "jmp . - 127",
       "jmp . + 0x2000", "call . + 5", "call . - 0x800", "loop . - 5", "loope . + 2",
       "loopne . - 3", "loopz . + 2", "loopnz . - 3", "jmp .", "jmp $"]
)  # fmt: skip
_SYSTEM_32 = ["mov eax, cr0", "mov cr3, eax", "mov cr4, ecx", "mov eax, dr7", "mov dr0, ebx"]
_LEGACY = """push cs|push ds|push es|push ss|pop ds|pop es|pop ss|pusha|popa|into|aaa|aas|daa|das|aam|aad
    |les ebx, [ebx]|lds eax, [ebx]|bound eax, [ebx]|push 1|push -1|push 127|push 128|push 0x1234
    |aam 16|aad 8|jmp 8:0x1000|call 8:0x1000|jmp 0xf000:0xfff0|ljmp 8, 0x1000|lcall 8, 0x1000""".replace(
    "\n", ""
)

STATEMENTS: dict[int, list[str]] = {
    64: _alu({1: R8[:2], 2: R16, 4: R32, 8: R64}, MEMORY_64)
    + _unary_and_shifts({1: R8, 2: R16, 4: R32, 8: R64}, MEMORY_64)
    + _common(MEMORY_64) + _BRANCHES
    + [f"mov {r}, 1" for r in R64] + [f"push {r}" for r in R64] + [f"pop {r}" for r in R64]
    + [f"lea rax, {m}" for m in MEMORY_64 if ":" not in m]
    + [f"movups {m}, xmm9" for m in MEMORY_64]
    + [f"cmp dword ptr {m}, 1000" for m in MEMORY_64]
    + """mov rax, 0x80000000|mov rax, 0xffffffff|mov rax, -0x80000000|mov rax, 0x123456789abcdef0
    |mov rax, 0xffffffffffffffff|mov r9, 0x7fffffff|movabs rax, 5|mov r10d, -1|mov eax, 0xffffffff
    |add rax, 0xffffffffffffffff|and rax, 0xfffffffffffffff0|and rsp, -16|mov rax, cr0|mov cr3, rax
    |mov cr4, rcx|mov rax, cr8|mov cr8, rdx|mov rax, dr6|mov dr7, rax|pushfq|popfq|iretq|iretd|retfq
    |lretq|sysretq|sysretl|syscall|swapgs|cdqe|cqo|movsq|stosq|lodsq|cmpsq|scasq|rep movsq|rep stosq
    |movsxd rax, ecx|movsxd rbx, dword ptr [rsi]|movsx rax, ebx|movsx rax, bl|movzx rax, cx
    |movzx r9, byte ptr [rax]|cmpxchg16b xmmword ptr [rdi]|lock cmpxchg16b [rdi]|bswap r11|rdpid rax
    |rdpid r9|jmp rax|call r10|jmp qword ptr [rax+rbx*8]|call qword ptr [rip+8]|jrcxz . + 4
    |jecxz . + 4|movq xmm0, rax|movq r8, xmm1|movd xmm9, r9d|cvtsi2sd xmm0, rax|push 1|push -1
    |push 127|push 128|push 0x12345678|push -0x80000000|push qword ptr [rax]|pop qword ptr [rbx+8]
    |push word ptr [rax]|push word ptr 5|mov sil, 1|mov r8b, r9b|mov spl, dil|add r8w, 5|xor r15d, r15d
    |in eax, dx|invpcid rax, [rbx]|xsave [rdi]|xrstor [rdi]|rdfsbase rax|wrgsbase rcx|fxsave64 [rdi]
    |movabs rax, [0x1122334455667788]|movabs [0x1122334455667788], al|lea rax, [rip]|lea eax, [rdi+4]
    |mov rax, [rip-4]|test byte ptr [rdi], 0x80|movdqu xmm8, [r8+r9*8+64]|vaddps ymm0, ymm1, ymm2
    |vmovups ymm1, [rax]|vpxor xmm0, xmm1, xmm2|andn eax, ebx, ecx|shlx rax, rbx, rcx|tzcnt eax, ebx
    |lzcnt rax, rbx|sgdt [rax]|lock add qword ptr [rax], 1|xchg rax, r8|xchg eax, eax|nop
    |mov rax, fs:0x28|mov eax, dword ptr [rbp+rbp]|mov eax, [rsp+rbp*2]|mov eax, [rbx+rsp]
    |mov eax, 5[rdi]|mov eax, [rdi][8]|mov eax, [rdi+rsi][4]|crc32 rax, bl|ltr ax|ljmp [rax]
    |call fword ptr [rax]|jmp fword ptr [rbx+4]|mov word ptr [rdi+14], 0x1000""".replace("\n", "")
    .split("|"),
    32: _alu({1: R8, 2: R16, 4: R32}, MEMORY_32)
    + _unary_and_shifts({1: R8, 2: R16, 4: R32}, MEMORY_32)
    + _common(MEMORY_32) + _BRANCHES + _SYSTEM_32 + _LEGACY.split("|")
    + """pushad|popad|pushfd|popfd|iretd|iret|push eax|pop ecx|jmp eax|call [eax]|jmp dword ptr [eax*4+8]
    |jcxz . + 5|jecxz . + 5|push dword ptr [esp+4]|push 0xffffffff|push 0x80000000|mov eax, [ebp+8]
    |sysexit|jmp 0x10:0x12345678|mov eax, fs:[0]|push offset 5|inc ax|dec ebx|jmp fword ptr [eax]
    |call fword ptr [eax]|mov ah, bh|push word ptr 5|pushaw|popaw|ljmp [eax]""".replace("\n", "").split("|"),
    16: _alu({1: R8, 2: R16, 4: R32}, MEMORY_16)
    + _unary_and_shifts({1: R8, 2: R16, 4: R32}, MEMORY_16)
    + _common(MEMORY_16) + _BRANCHES + _SYSTEM_32
    + [s for s in _LEGACY.split("|") if "[ebx]" not in s]
    + """les bx, [bx]|lds si, [bx]|bound ax, [bx]|iret|push ax|push eax|jmp ax|call bx|call [bx]
    |call word ptr [bx]|jmp word ptr [si]|jmp dword ptr [si]|push word ptr [bx]|push dword ptr [bx]
    |jcxz . + 5|jecxz . + 5|pushad|popad|pushfd|popfd|iretd|mov ax, es:[di]|mov al, cs:[bx+5]
    |push 0xffff|push 0x8000|ljmp [bx]|mov sp, 0x7c00|mov eax, 0x12345678|push dword ptr 5
    |lcall [bx]|lgdt [0x7c20]""".replace("\n", "").split("|"),
}  # fmt: skip
STATEMENTS = {
    bits: list(dict.fromkeys(s.strip() for s in statements))
    for bits, statements in STATEMENTS.items()
}
