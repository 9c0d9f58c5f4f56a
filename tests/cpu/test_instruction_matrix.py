"""Every instruction that can touch a device works on one, exactly as it does on RAM.

Each form runs twice from the same state: its operand in RAM, then in a hole where every
access exits. Registers, flags and memory must end alike; at each exit the flags are those
from before the instruction, RIP is on it, and its successor has not begun.
"""

from __future__ import annotations

import pytest
from harness import (
    HOLE,
    HOLE_END,
    HOLE_OPERAND,
    RAM_OPERAND,
    Bench,
)

from toyvisor.exit_reasons import ExitReason

PATTERN = bytes(range(0x81, 0x81 + 64))
ARITHMETIC_FLAGS = 0x8D5
# What comes before and after: flags that the instruction must not disturb before its exit,
# and a successor that must not have begun.
BEFORE = "mov ebp, 5\ncmp ebp, 6\n"
AFTER = "mov ebp, 0x7e57\nhlt\n"

WIDTHS = {1: ("byte", "al"), 2: ("word", "ax"), 4: ("dword", "eax"), 8: ("qword", "rax")}


def _forms_for_width(size: int) -> dict[str, str]:
    ptr, reg = WIDTHS[size]
    m = f"{ptr} ptr [OP]"
    forms = {
        f"mov {ptr} load": f"mov {reg}, {m}",
        f"mov {ptr} store": f"mov {m}, {reg}",
        f"mov {ptr} immediate": f"mov {m}, 0x12",
        f"xchg {ptr}": f"xchg {m}, {reg}",
        f"cmpxchg {ptr}": f"cmpxchg {m}, {reg.replace('a', 'b')}",
        f"lock cmpxchg {ptr}": f"lock cmpxchg {m}, {reg.replace('a', 'b')}",
        f"xadd {ptr}": f"xadd {m}, {reg}",
        f"lock xadd {ptr}": f"lock xadd {m}, {reg}",
        f"not {ptr}": f"not {m}",
        f"neg {ptr}": f"neg {m}",
        f"inc {ptr}": f"inc {m}",
        f"dec {ptr}": f"dec {m}",
        f"test {ptr}": f"test {m}, {reg}",
        f"shl {ptr}": f"shl {m}, 3",
        f"rol {ptr}": f"rol {m}, 1",
        f"mul {ptr}": f"mul {m}",
        f"setcc+{ptr}": "setb byte ptr [OP]",
    }
    for name in ("add", "sub", "and", "or", "xor", "adc", "sbb", "cmp"):
        forms[f"{name} {ptr} to memory"] = f"{name} {m}, {reg}"
        forms[f"{name} {ptr} from memory"] = f"{name} {reg}, {m}"
    for name in ("add", "or", "inc", "dec"):
        if name in ("add", "or"):
            forms[f"lock {name} {ptr}"] = f"lock {name} {m}, {reg}"
        else:
            forms[f"lock {name} {ptr}"] = f"lock {name} {m}"
    if size > 1:
        wide = reg
        for source in (1, 2, 4):
            if source < size:
                name = WIDTHS[source][0]
                if source < 4:
                    forms[f"movzx {ptr} from {name}"] = f"movzx {wide}, {name} ptr [OP]"
                    forms[f"movsx {ptr} from {name}"] = f"movsx {wide}, {name} ptr [OP]"
                else:
                    forms["movsxd"] = "movsxd rax, dword ptr [OP]"
        forms[f"bt {ptr}"] = f"bt {m}, 3"
        forms[f"bts {ptr}"] = f"bts {m}, 3"
        forms[f"shld {ptr}"] = f"shld {m}, {reg}, 5"
        forms[f"cmov {ptr}"] = f"cmovb {reg}, {m}"
        forms[f"imul {ptr}"] = f"imul {reg}, {m}"
        forms[f"bsf {ptr}"] = f"bsf {reg}, {m}"
    return forms


