"""Two faults at once, three faults, and places that no delivery can reach."""

from __future__ import annotations

from struct import pack

import pytest
from delivery_kit import (
    ABSENT_CODE,
    BEFORE_PORT,
    CODE,
    CODE0,
    CODE3,
    DATA0,
    DATA3,
    GDT,
    HANDLER_PORT,
    IDT,
    IOPL3,
    IST_STACK,
    KERNEL_STACK,
    NO_PAGE,
    PAGE_TABLES,
    TR,
    TSS,
    VM,
    Board,
    Guest,
    P,
    U,
    W,
    descriptor,
    gate,
    handler,
)

from toyvisor.cpu.events import (
    DF,
    GP,
    NP,
    PF,
    SS,
    TS,
    WITH_ERROR_CODE,
    Event,
    EventType,
    ProcessorFault,
    TripleFault,
    combine,
)
from toyvisor.cpu.registers import CONTROL
from toyvisor.exit_reasons import ExitReason

HARDWARE = EventType.HARDWARE_EXCEPTION
#: Intel SDM vol. 3, table 7-4: all others are benign.
CONTRIBUTORY = {0, 10, 11, 12, 13}
#: The faults that a delivery itself can meet.
SECOND = (TS, NP, SS, GP, PF)


def outcome(first: int, second: int) -> str:
    """Table 7-5: rows and columns as there."""
    if first == DF:
        return "shutdown"
    if first == PF:
        return "double fault"
    if first in CONTRIBUTORY:
        return "serially" if second == PF else "double fault"
    return "serially"


def exception(vector: int) -> Event:
    return Event(vector, HARDWARE, 0x18 if vector in WITH_ERROR_CODE else None)


@pytest.mark.parametrize("second", SECOND)
@pytest.mark.parametrize("first", range(32))
def test_what_two_exceptions_make(first: int, second: int) -> None:
    fault = ProcessorFault(second, 0x1234, "why")
    expected = outcome(first, second)
    if expected == "shutdown":
        with pytest.raises(TripleFault):
            combine(exception(first), fault)
    elif expected == "double fault":
        assert combine(exception(first), fault) == Event(DF, HARDWARE, 0)
    else:
        assert combine(exception(first), fault) == Event(second, HARDWARE, 0x1234)


@pytest.mark.parametrize("second", SECOND)
@pytest.mark.parametrize("kind", [kind for kind in EventType if kind is not HARDWARE])
@pytest.mark.parametrize("vector", [0, 2, 8, 13, 14, 0x40])
def test_what_is_no_exception_never_makes_a_double_fault(
    vector: int, kind: EventType, second: int
) -> None:
    fault = ProcessorFault(second, 2, "why")
    assert combine(Event(vector, kind), fault) == Event(second, HARDWARE, 2)


def spoil(board: Board, vector: int, fault: int) -> None:
    """Make the delivery of `vector` meet `fault`."""
    bits = board.guest.bits
    how = {NP: {"p": 0}, GP: {"kind": 2}, TS: {"ist": 7}, SS: {"ist": 6}, PF: {"ist": 5}}[fault]
    board.poke(IDT + 16 * vector, gate(bits, handler(vector), **how))


SPOILT_TSS = {6: 0x1234_0000_0000_0000, 5: NO_PAGE + 0x1000}


@pytest.mark.parametrize("second", SECOND)
@pytest.mark.parametrize("first", [v for v in range(32) if v != 2])
def test_the_processor_goes_by_the_table(first: int, second: int) -> None:
    guest = Guest(64, f"out {BEFORE_PORT}, al\nhere: nop", tss_limit=0x24 + 8 * 6 - 1)
    with Board(guest) as board:
        for number, pointer in SPOILT_TSS.items():
            board.poke(TSS + 0x24 + 8 * (number - 1), pack("<Q", pointer))
        spoil(board, first, second)
        board.until_out(BEFORE_PORT)
        board.to_boundary()
        board.cpu.inject(exception(first))
        expected = outcome(first, second)
        exit_ = board.enter()
        if expected == "shutdown":
            assert exit_ == (ExitReason.TRIPLE_FAULT, first)
        else:
            assert exit_[:2] == (ExitReason.IO_INSTRUCTION, HANDLER_PORT)
            came = DF if expected == "double fault" else second
            assert board.state["rip"] == handler(came)
        assert [event.vector for event, _ in board.cpu.failed_deliveries] == [first]


