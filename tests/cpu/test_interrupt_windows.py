"""When an interrupt can come in: IF, the shadows of STI and SS, NMI, and single steps.

Intel SDM vol. 3, 7.8.1 and 7.8.3 (IF, loading SS), 7.7.1 (NMI), 18.3.1.4 (single step);
vol. 2B, STI.
"""

from __future__ import annotations

import pytest
from delivery_kit import (
    DATA0,
    HANDLER_PORT,
    IF,
    IOPL3,
    RF,
    TF,
    Board,
    Guest,
    handler,
)

from toyvisor.cpu.clock import FOREVER
from toyvisor.cpu.events import NMI, PF, Event, EventType
from toyvisor.cpu.exit_door import AT_BOUNDARY
from toyvisor.cpu.registers import CONTROL, DEBUG
from toyvisor.exit_reasons import ExitReason

INTERRUPT = Event(0x20, EventType.EXTERNAL_INTERRUPT)
WINDOW, NMI_WINDOW = int(ExitReason.INTERRUPT_WINDOW), int(ExitReason.NMI_WINDOW)

#: By mode: pushing flags with IF, returning to a label, loading SS.
PUSHED = "push {flags}\n"
IRET = {
    16: "push {flags}\npush cs\npush offset there\niret\nud2\nthere:",
    32: "push {flags}\npush cs\npush offset there\niretd\nud2\nthere:",
    64: "mov rdx, rsp\npush {ss}\npush rdx\npush {flags}\npush 8\nlea rax, [there]\npush rax\n"
        "iretq\nud2\nthere:",
}  # fmt: skip

#: The window is to open exactly at `here`.
OPENS = {
    "sti": "sti\nnop\nhere: nop",
    "sti sti": "sti\nsti\nhere: nop",
    "sti cli": "sti\ncli\nnop\nsti\nnop\nhere: nop",
    "sti jmp": "sti\njmp 1f\nud2\n1:\nhere: nop",
    "sti call ret": "call 1f\nhere: jmp 2f\n1: sti\nret\n2: nop",
    "sti mov ss": "sti\nmov ss, cx\nhere: nop",
    "mov ss sti": "mov ss, cx\nsti\nhere: nop",
    "sti popf": "push {off}\nsti\npopf\nnop\nsti\nnop\nhere: nop",
    "popf": "push {on}\npopf\nhere: nop",
    "popf in a loop": "1: dec bl\njnz 1b\npush {on}\npopf\nhere: nop",
    "iret": "{iret}\nhere: nop",
    "sti out": "sti\nout 0x10, al\nhere: nop",
    "sti in": "sti\nin al, 0x10\nhere: nop",
    "sti imul": "sti\nimul bl\nhere: nop",
    "a long way": "nop\n" * 20 + "sti\nnop\nhere: " + "nop\n" * 20,
}


def source(text: str, bits: int) -> str:
    on, off = 2 | IF | IOPL3, 2 | IOPL3
    iret = IRET[bits].format(flags=on, ss=DATA0)
    return text.format(on=on, off=off, iret=iret)


def board_for(bits: int, text: str, flags: int = 2 | IOPL3, **registers: int) -> Board:
    ss = {16: 0}.get(bits, DATA0)
    start = {"rcx": ss, "rbx": 3, "rdi": 0x6000, "rsi": 0x6100} | registers
    return Board(Guest(bits, source(text, bits) + "\nout 0x11, al", flags=flags, registers=start))