STRINGS = {
    "movs{s} out": ("movs{s}", "di"),
    "movs{s} in": ("movs{s}", "si"),
    "movs{s} device to device": ("movs{s}", "both"),
    "stos{s}": ("stos{s}", "di"),
    "lods{s}": ("lods{s}", "si"),
    "scas{s}": ("scas{s}", "di"),
    "cmps{s}": ("cmps{s}", "both"),
}
SSE = {
    "movups load": "movups xmm0, [OP]\nmovups [0x9700], xmm0",
    "movups store": "movups xmm0, [0x9700]\nmovups [OP], xmm0",
    "movaps load": "movaps xmm0, [OP]\nmovaps [0x9700], xmm0",
    "movaps store": "movaps xmm0, [0x9700]\nmovaps [OP], xmm0",
    "movdqu load": "movdqu xmm1, [OP]\nmovdqu [0x9700], xmm1",
    "movq store": "movq xmm0, qword ptr [0x9700]\nmovq qword ptr [OP], xmm0",
    "movd store": "movd xmm0, dword ptr [0x9700]\nmovd dword ptr [OP], xmm0",
    "movss load": "movss xmm0, dword ptr [OP]\nmovss dword ptr [0x9700], xmm0",
    "paddd": "paddd xmm0, xmmword ptr [OP]\nmovups [0x9700], xmm0",
    "fld/fstp m64": "fld qword ptr [OP]\nfstp qword ptr [0x9700]",
    "fild/fistp m32": "fild dword ptr [0x9700]\nfistp dword ptr [OP]",
    "fild m16": "fild word ptr [OP]\nfistp word ptr [0x9700]",
}


def _long_mode_cases() -> list:
    cases = []
    for size in WIDTHS:
        for name, text in _forms_for_width(size).items():
            cases.append(pytest.param(text.replace("OP", "rdi"), id=name))
    cases += [
        pytest.param("push qword ptr [rdi]\npop rax", id="push m64"),
        pytest.param("push rax\npop qword ptr [rdi]", id="pop m64"),
        pytest.param("push word ptr [rdi]\npop ax", id="push m16"),
        pytest.param("cmpxchg8b qword ptr [rdi]", id="cmpxchg8b"),
        pytest.param("cmpxchg16b xmmword ptr [rdi]", id="cmpxchg16b"),
        pytest.param("lock cmpxchg16b xmmword ptr [rdi]", id="lock cmpxchg16b"),
        pytest.param("movbe eax, dword ptr [rdi]", id="movbe"),
        pytest.param("xlatb", id="xlatb"),
        pytest.param("bts dword ptr [rdi], ecx", id="bts by register"),
    ]
    cases = [c for c in cases if c.id != "movbe"]
    for name, text in SSE.items():
        code = text.replace("[OP]", "[rdi]").replace("[0x9700]", "[rbx]")
        cases.append(pytest.param(f"mov ebx, 0x9700\n{code}", id=name))
    return cases


def run_both(bits: int, source: str, *, shift: int = 0, **registers: int) -> tuple[Bench, Bench]:
    """The same code with its operand in RAM and in the hole; both benches, ended."""
    benches = []
    for operand in (RAM_OPERAND, HOLE_OPERAND):
        at = operand + shift
        where = {"rdi": at, "rax": 0x1122_3344_5566_7788, "rbx": 0x99AA_BBCC_DDEE_FF00} | registers
        where = {k: at if v == "operand" else v for k, v in where.items()}
        bench = Bench(bits, BEFORE + source + "\n" + AFTER, **where)
        bench.fill(RAM_OPERAND - 256, PATTERN)
        bench.fill(at, PATTERN)
        end = bench.run()
        assert end.reason == ExitReason.HLT, end
        benches.append(bench)
    return benches[0], benches[1]


def assert_alike(ram: Bench, hole: Bench, pointers: tuple[str, ...] = ("rdi",)) -> None:
    """Registers (but those that hold the operand's address), flags and memory agree."""
    assert len(ram.exits) == 1, "the RAM run must not exit before HLT"
    assert len(hole.exits) > 1, "the device run must exit"
    ram_state, hole_state = ram.state, hole.state
    difference = HOLE_OPERAND - RAM_OPERAND
    for name in ram_state:
        expected = ram_state[name]
        if name in pointers:
            expected += difference
        assert hole_state[name] == expected, name
    assert hole.peek(HOLE_OPERAND - 64, 192) == ram.peek(RAM_OPERAND - 64, 192)
    assert hole.peek(RAM_OPERAND - 256, 64) == ram.peek(RAM_OPERAND - 256, 64)


