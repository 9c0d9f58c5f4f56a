"""A guest can't hurt the host: every bad turn is an exit, never a hang or a traceback."""

from __future__ import annotations

import ctypes
import gc

import pytest
from harness import CODE, HOLE, HOLE_OPERAND, RAM_END, STACK, Bench

from toyvisor.cpu import registers, unicorn_abi
from toyvisor.cpu.events import NMI, Event, EventType
from toyvisor.cpu.exit_door import AT_BOUNDARY
from toyvisor.exit_reasons import ExitReason


@pytest.mark.parametrize(
    ("source", "vector"),
    [
        ("xor ecx, ecx\ndiv ecx\nhlt", 0),
        ("int3\nhlt", 3),
        ("ud2\nhlt", 6),
        ("int 0x80\nhlt", 0x80),
        ("mov ax, 0x1234\nmov ds, ax\nhlt", 13),
    ],
)
def test_an_exception_without_an_idt_is_a_triple_fault(source: str, vector: int) -> None:
    with Bench(64, source) as bench:
        end = bench.step()
        assert (end.reason, end.address) == (ExitReason.TRIPLE_FAULT, vector)
        assert bench.exit_counts[ExitReason.TRIPLE_FAULT] == 1


def test_an_exception_with_a_gate_is_no_exit_but_goes_to_its_handler() -> None:
    with Bench(64, "ud2\nhandler: mov ebx, 1\nhlt") as bench:
        registers = bench.cpu.registers
        registers.set_gdt(0x9100, 15)
        bench.fill(0x9108, (0x00AF9B000000FFFF).to_bytes(8, "little"))
        registers.set_idt(0x9000, 16 * 7 - 1)
        bench.fill(
            0x9060, (0x8E00 << 32 | 8 << 16 | bench.symbols["handler"]).to_bytes(16, "little")
        )
        end = bench.step()
        assert (end.reason, end.registers["rbx"]) == (ExitReason.HLT, 1)
        assert sum(bench.exit_counts) == 1
        assert bench.peek(STACK - 40, 8) == CODE.to_bytes(8, "little")


@pytest.mark.parametrize("target", [HOLE, RAM_END, 0xD0000000, 0x7FFF_FFFF_F000])
def test_a_jump_to_where_no_ram_is_ends_at_the_target(target: int) -> None:
    with Bench(64, "jmp rax", rax=target) as bench:
        end = bench.step()
        assert (end.reason, end.size, end.rip) == (ExitReason.EPT_VIOLATION, 0, target)


def test_running_off_the_end_of_ram_ends_there() -> None:
    with Bench(64, "jmp rax", rax=RAM_END - 4) as bench:
        bench.fill(RAM_END - 4, b"\x90" * 4)
        assert bench.step().rip == RAM_END


def test_code_at_address_zero_runs() -> None:
    with Bench(64, "jmp rax", rax=0) as bench:
        bench.fill(0, b"\x90\xf4")
        assert bench.step().reason == ExitReason.HLT
        assert bench.state["rip"] == 2


def test_an_endless_loop_ends_with_the_time_slice() -> None:
    with Bench(64, "1: jmp 1b") as bench:
        bench.cpu.clock.limit = 100_000
        assert bench.step().reason == ExitReason.PREEMPTION_TIMER
        assert bench.cpu.now() == 100_000


def test_an_endless_string_instruction_ends_with_the_time_slice() -> None:
    with Bench(64, "mov rcx, -1\n1: mov edi, 0x9000\nrep stosb\nhlt") as bench:
        bench.cpu.clock.limit = 1000
        assert bench.step().reason == ExitReason.PREEMPTION_TIMER


def test_cpuid_is_answered_by_kvm_and_the_guest_goes_on() -> None:
    with Bench(64, "mov eax, 7\nmov ecx, 9\ncpuid\nhlt") as bench:
        assert bench.step().reason == ExitReason.HLT
        state = bench.state
        assert [state[r] for r in ("rax", "rbx", "rcx", "rdx")] == [7, 0x22, 9, 0x44]
        assert bench.exit_counts[ExitReason.CPUID] == 1


@pytest.mark.parametrize("instruction", ["vmcall", "vmmcall"])
def test_a_hypercall_exits_and_its_answer_comes_in_rax(instruction: str) -> None:
    with Bench(64, f"mov eax, 42\n{instruction}\nmov ebx, 1\nhlt") as bench:
        exit_ = bench.step()
        assert exit_.reason == ExitReason.VMCALL
        assert bench.listing.at(exit_.rip).location.line == 2
        assert exit_.registers["rbx"] == 0
        assert bench.step(7).reason == ExitReason.HLT
        assert (bench.state["rax"], bench.state["rbx"]) == (7, 1)


