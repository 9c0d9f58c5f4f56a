"""IN, OUT, INS and OUTS: one exit each, exact, in all three modes."""

from __future__ import annotations

import pytest
from harness import CODE, HOLE, RAM_OPERAND, Bench

from toyvisor.exit_reasons import ExitReason

REGISTER = {1: "al", 2: "ax", 4: "eax"}


@pytest.mark.parametrize("bits", [16, 32, 64])
@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("port", ["0x60", "dx"])
def test_out_exits_with_port_size_and_value(bits: int, size: int, port: str) -> None:
    source = f"cmp ebx, 6\nout {port}, {REGISTER[size]}\nmov ecx, 7\nhlt"
    with Bench(bits, source, rax=0x8765_4321, rbx=5, rdx=0x60) as bench:
        exit_ = bench.step()
        assert exit_.reason == ExitReason.IO_INSTRUCTION
        assert exit_.access == ("write", 0x60, size, 0x8765_4321 & (1 << 8 * size) - 1)
        assert exit_.count == 1
        assert exit_.registers["rcx"] == 0, "the next instruction ran before the exit"
        assert exit_.rflags & 0x8D5 == 0x95
        assert bench.step().reason == ExitReason.HLT
        assert bench.state["rcx"] == 7


@pytest.mark.parametrize("bits", [16, 32, 64])
@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("port", ["0x60", "dx"])
def test_in_takes_the_reply_into_its_register_and_no_more(bits: int, size: int, port: str) -> None:
    source = f"cmp ebx, 6\nin {REGISTER[size]}, {port}\nmov ecx, 7\nhlt"
    with Bench(bits, source, rax=0x8765_4321, rbx=5, rdx=0x60) as bench:
        exit_ = bench.step()
        assert exit_.access == ("read", 0x60, size, 0)
        assert exit_.registers["rax"] & 0xFFFFFFFF == 0x8765_4321
        assert exit_.registers["rcx"] == 0
        bench.step(0x11223344 & (1 << 8 * size) - 1)
        kept = 0x8765_4321 >> 8 * size << 8 * size
        assert bench.state["rax"] == kept | 0x11223344 & (1 << 8 * size) - 1
        assert bench.state["rflags"] & 0x8D5 == 0x95


@pytest.mark.parametrize("suffix", ["b", "w", "d"])
@pytest.mark.parametrize("bits", [16, 32, 64])
def test_outs_exits_once_for_each_element(bits: int, suffix: str) -> None:
    size = {"b": 1, "w": 2, "d": 4}[suffix]
    with Bench(bits, f"rep outs{suffix}\nhlt", rsi=RAM_OPERAND, rcx=3, rdx=0x3F8) as bench:
        bench.fill(RAM_OPERAND, bytes(range(1, 13)))
        bench.run()
        data = [bytes(range(1, 13))[i * size : (i + 1) * size] for i in range(3)]
        assert [e.value for e in bench.exits[:3]] == [int.from_bytes(d, "little") for d in data]
        assert [e.registers["rcx"] for e in bench.exits[:3]] == [3, 2, 1]
        assert bench.state["rsi"] == RAM_OPERAND + 3 * size
        assert bench.exit_counts[ExitReason.IO_INSTRUCTION] == 3


@pytest.mark.parametrize("suffix", ["b", "w", "d"])
@pytest.mark.parametrize("bits", [16, 32, 64])
def test_ins_without_rep_exits_for_one_element(bits: int, suffix: str) -> None:
    size = {"b": 1, "w": 2, "d": 4}[suffix]
    with Bench(bits, f"ins{suffix}\nhlt", rdi=RAM_OPERAND, rcx=3, rdx=0x60) as bench:
        exit_ = bench.step()
        assert (exit_.size, exit_.count) == (size, 1)
        bench.step(0x04030201 & (1 << 8 * size) - 1)
        assert bench.peek(RAM_OPERAND, 5) == bytes([1, 2, 3, 4][:size]).ljust(5, b"\0")
        assert bench.state["rdi"] == RAM_OPERAND + size