@pytest.mark.parametrize("bits", [16, 32, 64])
@pytest.mark.parametrize("name", OPENS)
def test_the_window_opens_before_the_first_instruction_that_can_be_interrupted(
    name: str, bits: int
) -> None:
    with board_for(bits, OPENS[name]) as board:
        cpu = board.cpu
        cpu.open_window(lambda: WINDOW * cpu.can_be_interrupted())
        exit_ = board.enter()
        if exit_[0] == ExitReason.IO_INSTRUCTION:
            exit_ = board.enter(1)
        assert exit_ == (WINDOW,)
        assert board.state["rip"] == board.guest.symbols["here"]
        assert board.exit_counts[WINDOW] == 1
        instructions = cpu.now()
        cpu.inject(INTERRUPT)
        board.until_out(HANDLER_PORT)
        assert board.state["rip"] == handler(0x20)
        assert cpu.now() == instructions, "a delivery is no instruction"
        assert (
            int.from_bytes(board.peek(board.state["rsp"], 2), "little")
            == (board.guest.symbols["here"])
        )
        board.until_out(0x11)


@pytest.mark.parametrize("bits", [16, 32, 64])
@pytest.mark.parametrize(
    "text",
    ["nop", "sti\ncli", "push {off}\npopf", "push {off}\nsti\npopf"],
)
def test_the_window_stays_shut(text: str, bits: int) -> None:
    with board_for(bits, text) as board:
        board.cpu.open_window(lambda: WINDOW * board.cpu.can_be_interrupted())
        board.until_out(0x11)
        assert board.exit_counts[WINDOW] == 0


@pytest.mark.parametrize("bits", [16, 32, 64])
def test_sti_hlt_sleeps_before_the_interrupt(bits: int) -> None:
    with board_for(bits, "sti\nhlt\nhere: nop") as board:
        cpu = board.cpu
        cpu.open_window(lambda: WINDOW * cpu.can_be_interrupted())
        assert board.enter() == (ExitReason.HLT,)
        assert cpu.can_be_interrupted()
        cpu.close_window()
        cpu.inject(INTERRUPT)
        board.until_out(HANDLER_PORT)
        assert (
            int.from_bytes(board.peek(board.state["rsp"], 2), "little")
            == (board.guest.symbols["here"])
        )


SHADOWED = {
    "mov ss": "mov ss, cx\nout 0x10, al\nhere: nop",
    "pop ss": "push {ss}\npop ss\nout 0x10, al\nhere: nop",
    "sti": "sti\nout 0x10, al\nhere: nop",
    "mov ss, then in": "mov ss, cx\nin al, 0x10\nhere: nop",
}


@pytest.mark.parametrize("bits", [16, 32, 64])
@pytest.mark.parametrize("name", SHADOWED)
def test_an_exit_in_the_shadow_is_followed_by_the_interrupt(name: str, bits: int) -> None:
    """The shadowed instruction exits; the interrupt that its exit brings comes behind it."""
    if (name, bits) == ("pop ss", 64):
        return  # no such instruction
    text = SHADOWED[name].replace("{ss}", str({16: 0}.get(bits, DATA0)))
    with board_for(bits, text, flags=2 | IOPL3 | (IF if name != "sti" else 0)) as board:
        cpu = board.cpu
        assert board.enter()[0] == ExitReason.IO_INSTRUCTION
        assert not cpu.can_be_interrupted()
        assert not cpu.can_take_nmi()
        cpu.open_window(lambda: WINDOW * cpu.can_be_interrupted())
        assert board.enter() == (WINDOW,)
        assert board.state["rip"] == board.guest.symbols["here"]


@pytest.mark.parametrize("bits", [16, 32])
def test_lss_has_no_shadow(bits: int) -> None:
    text = "lss sp, [0x6000]\nhere: nop\n" if bits == 16 else "lss esp, [0x6000]\nhere: nop\n"
    with board_for(bits, text + "nop", flags=2 | IOPL3 | IF) as board:
        width = bits // 8
        ss = {16: 0}.get(bits, DATA0)
        board.poke(0x6000, (0x7FF0).to_bytes(width, "little") + ss.to_bytes(2, "little"))
        board.cpu.clock.limit = board.guest.body_at("here")
        assert board.enter() == (ExitReason.PREEMPTION_TIMER,)
        assert board.cpu.can_be_interrupted()


