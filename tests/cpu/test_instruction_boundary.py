"""Asked at an exit, the guest stops right behind the instruction that exited: once, and whole.

That is where KVM injects the interrupt that a device's answer brought. Every form of the
instruction matrix is asked at each of its exits; what it has done by then, and what comes of
it in the end, is what it does unasked.
"""

from __future__ import annotations

import re

import pytest
from harness import HOLE_OPERAND, RAM_OPERAND, Bench
from test_instruction_matrix import (
    AFTER,
    BEFORE,
    FLAG_SETTERS,
    OPERANDS,
    PATTERN,
    TRAPS,
    _forms_for_width,
    _long_mode_cases,
)

from toyvisor.cpu.exit_door import AT_BOUNDARY
from toyvisor.cpu.registers import GENERAL
from toyvisor.exit_reasons import ExitReason

#: Unicorn can't give these up: they stop at the end of their block (or HLT comes first).
IN_C = re.compile("cmpxchg8b|cmpxchg16b")
STATE = {"rax": 0x1122_3344_5566_7788, "rbx": 0x99AA_BBCC_DDEE_FF00, "rcx": 9}


class Stopped:
    """One run, asked to stop at the boundary at its `asked`-th exit (None: never)."""

    def __init__(self, bits: int, source: str, asked: int | None, **registers: int) -> None:
        self.source = source
        self.bench = bench = Bench(bits, source, **registers)
        bench.cpu.enable_interrupts()
        bench.fill(RAM_OPERAND - 256, PATTERN)
        bench.fill(HOLE_OPERAND, PATTERN)
        self.accesses: list[tuple] = []
        #: at each boundary: registers, the line RIP is on, instructions so far
        self.boundaries: list[tuple[dict[str, int], int, int]] = []
        self._run(asked)
        self.end = {**bench.state, "now": bench.cpu.now()}
        self.memory = bench.peek(HOLE_OPERAND - 64, 192), bench.peek(RAM_OPERAND - 320, 192)

    def _run(self, asked: int | None) -> None:
        bench, cpu = self.bench, self.bench.cpu
        reply = 0
        while True:
            raw = cpu.enter(reply)
            reply = 0
            if raw[0] == AT_BOUNDARY:
                state = dict(zip(GENERAL, cpu.registers.general(), strict=True))
                line = bench.listing.at(cpu.view.rip())
                self.boundaries.append((state, line.location.line, cpu.now()))
                continue
            if raw[0] == ExitReason.HLT:
                return
            reply = self._answer(raw)
            if asked is not None and len(self.accesses) == asked + 1:
                cpu.boundary.arm()

    def _answer(self, raw: tuple) -> int:
        reason, address, size, is_write, value, *_ = raw
        self.accesses.append((reason, address, size, is_write, value))
        if reason == ExitReason.IO_INSTRUCTION:
            return 0 if is_write else 0x5A5A5A5A & (1 << 8 * size) - 1
        at = address - 0xC000
        if is_write:
            self.bench.shadow[at : at + size] = value.to_bytes(size, "little")
            return 0
        return int.from_bytes(self.bench.shadow[at : at + size], "little")


def outcome(run: Stopped) -> tuple:
    """All that can be seen of it. BT leaves OF, SF, AF and PF undefined (SDM vol. 2A)."""
    if re.search(r"^bts? ", run.source, re.MULTILINE):
        run.end["rflags"] &= ~0x894
    accesses = [(int(r) in (48, 49), *rest) for r, *rest in run.accesses]
    return accesses, run.end, run.memory


def check(bits: int, source: str, last_line: int, **registers: int) -> int:
    """Ask at every exit; returns how many there are."""
    plain = Stopped(bits, source, None, **registers)
    for number in range(len(plain.accesses)):
        asked = Stopped(bits, source, number, **registers)
        assert outcome(asked) == outcome(plain), number
        if IN_C.search(source) is None:
            assert len(asked.boundaries) == 1
            _, line, _ = asked.boundaries[0]
            assert line <= last_line, "the instruction after it has run"
        asked.bench.close()
    plain.bench.close()
    return len(plain.accesses)


def prepared(source: str) -> bool:
    return source.startswith(("set", "rcl", "rcr"))


@pytest.mark.parametrize("source", [c for c in _long_mode_cases() if not prepared(c.values[0])])
def test_long_mode_instruction(source: str) -> None:
    whole = BEFORE + source + "\n" + AFTER
    after = whole.split("\n").index(AFTER.split("\n")[0]) + 1
    registers = STATE | {"rdi": HOLE_OPERAND}
    if source == "xlatb":
        registers["rbx"] = HOLE_OPERAND
    assert check(64, whole, after, **registers)


