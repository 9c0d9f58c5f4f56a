"""Time is counted in guest instructions, exactly, whatever happens on the way."""

from __future__ import annotations

import pytest
from harness import CODE, HOLE_OPERAND, Bench
from hypothesis import given, settings
from hypothesis import strategies as st

from toyvisor.exit_reasons import ExitReason

LOOP = """
    mov ecx, 50
1:  add eax, ecx
    mov [rdi], eax
    test eax, 3
    jz 2f
    inc ebx
2:  dec ecx
    jnz 1b
    hlt
"""


def test_the_time_at_an_exit_is_the_instructions_before_it() -> None:
    with Bench(64, "nop\nnop\nmov [rdi], eax\nnop\nout 0x10, al\nhlt", rdi=HOLE_OPERAND) as bench:
        times = []
        while True:
            exit_ = bench.step()
            times.append(bench.cpu.now())
            if exit_.reason == ExitReason.HLT:
                break
        assert times == [2, 4, 6]


def test_a_jump_back_to_the_start_of_a_block_is_not_the_same_moment() -> None:
    with Bench(64, "nop\njmp start\nstart: nop\nnop\njmp start") as bench:
        bench.cpu.clock.limit = 2 + 3 * 10
        assert bench.step().reason == ExitReason.PREEMPTION_TIMER
        assert bench.cpu.now() == 32
        assert bench.cpu.view.rip() == bench.symbols["start"]


@pytest.mark.parametrize(("count", "expected"), [(0, 3), (1, 4), (3, 6)])
def test_a_repeated_string_instruction_counts_its_iterations_and_its_end(
    count: int, expected: int
) -> None:
    with Bench(64, f"mov ecx, {count}\nrep stosb\nhlt", rdi=0x9000) as bench:
        bench.run()
        assert bench.cpu.now() == expected


@given(st.integers(1, 420))
@settings(max_examples=120, deadline=None)
def test_a_time_slice_ends_at_its_very_instruction(limit: int) -> None:
    with Bench(64, LOOP, rdi=HOLE_OPERAND) as bench:
        bench.cpu.clock.limit = limit
        while True:
            exit_ = bench.step()
            assert bench.cpu.now() <= limit
            if exit_.reason in (ExitReason.PREEMPTION_TIMER, ExitReason.HLT):
                break
        if exit_.reason == ExitReason.PREEMPTION_TIMER:
            assert bench.cpu.now() == limit


@given(st.lists(st.integers(1, 40), min_size=1, max_size=40))
@settings(max_examples=60, deadline=None)
def test_a_run_cut_into_slices_is_the_same_run(slices: list[int]) -> None:
    with Bench(64, LOOP, rdi=HOLE_OPERAND) as whole:
        whole.run()
        expected = [(e.access, e.rip, e.rflags) for e in whole.exits]
    with Bench(64, LOOP, rdi=HOLE_OPERAND) as bench:
        remaining = iter(slices)
        bench.cpu.clock.limit = next(remaining)
        seen = []
        while True:
            exit_ = bench.step()
            if exit_.reason == ExitReason.PREEMPTION_TIMER:
                bench.cpu.clock.limit += next(remaining, 1000)
                continue
            seen.append((exit_.access, exit_.rip, exit_.rflags))
            if exit_.reason == ExitReason.HLT:
                break
        assert seen == expected


def test_a_slice_of_one_instruction_is_a_single_step() -> None:
    with Bench(64, "mov eax, 1\nadd eax, 2\njmp 1f\nnop\n1: shl eax, 4\nhlt") as bench:
        values = []
        for moment in range(1, 5):
            bench.cpu.clock.limit = moment
            assert bench.step().reason == ExitReason.PREEMPTION_TIMER
            lines = bench.listing.at(bench.cpu.view.rip()).location.line
            values.append((bench.state["rax"], lines))
        assert values == [(1, 2), (3, 3), (3, 5), (0x30, 6)]


def test_code_that_changes_itself_is_counted_as_it_ran() -> None:
    # The first pass runs `nop` twice where the second runs a two-byte instruction.
    source = """
        mov ecx, 2
    again:
        jmp patch
    patch:
        nop
        nop
        mov word ptr [patch], 0xc031    # xor eax, eax
        dec ecx
        jnz again
        hlt
    """
    with Bench(64, source.replace("[patch]", "[rbx]"), rbx=0) as bench:
        bench.cpu.registers.write("rbx", bench.symbols["patch"])
        bench.run()
        assert bench.cpu.now() == 1 + (1 + 5) + (1 + 4) + 1, "mov, two passes, hlt"


def test_looking_at_the_time_at_every_exit_changes_nothing() -> None:
    results = []
    for look in (False, True):
        with Bench(64, LOOP, rdi=HOLE_OPERAND) as bench:
            if look:
                bench.cpu.door.on_exit = lambda rip, now: bench.cpu.now()
            bench.run()
            results.append((bench.state, bench.accesses, bench.cpu.now()))
    assert results[0] == results[1]


def test_the_time_stamp_counter_counts_guest_instructions() -> None:
    source = "nop\nrdtsc\nmov ebx, eax\nnop\nnop\nrdtsc\nsub eax, ebx\nhlt"
    with Bench(64, source, rdx=5) as bench:
        bench.run()
        assert bench.state["rax"] == 4
        assert bench.state["rdx"] == 0
        assert bench.exit_counts == [0] * 12 + [1] + [0] * 67, "RDTSC does not exit"


def test_the_program_starts_at_time_zero() -> None:
    with Bench(64, "hlt") as bench:
        assert bench.cpu.now() == 0
        assert bench.cpu.view.rip() == CODE


def test_a_store_into_its_own_block_is_counted_once() -> None:
    source = "mov byte ptr [rbx], 0x90\nnop\nlast: hlt\nhlt"
    with Bench(64, source) as bench:
        bench.cpu.registers.write("rbx", bench.symbols["last"])
        assert bench.step().reason == ExitReason.HLT
        assert bench.cpu.now() == 4


def test_a_stack_that_grows_over_the_code_does_not_hurt_the_host() -> None:
    for pushes in range(1, 9):
        source = "push rax\n" * pushes + "hlt"
        with Bench(64, source, rsp=CODE + 24, rax=0x9090909090909090) as bench:
            bench.cpu.clock.limit = 1000
            while bench.step().size:
                pass
            assert 0 < bench.cpu.now() <= 1000
