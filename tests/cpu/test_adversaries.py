"""Programs that try to fool the clock, the switch, or the host."""

from __future__ import annotations

import random

import pytest
from harness import CODE, HOLE, HOLE_OPERAND, Bench

from toyvisor.cpu import clock
from toyvisor.exit_reasons import ExitReason

ENDS = (ExitReason.HLT, ExitReason.TRIPLE_FAULT, ExitReason.EXCEPTION_NMI)


def test_a_jump_into_the_middle_of_an_instruction_takes_no_time_back() -> None:
    source = """
        jmp a
    a:  mov eax, 0x9090fdeb         # a+1 is: jmp a
        mov [rdi], eax
        .byte 0xe9
        .long a+1-(.+4)
    """
    with Bench(64, source, rdi=HOLE_OPERAND) as bench:
        bench.cpu.clock.limit = 200
        exits = 0
        while bench.step().size:
            exits += 1
        assert bench.cpu.now() == 200
        assert exits < 100


def test_the_time_in_a_block_follows_a_change_of_its_code() -> None:
    source = """
        mov ecx, 2
    again:
        jmp patch
    patch:
        nop
        nop
        mov [rdi], eax
        mov word ptr [rbx], 0xc031      # xor eax, eax
        dec ecx
        jnz again
        hlt
    """
    with Bench(64, source, rdi=HOLE_OPERAND) as bench:
        bench.cpu.registers.write("rbx", bench.symbols["patch"])
        times = []
        while bench.step().size:
            times.append(bench.cpu.now())
        assert times == [4, 4 + 4 + 1 + 1]


def test_instructions_that_the_disassembler_does_not_know_take_time_as_others() -> None:
    source = ".byte 0x0f, 0x1c, 0xc0\nnop\nnop\nout 0xe9, al\nhlt"
    with Bench(64, source) as bench:
        bench.step()
        assert bench.cpu.now() == 3
    for limit in (1, 2, 3):
        with Bench(64, source) as bench:
            bench.cpu.clock.limit = limit
            assert bench.step().reason == ExitReason.PREEMPTION_TIMER
            assert bench.cpu.now() == limit
            assert bench.cpu.view.rip() == CODE + 2 + limit


@pytest.mark.parametrize("source", ["rdrand eax", "rdseed eax"])
def test_nothing_random_runs(source: str) -> None:
    code = {"rdrand eax": "0x0f, 0xc7, 0xf0", "rdseed eax": "0x0f, 0xc7, 0xf8"}[source]
    with Bench(64, f".byte {code}\nhlt") as bench:
        end = bench.step()
        assert (end.reason, end.address) == (ExitReason.TRIPLE_FAULT, 6)


def test_a_slice_that_is_raised_at_an_exit_does_not_end_at_the_old_place() -> None:
    with Bench(64, "nop\nout 0xe9, al\nnop\nnop\nnop\nnop\nhlt") as bench:
        bench.cpu.clock.limit = 3
        assert bench.step().reason == ExitReason.IO_INSTRUCTION
        bench.cpu.clock.limit = 100
        assert bench.step().reason == ExitReason.HLT


def test_a_slice_that_ends_in_the_last_bytes_of_ram_is_a_slice() -> None:
    with Bench(64, "jmp rax", rax=0x10000 - 32) as bench:
        bench.fill(0x10000 - 32, b"\x90" * 32)
        bench.cpu.clock.limit = 10
        assert bench.step().reason == ExitReason.PREEMPTION_TIMER
        assert bench.cpu.now() == 10


def test_a_processor_closes_in_the_middle_of_a_long_access() -> None:
    for _ in range(20):
        bench = Bench(64, "fxsave [rdi]\nhlt", rdi=HOLE)
        bench.step()
        bench.close()
        assert bench.cpu._guest.dead


@pytest.mark.parametrize(("source", "length"), [("int 0x10", 2), ("int3", 1)])
def test_a_software_interrupt_that_fails_leaves_rip_on_it(source: str, length: int) -> None:
    with Bench(64, f"nop\n{source}\nhlt") as bench:
        end = bench.step()
        assert end.reason == ExitReason.TRIPLE_FAULT
        assert end.rip == CODE + 1
        assert length


def outcome(code: bytes, bits: int, slice_: int | None) -> tuple:
    """How random code ends, whole or in slices."""
    bench = Bench(bits, "nop")
    try:
        bench.low[CODE : CODE + len(code)] = code
        bench.cpu.registers.write("rdi", HOLE_OPERAND)
        bench.cpu.registers.write("rsi", 0x9800)
        budget = 150
        bench.cpu.clock.limit = slice_ or budget
        exits = []
        for _ in range(800):
            exit_ = bench.step(0)
            if exit_.reason == ExitReason.PREEMPTION_TIMER:
                if bench.cpu.clock.limit >= budget:
                    break
                bench.cpu.clock.limit = min(budget, bench.cpu.clock.limit + (slice_ or 0))
                continue
            exits.append((exit_.reason, exit_.address, exit_.size, exit_.value))
            if not exit_.size:
                break
        return exits[:50], bench.cpu.now() <= budget
    finally:
        bench.close()


@pytest.mark.parametrize("seed", range(60))
def test_random_bytes_never_hurt_the_host(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(seed)
    bits = chance.choice([16, 32, 64])
    code = chance.randbytes(60) + b"\xf4"
    whole, in_time = outcome(code, bits, None)
    assert in_time
    monkeypatch.setattr(clock, "native_counter", lambda: None)
    assert outcome(code, bits, None) == (whole, True)
    outcome(code, bits, 1)