def assert_precise(hole: Bench, first_line: int = 3) -> None:
    """At every exit: the instruction has not completed, nor has the next begun."""
    for exit_ in hole.exits[:-1]:
        line = hole.listing.at(exit_.rip)
        assert line is not None
        assert line.location.line >= first_line
        assert exit_.registers["rbp"] & 0xFFFF == 5, "the next instruction ran before the exit"


@pytest.mark.parametrize("source", _long_mode_cases())
def test_long_mode_instruction_on_a_device_does_what_it_does_on_ram(source: str) -> None:
    ram, hole = run_both(64, source, rcx=0x0102_0304_0506_0708 if "bts" not in source else 9)
    if source == "xlatb":
        pytest.skip("checked below: its operand is at rbx+al")
    assert_alike(ram, hole)
    assert_precise(hole)
    first = hole.exits[0]
    if source.count("\n") == 0:
        assert first.rflags & ARITHMETIC_FLAGS == 0x95, "flags of `cmp 5, 6` at the exit"
    ram.close()
    hole.close()


def test_xlatb_reads_one_byte_of_the_device() -> None:
    with Bench(64, "xlatb\nhlt", rbx=HOLE_OPERAND, rax=3) as bench:
        bench.fill(HOLE_OPERAND, PATTERN)
        bench.run()
        assert bench.accesses == [("read", HOLE_OPERAND + 3, 1, 0)]
        assert bench.state["rax"] == PATTERN[3]


@pytest.mark.parametrize("suffix", ["b", "w", "d", "q"])
@pytest.mark.parametrize("name", STRINGS)
@pytest.mark.parametrize("repeat", ["", "rep", "rep backwards"])
@pytest.mark.parametrize("bits", [64, 32])
def test_string_instruction_on_a_device(bits: int, repeat: str, name: str, suffix: str) -> None:
    if bits == 32 and suffix == "q":
        pytest.skip("no 8-byte string instructions in 32-bit code")
    text, in_hole = STRINGS[name]
    prefix = "rep " if repeat else ""
    if repeat and text.startswith(("scas", "cmps")):
        prefix = "repne "
    down = "std\n" if "backwards" in repeat else ""
    code = down + prefix + text.format(s=suffix)
    size = {"b": 1, "w": 2, "d": 4, "q": 8}[suffix]
    ram_side = RAM_OPERAND - 128
    registers = {"rcx": 3}
    registers["rdi"] = "operand" if in_hole in ("di", "both") else ram_side
    registers["rsi"] = "operand" if in_hole in ("si", "both") else ram_side
    ram, hole = run_both(bits, code, **registers)
    pointers = {"di": ("rdi",), "si": ("rsi",), "both": ("rsi", "rdi")}[in_hole]
    assert_alike(ram, hole, pointers)
    assert_precise(hole)
    count = 3 if repeat else 1
    directions = {"movs": 2 if in_hole == "both" else 1, "cmps": 2}.get(text[:4], 1)
    accesses = hole.accesses
    assert len(accesses) <= count * directions
    assert {size_ for _, _, size_, _ in accesses} == {size}
    if not text.startswith(("scas", "cmps")):
        assert len(accesses) == count * directions
    ram.close()
    hole.close()