@pytest.mark.parametrize("level", [0, 3])
def test_a_double_fault_handler_with_a_stack_of_its_own_saves_a_lost_stack_pointer(
    level: int,
) -> None:
    outer = {"cs": CODE3, "ss": DATA3} if level else {}
    bad = NO_PAGE + 0x1000
    guest = Guest(64, "int3", sp=bad if not level else None, gates={
        DF: gate(64, handler(DF), ist=1)}, **outer)  # fmt: skip
    with Board(guest) as board:
        board.poke(TSS + 4, pack("<Q", bad))
        board.until_out(HANDLER_PORT)
        assert board.state["rip"] == handler(DF)
        frame = [int.from_bytes(board.peek(board.state["rsp"] + 8 * i, 8), "little")
                 for i in range(6)]  # fmt: skip
        assert frame[:3] == [0, guest.symbols["body"], guest.cs]
        assert frame[4:] == [guest.sp, guest.ss]
        assert board.state["rsp"] == (IST_STACK & ~0xF) - 48
        assert board.cpu.registers.read_special(CONTROL["cr2"]) == bad - 8


def test_a_double_fault_handler_on_the_lost_stack_is_the_end() -> None:
    with Board(Guest(64, "int3", sp=NO_PAGE + 0x1000)) as board:
        assert board.enter() == (ExitReason.TRIPLE_FAULT, 3)
        failures = board.cpu.failed_deliveries
        assert [event.vector for event, _ in failures] == [3, PF, DF]
        assert all(f"page fault writing {NO_PAGE + 0xFF8:#x}" in why for _, why in failures)
        assert board.state["rip"] == board.guest.symbols["body"], "INT3 was not delivered"


@pytest.mark.parametrize(("vector", "target"), [(6, handler(6)), (PF, NO_PAGE)])
@pytest.mark.parametrize("limit", [8, 100, 5000])
def test_faults_without_an_end_end_with_the_time_slice(
    limit: int, vector: int, target: int
) -> None:
    """The handler's first instruction faults, and its stack never ends: nothing is executed."""
    body = {6: "ud2", PF: f"mov al, [{NO_PAGE}]"}[vector]
    with Board(Guest(64, body, gates={vector: gate(64, target, ist=1)})) as board:
        board.poke(handler(6), b"\x0f\x0b")
        board.cpu.clock.limit = limit
        before = board.guest.body_at("body")
        assert board.enter() == (ExitReason.PREEMPTION_TIMER,)
        assert board.cpu.now() == limit
        if limit > before:
            assert board.state["rip"] == target
        board.cpu.clock.limit = limit + 3
        assert board.enter() == (ExitReason.PREEMPTION_TIMER,)
        assert board.cpu.now() == limit + 3


def test_one_fault_in_another_costs_what_an_instruction_costs() -> None:
    """Time passes for a handler whose first instruction faults, and for no other delivery."""
    body = "xor cl, cl\nbefore: div cl\nnop"
    with Board(Guest(64, body)) as board:
        board.poke(handler(0), b"\x0f\x0b")
        before = board.guest.body_at("before")
        board.until_out(HANDLER_PORT)
        assert board.state["rip"] == handler(6)
        assert board.cpu.now() == before + 1


# Nowhere to go ------------------------------------------------------------------------------

FAR = 0x8000_0000