def test_the_instruction_pointer_is_right_at_exits_after_a_hypercall() -> None:
    source = """
        vmcall
        call f
        hlt
    f:  nop
        in al, 0x60
        mov ecx, [rdi]
        ret
    """
    with Bench(64, source, rdi=HOLE_OPERAND) as bench:
        lines = [bench.listing.at(bench.step().rip).location.line for _ in range(3)]
        assert lines == [2, 6, 7]


def test_what_a_handler_raises_in_the_middle_of_an_exit_reaches_the_caller() -> None:
    with Bench(64, "mov [rdi], eax\nhlt", rdi=HOLE_OPERAND) as bench:

        def broken(_rip: int, _now: int) -> None:
            raise ZeroDivisionError("a bug in KVM")

        bench.cpu.door.on_exit = broken
        with pytest.raises(ZeroDivisionError, match="a bug in KVM"):
            bench.step()


@pytest.mark.parametrize("source", ["mov [rdi], eax", "mov eax, [rdi]", "in al, 0x60", "vmcall"])
def test_a_processor_can_be_closed_in_the_middle_of_an_exit(source: str) -> None:
    bench = Bench(64, f"1: {source}\njmp 1b", rdi=HOLE_OPERAND)
    bench.step()
    bench.close()
    bench.close()


@pytest.mark.parametrize("source", ["mov [rdi], eax", "in al, 0x60", "vmcall"])
def test_a_processor_can_be_closed_between_two_instructions(source: str) -> None:
    bench = Bench(64, f"1: {source}\njmp 1b", rdi=HOLE_OPERAND)
    bench.cpu.enable_interrupts()
    bench.step()
    bench.cpu.boundary.arm()
    assert bench.cpu.enter(0) == (AT_BOUNDARY,)
    bench.close()


def test_a_processor_can_be_closed_after_an_event_that_could_not_be_delivered() -> None:
    bench = Bench(64, "1: jmp 1b")
    bench.cpu.inject(Event(NMI, EventType.NMI))
    assert bench.step().reason == ExitReason.TRIPLE_FAULT
    bench.close()


def test_a_hundred_processors_come_and_go() -> None:
    for _ in range(100):
        with Bench(64, "mov [rdi], eax\nhlt", rdi=HOLE_OPERAND) as bench:
            bench.step()
    gc.collect()


def test_two_processors_run_interleaved() -> None:
    source = "1: mov [rdi], eax\ninc eax\njmp 1b"
    with Bench(64, source, rdi=HOLE) as first, Bench(64, source, rdi=HOLE + 4) as second:
        for expected in range(20):
            assert first.step().access == ("write", HOLE, 4, expected)
            assert second.step().access == ("write", HOLE + 4, 4, expected)


def test_the_numbers_are_unicorns_own() -> None:
    import unicorn
    from unicorn import unicorn_const as uc
    from unicorn import x86_const as x86

    assert unicorn.UC_VERSION_MAJOR == 2
    for name in ("INTR", "INSN", "BLOCK", "MEM_READ", "MEM_WRITE", "INSN_INVALID"):
        assert getattr(unicorn_abi, f"UC_HOOK_{name}") == getattr(uc, f"UC_HOOK_{name}")
    assert unicorn_abi.UC_HOOK_EDGE_GENERATED == uc.UC_HOOK_EDGE_GENERATED
    for error in unicorn_abi.UnicornError:
        assert error == getattr(uc, f"UC_ERR_{error.name}")
    for instruction in unicorn_abi.Instruction:
        assert instruction == getattr(x86, f"UC_X86_INS_{instruction.name}")
    for table in (registers._IDS_64, registers._IDS_32):
        for name, number in table.items():
            names = {name, "e" + name[1:], "eflags" if name == "rflags" else name}
            assert number in {getattr(x86, f"UC_X86_REG_{n.upper()}", None) for n in names}
    for table in (registers.SEGMENTS, registers.CONTROL):
        for name, number in table.items():
            unicorn_name = "LDTR" if name == "ldt" else name.upper()
            assert number == getattr(x86, f"UC_X86_REG_{unicorn_name}")
    assert ctypes.sizeof(unicorn_abi.TranslationBlock) == 16