@pytest.mark.parametrize("bits", [32, 16])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_protected_and_real_mode_instructions_on_a_device(bits: int, size: int) -> None:
    forms = _forms_for_width(size)
    for name, text in forms.items():
        ram, hole = run_both(bits, text.replace("OP", "edi" if bits == 32 else "di"))
        assert_alike(ram, hole)
        assert_precise(hole)
        ram.close()
        hole.close()
        assert name


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("mov [rdi], rax", [("write", 8)]),
        ("mov rax, [rdi]", [("read", 8)]),
        ("mov byte ptr [rdi], 1", [("write", 1)]),
        ("movups [rdi], xmm0", [("write", 8), ("write", 8)]),
        ("movups xmm0, [rdi]", [("read", 8), ("read", 8)]),
        ("add dword ptr [rdi], 1", [("read", 4), ("write", 4)]),
        ("xchg [rdi], ax", [("read", 2), ("write", 2)]),
        ("cmp byte ptr [rdi], 1", [("read", 1)]),
        ("mov eax, [rdi+1]", [("read", 4)]),
        ("mov rax, [rdi+3]", [("read", 8)]),
        ("mov [rdi+5], rax", [("write", 8)]),
    ],
)
def test_an_access_is_one_exit_of_its_own_width(source: str, expected: list) -> None:
    with Bench(64, source + "\nhlt", rdi=HOLE_OPERAND) as bench:
        bench.run()
        assert [(kind, size) for kind, _, size, _ in bench.accesses] == expected


@pytest.mark.parametrize("size", [2, 4, 8])
@pytest.mark.parametrize("first", range(1, 8))
@pytest.mark.parametrize("load", [True, False])
def test_an_access_across_two_device_pages_is_cut_at_the_page_end(
    size: int, first: int, load: bool
) -> None:
    if first >= size:
        pytest.skip("does not cross")
    reg = {2: "ax", 4: "eax", 8: "rax"}[size]
    at = HOLE + 0x1000 - first
    source = f"mov {reg}, [rdi]" if load else f"mov [rdi], {reg}"
    value = 0x8877665544332211 & (1 << 8 * size) - 1
    with Bench(64, source + "\nhlt", rdi=at, rax=0 if load else value) as bench:
        if load:
            bench.fill(at, value.to_bytes(size, "little"))
        bench.run()
        kind = "read" if load else "write"
        low, high = value & (1 << 8 * first) - 1, value >> 8 * first
        assert bench.accesses == [
            (kind, at, first, 0 if load else low),
            (kind, HOLE + 0x1000, size - first, 0 if load else high),
        ]
        assert bench.peek(at, size) == value.to_bytes(size, "little")
        assert bench.state["rax"] == value


@pytest.mark.parametrize("load", [True, False])
def test_an_access_from_a_device_into_ram_exits_for_the_devices_part_only(load: bool) -> None:
    at = HOLE_END - 3
    source = "mov rax, [rdi]" if load else "mov [rdi], rax"
    value = 0x8877665544332211
    with Bench(64, source + "\nhlt", rdi=at, rax=0 if load else value) as bench:
        if load:
            bench.fill(at, value.to_bytes(8, "little"))
        bench.run()
        kind = "read" if load else "write"
        assert bench.accesses == [(kind, at, 3, 0 if load else value & 0xFFFFFF)]
        assert bench.peek(at, 8) == value.to_bytes(8, "little")
        assert bench.state["rax"] == value


@pytest.mark.parametrize("in_ram", [1, 2, 5, 7])
@pytest.mark.parametrize("load", [True, False])
def test_an_access_from_ram_into_a_device_exits_for_the_devices_part_only(
    in_ram: int, load: bool
) -> None:
    at = HOLE - in_ram
    source = "mov rax, [rdi]" if load else "mov [rdi], rax"
    value = 0x8877665544332211
    with Bench(64, f"nop\ncmp eax, 6\n{source}\nnop\nhlt", rdi=at) as bench:
        bench.cpu.registers.write("rax", 0 if load else value)
        if load:
            bench.fill(at, value.to_bytes(8, "little"))
        bench.run()
        part = value >> 8 * in_ram
        assert bench.accesses == [
            ("read" if load else "write", HOLE, 8 - in_ram, 0 if load else part)
        ]
        assert bench.listing.at(bench.exits[0].rip).location.line == 3
        assert bench.peek(at, 8) == value.to_bytes(8, "little")
        assert bench.state["rax"] == value
        assert bench.cpu.now() == 5


