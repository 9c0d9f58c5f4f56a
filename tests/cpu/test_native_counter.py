"""The machine code that counts blocks, and the Python that counts where it can't run."""

from __future__ import annotations

import ctypes

import pytest
from harness import HOLE_OPERAND, Bench
from test_clock import LOOP

from toyvisor.cpu import clock, native_counter
from toyvisor.exit_reasons import ExitReason
from toyvisor.guest.assembler import assemble_text


def test_the_machine_code_is_its_source() -> None:
    assert assemble_text(native_counter.SOURCE).image == native_counter.CODE


def test_the_shared_state_has_the_offsets_that_the_machine_code_uses() -> None:
    fields = [name for name, _ in native_counter.ClockState._fields_]
    offsets = [getattr(native_counter.ClockState, name).offset for name in fields]
    assert dict(zip(fields, offsets, strict=True)) == {
        "with_block": 0,
        "limit": 8,
        "block": 16,
        "block_size": 24,
        "block_instructions": 28,
        "table": 32,
        "slow_path": 40,
    }
    assert ctypes.sizeof(native_counter.TableEntry) == 16


@pytest.mark.parametrize("limit", [None, 1, 7, 100, 101, 102, 103, 333])
def test_python_alone_counts_the_same(monkeypatch: pytest.MonkeyPatch, limit: int | None) -> None:
    runs = []
    for native in (True, False):
        if not native:
            monkeypatch.setattr(clock, "native_counter", lambda: None)
        with Bench(64, LOOP, rdi=HOLE_OPERAND) as bench:
            if limit is not None:
                bench.cpu.clock.limit = limit
            times = []
            while True:
                exit_ = bench.step()
                times.append((exit_.access, bench.cpu.now()))
                if exit_.reason in (ExitReason.PREEMPTION_TIMER, ExitReason.HLT):
                    break
            runs.append((times, bench.state))
    assert runs[0] == runs[1]


def test_blocks_that_share_a_table_slot_are_all_counted() -> None:
    # 8192 slots: two blocks whose addresses fold to the same slot take turns.
    first, second = 0x1000, 0x3001
    assert native_counter.table_slot(first) == native_counter.table_slot(second)
    with Bench(64, "mov ecx, 100\n1: mov eax, 0x3001\njmp rax") as bench:
        back = 0x1005
        code = assemble_text(
            f"dec ecx\njz 2f\nmov eax, {back}\njmp rax\n2: hlt", origin=second
        ).image
        bench.fill(second, code)
        assert bench.step().reason == ExitReason.HLT
        assert bench.cpu.now() == 1 + 100 * 4 + 99 * 2 + 1