@pytest.mark.parametrize("bits", [32, 16])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_protected_and_real_mode_instructions(bits: int, size: int) -> None:
    for text in _forms_for_width(size).values():
        source = text.replace("OP", "edi" if bits == 32 else "di")
        if not prepared(source):
            state = {name: value & 0xFFFFFFFF for name, value in STATE.items()}
            assert check(bits, BEFORE + source + "\n" + AFTER, 4, **state, rdi=HOLE_OPERAND)


@pytest.mark.parametrize("suffix", ["b", "w", "d", "q"])
@pytest.mark.parametrize("name", ["movs out", "movs in", "movs both", "stos", "lods", "cmps"])
def test_a_repeated_string_instruction_stops_between_its_rounds(name: str, suffix: str) -> None:
    text, _, side = name.partition(" ")
    registers = {"rcx": 3, "rdi": RAM_OPERAND - 128, "rsi": RAM_OPERAND - 192}
    if side != "in" and text != "lods":
        registers["rdi"] = HOLE_OPERAND
    if side in ("in", "both") or text == "lods":
        registers["rsi"] = HOLE_OPERAND + (64 if side == "both" else 0)
    source = f"{BEFORE}rep {text}{suffix}\n{AFTER}"
    plain = Stopped(64, source, None, **registers)
    for number in range(len(plain.accesses)):
        asked = Stopped(64, source, number, **registers)
        assert outcome(asked) == outcome(plain), number
        state, line, _ = asked.boundaries[0]
        per_round = len(plain.accesses) // 3 or 1
        rounds_done = number // per_round + 1
        if text != "cmps":
            assert state["rcx"] == 3 - rounds_done
            assert line == (3 if rounds_done < 3 else 4)
        asked.bench.close()
    plain.bench.close()


@pytest.mark.parametrize("trap", TRAPS)
@pytest.mark.parametrize("setter", [s for s in FLAG_SETTERS if s != "aaa"])
def test_flags_are_those_the_instruction_left(setter: str, trap: str) -> None:
    for a, b in OPERANDS[::2]:
        state = {"rax": a, "rbx": b, "rcx": 3, "rdi": HOLE_OPERAND}
        source = f"nop\n{setter}\n{TRAPS[trap]}\n1: jmp 2f\n2: hlt"
        plain = Stopped(64, source, None, **state)
        asked = Stopped(64, source, len(plain.accesses) - 1, **state)
        at, line, now = asked.boundaries[0]
        assert (line, now) == (4, 3)
        assert at["rflags"] == plain.end["rflags"]
        assert outcome(asked) == outcome(plain)
        plain.bench.close()
        asked.bench.close()


@pytest.mark.parametrize("bits", [16, 32, 64])
@pytest.mark.parametrize("source", ["out 0xe9, al", "out 0xe9, ax", "in al, 0x60", "out dx, eax",
                                    "in eax, dx", "outsb", "insb"])  # fmt: skip
def test_a_port_access_stops_behind_it(source: str, bits: int) -> None:
    registers = {"rdx": 0x3F8, "rsi": RAM_OPERAND, "rdi": RAM_OPERAND - 64, "rax": 0x11223344}
    whole = f"{BEFORE}{source}\ninc ebp\n{source}\n{AFTER}"
    plain = Stopped(bits, whole, None, **registers)
    assert len(plain.accesses) == 2
    for number, line in ((0, 4), (1, 6)):
        asked = Stopped(bits, whole, number, **registers)
        assert [(b[1], b[2]) for b in asked.boundaries] == [(line, line - 1)]
        assert outcome(asked) == outcome(plain)
        asked.bench.close()
    plain.bench.close()


def test_the_guests_debug_registers_are_its_own_again() -> None:
    source = "mov rax, 0x1234\nmov dr0, rax\nout 0xe9, al\nmov rbx, dr0\nmov rcx, dr7\nhlt"
    plain, asked = (Stopped(64, source, number) for number in (None, 0))
    assert outcome(plain) == outcome(asked)
    assert asked.end["rbx"] == 0x1234


@pytest.mark.parametrize("source", [
    "setb byte ptr [rdi]", "rcl dword ptr [rdi], 1", "rcr byte ptr [rdi], 1",
    "cmpxchg8b qword ptr [rdi]", "fxsave [rdi]", "fld tbyte ptr [rdi]", "fnstenv [rdi]",
])  # fmt: skip
def test_what_unicorn_can_not_give_up_stops_at_the_next_block(source: str) -> None:
    whole = f"{BEFORE}{source}\nmov ebp, 7\njmp 1f\n1: hlt"
    registers = STATE | {"rdi": HOLE_OPERAND}
    plain = Stopped(64, whole, None, **registers)
    for number in range(len(plain.accesses)):
        asked = Stopped(64, whole, number, **registers)
        assert outcome(asked) == outcome(plain)
        assert [b[1] for b in asked.boundaries] == [6]