def test_a_read_modify_write_from_ram_into_a_device_does_each_part_once() -> None:
    with Bench(64, "add dword ptr [rdi], 1\nadc dword ptr [rdi], 0\nhlt", rdi=HOLE - 2) as bench:
        bench.fill(HOLE - 2, b"\xff\xff\xff\xff")
        bench.run()
        assert bench.accesses == [
            ("read", HOLE, 2, 0), ("write", HOLE, 2, 0),
            ("read", HOLE, 2, 0), ("write", HOLE, 2, 0),
        ]  # fmt: skip
        assert bench.peek(HOLE - 2, 4) == b"\x01\0\0\0"


def test_the_first_touch_of_a_page_is_a_violation_and_later_ones_are_misconfigurations() -> None:
    with Bench(64, "mov al, [rdi]\nmov al, [rdi+8]\nmov al, [rdi+0x1000]\nhlt", rdi=HOLE) as bench:
        bench.run()
        reasons = [e.reason.name for e in bench.exits[:-1]]
        assert reasons == ["EPT_VIOLATION", "EPT_MISCONFIG", "EPT_VIOLATION"]
        assert bench.exit_counts[48] == 2
        assert bench.exit_counts[49] == 1


FLAG_SETTERS = [
    "cmp eax, ebx", "sub eax, ebx", "add eax, ebx", "sbb eax, ebx", "adc eax, ebx",
    "and eax, ebx", "or eax, ebx", "xor eax, ebx", "test eax, ebx", "neg eax", "inc eax",
    "dec eax", "shl eax, 1", "shr eax, 1", "sar eax, 1", "shl eax, 7", "shr eax, cl",
    "rol eax, 3", "ror eax, 1", "rcl eax, 1", "mul ebx", "imul eax, ebx", "bt eax, 5",
    "bsf eax, ebx", "bsr eax, ebx", "shld eax, ebx, 4", "shrd eax, ebx, 4",
    "cmpxchg ecx, ebx", "xadd eax, ebx", "popcnt eax, ebx", "stc", "clc", "cmc", "sahf",
    "cmp al, bl", "cmp ax, bx", "cmp rax, rbx", "add al, bl", "aaa" , "std", "cld",
]  # fmt: skip
OPERANDS = [(5, 6), (6, 5), (0, 0), (0x80000000, 1), (0xFFFFFFFF, 1), (0x7F, 0x80)]
TRAPS = {
    "store": "mov [rdi], ebx",
    "load": "mov ebp, [rdi]",
    "rmw": "or dword ptr [rdi], ecx",
    "push": "push qword ptr [rdi]",
    "out": "out 0xe9, al",
    "in": "in al, 0x60",
}


@pytest.mark.parametrize("trap", TRAPS)
@pytest.mark.parametrize("setter", [s for s in FLAG_SETTERS if s != "aaa"])
def test_flags_at_an_exit_are_those_the_last_instruction_left(setter: str, trap: str) -> None:
    for a, b in OPERANDS:
        state = {"rax": a, "rbx": b, "rcx": 3, "rdi": HOLE_OPERAND}
        with Bench(64, f"nop\n{setter}\nhlt", **state) as plain:
            plain.run()
            expected = plain.state["rflags"]
        source = f"nop\n{setter}\n{TRAPS[trap]}\nmov r15d, 7\nhlt"
        with Bench(64, source, **state) as bench:
            exit_ = bench.step()
            assert exit_.rflags == expected, (a, b)
            assert exit_.registers["r15"] == 0
            assert bench.listing.at(exit_.rip).location.line == 3


@pytest.mark.parametrize(
    "jump", ["je", "jne", "jb", "jae", "jl", "jge", "jle", "jg", "js", "jo", "jp", "ja"]
)
@pytest.mark.parametrize("trap", ["mov [rdi], ebx", "mov ebp, [rdi]", "out 0xe9, al"])
def test_a_compare_before_a_trapping_instruction_and_the_jump_after_it_agree(
    jump: str, trap: str
) -> None:
    for a, b in OPERANDS:
        results = []
        for middle in ("nop", trap):
            source = f"cmp eax, ebx\n{middle}\n{jump} 1f\nmov esi, 1\nhlt\n1: mov esi, 2\nhlt"
            with Bench(64, source, rax=a, rbx=b, rdi=HOLE_OPERAND) as bench:
                bench.run()
                results.append(bench.state["rsi"])
        assert results[0] == results[1], (a, b)