def outside(board: Board, what: str) -> int:
    """Put one of the tables where there is no RAM; the address that is needed there."""
    bits = board.guest.bits
    registers = board.cpu.registers
    if what == "IDT":
        registers.set_idt(FAR, 0xFFF)
        return FAR + 3 * bits // 4
    if what == "GDT":
        registers.set_gdt(FAR, 0xFF)
        return FAR + CODE0
    if what == "TSS":
        board.cpu.state.load()
        board.cpu.state.front.tr.base = FAR
        board.cpu.state.store()
        return FAR + 4
    board.poke(TSS + 4, FAR.to_bytes(bits // 8, "little"))
    return FAR - bits // 8


@pytest.mark.parametrize("what", ["IDT", "GDT", "TSS", "stack"])
@pytest.mark.parametrize("bits", [32, 64])
def test_what_lies_outside_ram_is_an_ept_violation_in_a_delivery(bits: int, what: str) -> None:
    body = f"out {BEFORE_PORT}, al\nint3"
    guest = Guest(bits, body, flags=2 | IOPL3, cs=CODE3, ss=DATA3)
    with Board(guest) as board:
        if bits == 64:  # map it
            for level in range(1, 3):
                place = PAGE_TABLES + 0x1000 * level
                board.poke(place, pack("<Q", place + 0x1000 | P | W | U))
            for gib in (1, 2):
                board.poke(PAGE_TABLES + 0x1000 + 8 * gib, pack("<Q", (gib << 30) | 0x87))
        board.until_out(BEFORE_PORT)
        board.to_boundary()
        gpa = outside(board, what)
        assert board.enter() == (ExitReason.EPT_VIOLATION, gpa, 0, "delivery")


def test_a_stack_outside_ram_in_real_mode() -> None:
    body = f"mov ax, 0xf000\nmov ss, ax\nmov sp, 0x10\nout {BEFORE_PORT}, al\nint3"
    with Board(Guest(16, body)) as board:
        board.until_out(BEFORE_PORT)
        assert board.enter() == (ExitReason.EPT_VIOLATION, 0xF000E, 0, "delivery")


# Real mode ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("vector", "limit", "tried"),
    [
        (0x40, 0x102, [0x40]),  # one byte short of it: #GP, which has its entry
        (0x40, 0x36, [0x40, GP]),  # nor has #GP: #DF
        (0x40, 0x22, [0x40, GP, DF]),
    ],
)
def test_the_end_of_the_ivt(vector: int, limit: int, tried: list[int]) -> None:
    with Board(Guest(16, f"int {vector}", idt_limit=limit)) as board:
        exit_ = board.enter()
        assert [event.vector for event, _ in board.cpu.failed_deliveries] == tried
        if len(tried) == 3:
            assert exit_ == (ExitReason.TRIPLE_FAULT, vector)
            assert board.state["rip"] == board.guest.symbols["body"]
            return
        came = [GP, DF][len(tried) - 1]
        assert board.state["rip"] == handler(came)
        # No error code in real mode; RIP stays on the INT.
        frame = board.peek(board.state["rsp"], 6)
        assert frame == pack("<3H", board.guest.symbols["body"], 0, 2)
        assert board.state["rsp"] == KERNEL_STACK - 6


def test_the_last_entry_within_the_limit_is_there() -> None:
    with Board(Guest(16, "int 0x40", idt_limit=0x103)) as board:
        board.until_out(HANDLER_PORT)
        assert board.state["rip"] == handler(0x40)


def test_an_empty_entry_in_real_mode_ends_with_a_reason() -> None:
    with Board(Guest(16, "int 0x40")) as board:
        board.poke(0x100, bytes(4))
        assert board.enter() == (ExitReason.TRIPLE_FAULT, 0x40)
        [(event, why)] = board.cpu.failed_deliveries
        assert event.vector == 0x40
        assert why == "its entry in the interrupt vector table (at 0x100) is empty"


@pytest.mark.parametrize("sp", [1, 3, 5])
def test_a_word_does_not_go_round_the_end_of_the_stack_segment(sp: int) -> None:
    """The manual (vol. 2A, INT n, REAL-ADDRESS-MODE): #SS, which finds no room either."""
    with Board(Guest(16, f"mov sp, {sp}\nint3")) as board:
        assert board.enter() == (ExitReason.TRIPLE_FAULT, 3)
        assert [event.vector for event, _ in board.cpu.failed_deliveries] == [3, SS, DF]


@pytest.mark.parametrize("sp", [0, 2, 4])
def test_whole_words_go_round_it(sp: int) -> None:
    with Board(Guest(16, f"mov sp, {sp}\nint3\nback: out 0x11, al")) as board:
        board.poke(0, bytes(8))
        board.until_out(HANDLER_PORT)
        assert board.state["rsp"] == (sp - 6) & 0xFFFF
        board.until_out(0x11)
        assert board.state["rsp"] == sp


# What this processor does not have ------------------------------------------------------------


@pytest.mark.parametrize("event", ["int 0x40", "ud2", "external"])
def test_a_task_gate_is_told_as_what_it_is(event: str) -> None:
    body = f"out {BEFORE_PORT}, al\nhere: {'nop' if event == 'external' else event}"
    vector = 6 if event == "ud2" else 0x40
    guest = Guest(32, body, gates={vector: gate(32, 0, TR, 0x5)})
    with Board(guest) as board:
        board.until_out(BEFORE_PORT)
        board.to_boundary()
        if event == "external":
            board.cpu.inject(Event(vector, EventType.EXTERNAL_INTERRUPT))
        reason, why = board.enter()
        assert reason == ExitReason.TASK_SWITCH
        assert why.endswith(f" of the IDT (at {IDT + 8 * vector:#x}) is a task gate")


def test_an_event_in_virtual_8086_mode_is_told_as_what_it_is() -> None:
    """IRET takes the guest there; HLT is privileged there."""
    start = f"push 0\npush 0\npush 0\npush 0\npush 0\npush {KERNEL_STACK}\npush {VM | 2}\npush 0"
    with Board(Guest(32, f"{start}\nlea eax, [v86]\npush eax\niretd\nv86: hlt")) as board:
        assert board.enter() == (ExitReason.TASK_SWITCH, "virtual-8086 mode")


# Tables that are kept up to date --------------------------------------------------------------


def test_segments_are_marked_as_accessed_only_if_they_are_taken() -> None:
    guest = Guest(32, "int 0x40\nint 0x41\nout 0x11, al", cs=CODE3, ss=DATA3, flags=2 | IOPL3,
                  gates={0x41: gate(32, handler(0x41), ABSENT_CODE)})  # fmt: skip

    def access_byte(selector: int) -> int:
        return board.peek(GDT + (selector & ~7) + 5, 1)[0]

    with Board(guest) as board:
        board.poke(GDT + 0x90, pack("<QQ", descriptor(0x1A), descriptor(0x12)))
        board.poke(IDT + 8 * 0x40, gate(32, handler(0x40), 0x90))
        board.poke(TSS + 8, pack("<I", 0x98))
        board.cpu.registers.set_gdt(GDT, 0x9F)
        board.until_out(HANDLER_PORT)
        assert (access_byte(0x90), access_byte(0x98)) == (0x9B, 0x93)
        board.until_out(HANDLER_PORT)
        assert board.state["rip"] == handler(NP)
        assert access_byte(ABSENT_CODE) == 0x1B  # as it was: a type that says accessed


def test_a_16_bit_tss() -> None:
    guest = Guest(32, "int3", cs=CODE3, ss=DATA3, flags=2 | IOPL3)
    with Board(guest) as board:
        board.poke(GDT + TR, pack("<Q", descriptor(0x1, base=TSS, limit=0x2B, flags=0)))
        board.poke(TSS, pack("<5H", 0, 0x7800, DATA0, 0, 0))
        board.until_out(HANDLER_PORT)
        assert board.state["rsp"] == 0x7800 - 20


def test_a_frame_over_code_is_the_code_from_then_on() -> None:
    """INT3's return address, 0x10b0, is `mov al, 0x10`; with CS and EFLAGS some more follows."""
    body = """
        mov eax, 0x6000
        call patch
        mov esp, offset patch + 12
        jmp 1f
        .org 0x10af
    1:  int3
    patch:
        .fill 12, 1, 0x90
        ret
    """
    guest = Guest(32, body.replace(".org 0x10af", f".org {0x10AF - CODE:#x}"))
    with Board(guest) as board:
        patch = guest.symbols["patch"]
        assert patch == 0x10B0
        go_on = pack("<BIBi", 0xBC, KERNEL_STACK, 0xE8, patch - handler(3) - 10)
        board.poke(handler(3), go_on + b"\xe6\x11")  # mov esp, ...; call patch; out 0x11, al
        board.until_out(0x11)
        assert board.peek(patch, 12) == pack("<3I", patch, CODE0, 2)
        assert board.state["rax"] == 0x6000 | 0x10 + 0x20
        assert board.peek(0x6010, 1) == b"\x20"