@pytest.mark.parametrize("bits", [16, 32, 64])
def test_rep_ins_reads_ahead_in_one_exit_as_kvm_does(bits: int) -> None:
    with Bench(bits, "rep insw\nhlt", rdi=RAM_OPERAND, rcx=3, rdx=0x60) as bench:
        exit_ = bench.step()
        assert (exit_.size, exit_.count, exit_.rip) == (2, 3, CODE)
        assert exit_.registers["rcx"] == 3
        assert bench.step(0x0605_0403_0201).reason == ExitReason.HLT
        assert bench.peek(RAM_OPERAND, 6) == bytes([1, 2, 3, 4, 5, 6])
        assert bench.state["rcx"] == 0
        assert bench.exit_counts[ExitReason.IO_INSTRUCTION] == 1


def test_rep_ins_reads_ahead_to_the_end_of_the_page_only() -> None:
    with Bench(64, "rep insb\nhlt", rdi=0x9FFD, rcx=5, rdx=0x60) as bench:
        assert bench.step().count == 3
        assert bench.step(0x030201).count == 2
        bench.step(0x0504)
        assert bench.peek(0x9FFD, 5) == bytes([1, 2, 3, 4, 5])


def test_rep_ins_reads_at_most_a_kibibyte_ahead() -> None:
    with Bench(64, "rep insd\nhlt", rdi=0x9000, rcx=1000, rdx=0x60) as bench:
        assert bench.step().count == 256


def test_rep_ins_downwards_reads_ahead_to_the_start_of_the_page() -> None:
    with Bench(64, "std\nrep insb\nhlt", rdi=0x9003, rcx=9, rdx=0x60) as bench:
        assert bench.step().count == 3


def test_rep_insd_reads_as_many_elements_ahead_as_the_page_has_bytes_left() -> None:
    with Bench(64, "rep insd\nhlt", rdi=0x9FF8, rcx=20, rdx=0x60) as bench:
        assert bench.step().count == 8


def test_an_ins_to_ram_does_not_hide_the_next_one_to_a_device() -> None:
    with Bench(64, "insb\nmov edi, 0xc000\ninsb\nhlt", rdi=0x9000, rdx=0x60) as bench:
        assert bench.step().access == ("read", 0x60, 1, 0)
        assert bench.step(7).access == ("read", 0x60, 1, 0)
        assert bench.step(0).access == ("write", HOLE, 1, 0)
        assert bench.step().reason == ExitReason.HLT


def test_ins_across_two_device_pages_stores_once_to_each() -> None:
    with Bench(64, "insd\nhlt", rdi=HOLE + 0xFFD, rdx=0x60) as bench:
        assert bench.step().access == ("read", 0x60, 4, 0)
        assert bench.step(0x04030201).access == ("write", HOLE + 0xFFD, 3, 0x030201)
        assert bench.step().access == ("write", HOLE + 0x1000, 1, 4)
        assert bench.step().reason == ExitReason.HLT


def test_rep_ins_with_a_count_of_zero_does_not_exit() -> None:
    with Bench(64, "rep insb\nhlt", rdi=0x9000, rcx=0, rdx=0x60) as bench:
        assert bench.step().reason == ExitReason.HLT


def test_ins_to_a_device_reads_the_port_before_it_stores() -> None:
    with Bench(64, "rep insb\nhlt", rdi=HOLE, rcx=2, rdx=0x60) as bench:
        assert bench.step().access == ("read", 0x60, 1, 0)
        assert bench.step(0x0002).access == ("write", HOLE, 1, 2)
        assert bench.step().access == ("write", HOLE + 1, 1, 0), "a stored zero is an access too"
        assert bench.step().reason == ExitReason.HLT


def test_outs_from_a_device_loads_before_it_writes_the_port() -> None:
    with Bench(64, "outsb\nhlt", rsi=HOLE, rdx=0x60) as bench:
        assert bench.step().access == ("read", HOLE, 1, 0)
        assert bench.step(0x5A).access == ("write", 0x60, 1, 0x5A)
        assert bench.step().reason == ExitReason.HLT


def test_every_port_instruction_of_a_block_exits_with_its_own_rip() -> None:
    source = "out 0x10, al\nnop\nout 0x11, al\nin al, 0x12\nnop\nhlt"
    with Bench(64, source) as bench:
        bench.run()
        lines = [bench.listing.at(e.rip).location.line for e in bench.exits[:3]]
        assert lines == [1, 3, 4]