# NMI ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [16, 32, 64])
def test_an_nmi_is_blocked_until_iret(bits: int) -> None:
    with board_for(bits, "out 0x10, al\nhere: nop") as board:
        cpu = board.cpu
        board.until_out(0x10)
        board.to_boundary()
        assert cpu.can_take_nmi()
        cpu.inject(Event(NMI, EventType.NMI))
        board.until_out(HANDLER_PORT)
        assert not cpu.can_take_nmi()
        cpu.open_window(lambda: NMI_WINDOW * cpu.can_take_nmi())
        assert board.enter() == (NMI_WINDOW,)
        assert board.state["rip"] == board.guest.symbols["here"]
        cpu.inject(Event(NMI, EventType.NMI))
        board.until_out(HANDLER_PORT)
        assert not cpu.can_take_nmi()
        board.until_out(0x11)
        assert cpu.can_take_nmi()


@pytest.mark.parametrize("bits", [16, 32, 64])
def test_any_iret_ends_the_blocking_even_that_of_another_handler(bits: int) -> None:
    """An exception in an NMI handler ends it early, as on a PC (SDM vol. 3, 7.7.1)."""
    with board_for(bits, "out 0x10, al\nnop") as board:
        board.poke(handler(NMI), b"\xcc\xe6\x12")  # int3; out 0x12, al
        board.until_out(0x10)
        board.to_boundary()
        board.cpu.inject(Event(NMI, EventType.NMI))
        board.until_out(HANDLER_PORT)
        assert board.state["rip"] == handler(3)
        assert not board.cpu.can_take_nmi()
        board.until_out(0x12)
        assert board.cpu.can_take_nmi()


def test_other_events_do_not_block_an_nmi() -> None:
    with board_for(64, "int3") as board:
        board.until_out(HANDLER_PORT)
        assert board.cpu.can_take_nmi()


# Repeated string instructions ---------------------------------------------------------------


@pytest.mark.parametrize("bits", [16, 32, 64])
def test_an_interrupt_between_two_rounds_has_rf_and_the_rest_is_done_later(bits: int) -> None:
    with board_for(bits, "here: rep outsb\nafter: nop", flags=2 | IOPL3 | IF, rcx=3, rdx=0x10,
                   rsi=0x6000) as board:  # fmt: skip
        width = bits // 8
        seen = []
        for left in (2, 1, 0):
            board.until_out(0x10)
            board.to_boundary()
            board.cpu.inject(INTERRUPT)
            board.until_out(HANDLER_PORT)
            frame = board.peek(board.state["rsp"], 3 * width)
            rip = int.from_bytes(frame[:width], "little")
            flags = int.from_bytes(frame[2 * width :], "little")
            seen.append((rip, bool(flags & RF)))
            assert board.state["rcx"] == left
        here, after = board.guest.symbols["here"], board.guest.symbols["after"]
        rf = bits != 16  # a frame of words has no room for it
        assert seen == [(here, rf), (here, rf), (after, False)]
        board.until_out(0x11)


def test_an_interrupt_long_after_a_repeat_has_no_rf() -> None:
    """What was true of the last interrupt says nothing about the next."""
    text = "rep outsb\nhlt\nhere: nop"
    with board_for(64, text, flags=2 | IOPL3 | IF, rcx=3, rdx=0x10, rsi=0x6000) as board:
        board.until_out(0x10)
        board.to_boundary()
        board.cpu.inject(INTERRUPT)
        board.until_out(HANDLER_PORT)
        board.until_out(0x10)
        board.until_out(0x10)
        assert board.enter() == (ExitReason.HLT,)
        board.cpu.inject(INTERRUPT)
        board.until_out(HANDLER_PORT)
        frame = board.peek(board.state["rsp"], 24)
        assert int.from_bytes(frame[:8], "little") == board.guest.symbols["here"]
        assert not int.from_bytes(frame[16:], "little") & RF


@pytest.mark.parametrize("limit", range(1, 14))
def test_rf_after_a_time_slice_says_whether_it_ended_between_two_rounds(limit: int) -> None:
    text = "here: rep stosb\nafter: nop\nnop\nnop\nnop"
    with board_for(64, text, flags=2 | IOPL3 | IF, rcx=4) as board:
        start = board.guest.body_at("here")
        board.cpu.clock.limit = start + limit
        exit_ = board.enter()
        if exit_[0] != ExitReason.PREEMPTION_TIMER:
            return
        rip, left = board.state["rip"], board.state["rcx"]
        board.cpu.clock.limit = FOREVER
        board.cpu.inject(INTERRUPT)
        board.until_out(HANDLER_PORT)
        frame = board.peek(board.state["rsp"], 24)
        assert int.from_bytes(frame[:8], "little") == rip
        between = rip == board.guest.symbols["here"] and 0 <= left < 4
        assert bool(int.from_bytes(frame[16:], "little") & RF) == between


# Single steps ---------------------------------------------------------------------------------

DR6_BS = 1 << 14

#: What is stepped over, and behind which of its lines the trap comes.
STEPS = {
    "plain": ("nop\ninc al\nmov dl, al", [1, 2, 3]),
    "jump": ("jmp 1f\nud2\n1: nop", [2, 3]),
    "out": ("out 0x12, al\nnop", [1, 2]),
    "in": ("in al, 0x12\nnop", [1, 2]),
    "mov ss": ("mov ss, cx\nnop\nnop", [2, 3]),
    "sti": ("sti\nnop", [1, 2]),
    "two rounds": ("mov cx, 2\nrep stosb\nnop", [1, 1, 2, 3]),
    "int n": ("nop\nint 0x40\nnop\nnop", [1, 3, 4]),
    "pushf": ("pushf\nnop\npop dx", [1, 2, 3]),
}


@pytest.mark.parametrize("bits", [16, 32, 64])
@pytest.mark.parametrize("name", STEPS)
def test_single_steps_through_the_guests_own_handler(name: str, bits: int) -> None:
    text, expected = STEPS[name]
    if bits == 64:
        text = text.replace("pushf\nnop\npop dx", "pushf\nnop\npop rdx")
    elif bits == 32:
        text = text.replace("pushf\nnop\npop dx", "pushf\nnop\npop edx")
    lines = text.split("\n")
    labelled = [f"s{n}: {line}" if ":" not in line else f"s{n}:\n{line}"
                for n, line in enumerate(lines)]  # fmt: skip
    labelled.append(f"s{len(lines)}: nop\nclear: nop")
    ss = {16: 0}.get(bits, DATA0)
    guest = Guest(bits, "\n".join(labelled), flags=2 | IOPL3 | TF,
                  registers={"rcx": ss, "rdi": 0x6000})  # fmt: skip
    traps, resume = [], []
    with Board(guest) as board:
        while not traps or traps[-1] != guest.symbols["clear"]:
            board.enter(0x55)
            if board.state["rip"] != handler(1):
                continue
            width = bits // 8
            frame = board.peek(board.state["rsp"], 3 * width)
            traps.append(int.from_bytes(frame[:2], "little"))
            resume.append(bool(int.from_bytes(frame[2 * width :], "little") & RF))
            assert not board.state["rflags"] & TF
            assert board.cpu.registers.read_special(DEBUG["dr6"]) & DR6_BS
    assert traps == [guest.symbols[f"s{n}"] for n in expected] + [guest.symbols["clear"]]
    # RF where one more round is to come (SDM vol. 3, 18.3.1.1).
    rounds = [name == "two rounds" and n == 1 and bits > 16 for n in range(len(traps))]
    assert resume == rounds


@pytest.mark.parametrize("bits", [16, 32, 64])
@pytest.mark.parametrize("text", ["out 0x12, al", "in al, 0x12"])
def test_a_single_step_comes_before_an_interrupt(text: str, bits: int) -> None:
    """SDM vol. 3, 7.9: traps on the previous instruction first, then interrupts."""
    guest = Guest(bits, f"{text}\nhere: nop", flags=2 | IOPL3 | TF | IF)
    with Board(guest) as board:
        debug = board.cpu.registers
        debug.write_special(DEBUG["dr6"], 0xFFFF0FF0)
        assert board.enter()[:2] == (ExitReason.IO_INSTRUCTION, 0x12)
        board.cpu.boundary.arm()
        assert board.enter(0x55) == (AT_BOUNDARY,)
        assert board.state["rip"] == handler(1)
        frame = board.peek(board.state["rsp"], 2)
        assert int.from_bytes(frame, "little") == guest.symbols["here"]
        assert debug.read_special(DEBUG["dr6"]) == 0xFFFF0FF0 | DR6_BS
        assert debug.read_special(DEBUG["dr7"]) & 0xFF == 0
        assert not board.cpu.can_be_interrupted(), "the gate has cleared IF"


def test_a_guest_that_writes_dr7_is_interrupted_where_any_other_is() -> None:
    """All but the first time: Unicorn has translated it without breakpoints at ports."""
    text = "mov dr7, rdx\n1: out 0x12, al\nhere: nop\nnop\njmp 1b"
    with board_for(64, text, flags=2 | IOPL3 | IF, rdx=0x400) as board:
        stops = []
        for _ in range(4):
            board.until_out(0x12)
            board.to_boundary()
            stops.append(board.state["rip"] - board.guest.symbols["here"])
            assert board.cpu.registers.read_special(DEBUG["dr7"]) == 0x400
        assert stops == [-2, 0, 0, 0]


def test_a_guest_that_writes_dr7_still_halts() -> None:
    with board_for(64, "mov dr7, rdx\nout 0x12, al\nhlt", flags=2 | IOPL3 | IF, rdx=0x400) as board:
        board.until_out(0x12)
        board.cpu.boundary.arm()
        assert board.enter() == (ExitReason.HLT,)
        assert board.enter() == (AT_BOUNDARY,)


# At the edge of a page that is missing -----------------------------------------------------------

EDGE = 0xCFFC  # the page behind is not present


def at_the_edge(code: bytes, flags: int) -> Board:
    """`code` ends where the missing page begins."""
    at = EDGE + 4 - len(code)
    board = board_for(64, f"mov eax, {at}\njmp rax", flags=flags)
    board.poke(at, code)
    board.poke(board.guest.page_entry(0xD000), bytes(8))
    return board


def test_an_interrupt_comes_before_the_page_fault_of_the_next_instruction() -> None:
    with at_the_edge(b"\x90\xe6\x12", 2 | IOPL3 | IF) as board:  # nop; out 0x12, al
        board.until_out(0x12)
        board.to_boundary()
        assert board.state["rip"] == 0xD000
        board.cpu.inject(INTERRUPT)
        board.until_out(HANDLER_PORT)
        assert board.state["rip"] == handler(0x20)
        assert int.from_bytes(board.peek(board.state["rsp"], 8), "little") == 0xD000
        board.until_out(HANDLER_PORT)
        assert board.state["rip"] == handler(PF)
        assert int.from_bytes(board.peek(board.state["rsp"] + 8, 8), "little") == 0xD000


@pytest.mark.parametrize("code", [b"\xfb\x90", b"\x90\xfb\x90"])  # sti; nop
def test_a_window_opens_before_the_page_fault_of_the_next_instruction(code: bytes) -> None:
    with at_the_edge(code, 2 | IOPL3) as board:
        cpu = board.cpu
        cpu.registers.write_special(CONTROL["cr2"], 0x77)
        cpu.open_window(lambda: WINDOW * cpu.can_be_interrupted())
        assert board.enter() == (WINDOW,)
        assert board.state["rip"] == 0xD000
        assert cpu.registers.read_special(CONTROL["cr2"]) == 0x77
        cpu.inject(INTERRUPT)
        board.until_out(HANDLER_PORT)
        assert board.state["rip"] == handler(0x20)
        board.until_out(HANDLER_PORT)
        assert board.state["rip"] == handler(PF)
        assert cpu.registers.read_special(CONTROL["cr2"]) == 0xD000
