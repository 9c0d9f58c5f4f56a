"""What goes wrong while an event is delivered, and what comes of it.

Every check of the Intel SDM's pseudocode (vol. 2A, INT n) fails once, for an event of each
kind: the fault that follows, its error code with EXT, the frame it finds. Then table 7-5 of
vol. 3: which faults make a double fault.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from delivery_kit import (
    ABSENT_CODE,
    ABSENT_DATA,
    BEFORE_PORT,
    CODE0,
    CODE1,
    CODE3,
    DATA0,
    DATA1,
    DATA3,
    DATA16,
    GDT,
    HANDLER_PORT,
    IDT,
    IOPL3,
    NO_PAGE,
    OTHER_CODE,
    READ_ONLY,
    RF,
    TR,
    TSS,
    Board,
    Guest,
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
    Event,
    EventType,
)
from toyvisor.cpu.registers import CONTROL
from toyvisor.exit_reasons import ExitReason

VECTOR = 0x40
GATE_ERROR = 8 * VECTOR | 2
NOT_CANONICAL = 0x1234_0000_0000_0000
EXT = 1


@dataclass(frozen=True)
class Trouble:
    """One thing that is wrong with the delivery through gate VECTOR."""

    name: str
    fault: int
    error_code: int
    spoil: Callable[[Board], None]
    modes: tuple[int, ...] = (32, 64)
    level: int = 0
    cr2: int | None = None
    #: Only what an instruction asked for fails.
    software_only: bool = False
    sp: int | None = None
    ss: int | None = None


def spoil_gate(offset: int = handler(VECTOR), **how: int) -> Callable[[Board], None]:
    def spoil(board: Board) -> None:
        entry = gate(board.guest.bits, offset, **how)
        board.poke(IDT + len(entry) * VECTOR, entry)

    return spoil


def spoil_tss(offset: int, value: int) -> Callable[[Board], None]:
    def spoil(board: Board) -> None:
        board.poke(TSS + offset, value.to_bytes(board.guest.bits // 8, "little"))

    return spoil


def segment(selector: int, value: int, then: Callable[[Board], None]) -> Callable[[Board], None]:
    """Another descriptor in the GDT."""

    def spoil(board: Board) -> None:
        board.poke(GDT + (selector & ~7), value.to_bytes(8, "little"))
        then(board)

    return spoil


def nothing(_board: Board) -> None:
    """It is wrong from the start."""


BAD_SEGMENT = 0x80
TROUBLES = (
    Trouble("gate not present", NP, GATE_ERROR, spoil_gate(p=0)),
    *(
        Trouble(f"gate of type {kind:x}", GP, GATE_ERROR, spoil_gate(kind=kind))
        for kind in (0x0, 0x1, 0x2, 0x3, 0x4, 0x8, 0x9, 0xB, 0xC, 0x12, 0x1A, 0x1E)
    ),
    *(
        Trouble(f"gate of type {kind:x} in long mode", GP, GATE_ERROR, spoil_gate(kind=kind),
                modes=(64,))
        for kind in (0x5, 0x6, 0x7)
    ),
    Trouble("bad type before not present", GP, GATE_ERROR, spoil_gate(kind=2, p=0)),
    Trouble("gate's DPL", GP, GATE_ERROR, spoil_gate(dpl=2), level=3, software_only=True),
    Trouble("null code segment", GP, 0, spoil_gate(selector=0)),
    Trouble("null code segment with an RPL", GP, 0, spoil_gate(selector=3)),
    Trouble("code segment beyond the GDT", GP, 0xF0, spoil_gate(selector=0xF1)),
    Trouble("code segment beyond the LDT", GP, 0x104, spoil_gate(selector=0x106)),
    Trouble("code segment is data", GP, DATA0, spoil_gate(selector=DATA0)),
    Trouble("code segment is a TSS", GP, TR, spoil_gate(selector=TR)),
    Trouble("code segment is less privileged", GP, CODE3 & ~3, spoil_gate(selector=CODE3)),
    Trouble("conforming code is less privileged", GP, BAD_SEGMENT,
            segment(BAD_SEGMENT, descriptor(0x1E, 3), spoil_gate(selector=BAD_SEGMENT))),
    Trouble("code segment not present", NP, ABSENT_CODE, spoil_gate(selector=ABSENT_CODE)),
    Trouble("32-bit code", GP, OTHER_CODE, spoil_gate(selector=OTHER_CODE), modes=(64,)),
    Trouble("code with L and D", GP, BAD_SEGMENT, modes=(64,), spoil=segment(
        BAD_SEGMENT, descriptor(0x1B, flags=0xE), spoil_gate(selector=BAD_SEGMENT))),
    Trouble("handler beyond the code segment", GP, 0, modes=(32,), spoil=segment(
        BAD_SEGMENT, descriptor(0x1B, flags=4, limit=0x53FF), spoil_gate(selector=BAD_SEGMENT))),
    Trouble("handler not canonical", GP, 0, spoil_gate(offset=NOT_CANONICAL), modes=(64,)),
    Trouble("null stack in the TSS", TS, 0, spoil_tss(8, 0), modes=(32,), level=3),
    Trouble("stack beyond the GDT", TS, 0xF0, spoil_tss(8, 0xF0), modes=(32,), level=3),
    Trouble("stack with the wrong RPL", TS, DATA0, spoil_tss(8, DATA0 | 1), modes=(32,),
            level=3),
    Trouble("stack of the wrong level", TS, DATA1 & ~3, spoil_tss(8, DATA1 & ~3),
            modes=(32,), level=3),
    Trouble("stack that can't be written", TS, READ_ONLY, spoil_tss(8, READ_ONLY),
            modes=(32,), level=3),
    Trouble("stack is code", TS, CODE0, spoil_tss(8, CODE0), modes=(32,), level=3),
    Trouble("stack segment not present", SS, ABSENT_DATA, spoil_tss(8, ABSENT_DATA),
            modes=(32,), level=3),
    Trouble("no room on the inner stack", SS, DATA0, spoil_tss(4, 2), modes=(32,), level=3),
    Trouble("inner stack not canonical", SS, 0, spoil_tss(4, NOT_CANONICAL), modes=(64,),
            level=3),
    Trouble("inner stack at the edge of what is canonical", SS, 0,
            spoil_tss(4, 0xFFFF_8000_0000_0000), modes=(64,), level=3),
    Trouble("TSS too short", TS, TR, nothing, level=3),
    Trouble("IST beyond the TSS", TS, TR, spoil_gate(ist=7), modes=(64,)),
    Trouble("no room on the stack", SS, 0, nothing, modes=(32,), sp=2),
    Trouble("stack page not present", PF, 2, nothing, sp=NO_PAGE + 0x1000,
            cr2=NO_PAGE + 0xFF8),
    Trouble("stack page not present, 16-bit stack", PF, 2, nothing, sp=NO_PAGE + 0x1000, ss=DATA16,
            cr2=NO_PAGE + 0xFF8, modes=(32,)),
    Trouble("inner stack's page not present", PF, 2,
            spoil_tss(4, NO_PAGE + 0x1000), level=3,
            cr2=NO_PAGE + 0xFF8),
    Trouble("stack page not present, handler at level 3", PF, 6, spoil_gate(selector=CODE3),
            level=3, sp=NO_PAGE + 0x1000, cr2=NO_PAGE + 0xFF8),
)  # fmt: skip
EVENTS = {
    "INT n": None,
    "external interrupt": EventType.EXTERNAL_INTERRUPT,
    "exception": EventType.HARDWARE_EXCEPTION,
    "INT3": EventType.SOFTWARE_EXCEPTION,
    "INT1": EventType.PRIVILEGED_SOFTWARE_EXCEPTION,
}
SHORT = {"TSS too short": {32: 0x4 + 4, 64: 0x4 + 6}, "IST beyond the TSS": {64: 0x24 + 54}}


def board_for(trouble: Trouble, bits: int, body: str) -> Board:
    outer = {"cs": CODE3, "ss": DATA3} if trouble.level else {}
    guest = Guest(
        bits, body, flags=2 | IOPL3, sp=trouble.sp, paging=True,
        tss_limit=SHORT.get(trouble.name, {}).get(bits), **outer,
    )  # fmt: skip
    return Board(guest)


def rescue(board: Board, trouble: Trouble, vector: int) -> bool:
    """Let the fault's gate lead where nothing is wrong; False if there is no such place."""
    bits = board.guest.bits
    if bits == 64:
        selector, ist = (CODE3, 0) if trouble.name == "TSS too short" else (CODE0, 1)
        board.poke(IDT + 16 * vector, gate(64, handler(vector), selector, ist=ist))
    elif trouble.level:
        selector = CODE3 if trouble.name == "TSS too short" else CODE1
        board.poke(IDT + 8 * vector, gate(32, handler(vector), selector))
    return bits == 64 or bool(trouble.level) or "stack" not in trouble.name


def start(trouble: Trouble, bits: int, event: str) -> Board:
    """The guest is about to meet the event."""
    body = f"out {BEFORE_PORT}, al\nhere: {'int 0x40' if event == 'INT n' else 'nop'}"
    outer = {"cs": CODE3, "ss": DATA3} if trouble.level else {"ss": trouble.ss}
    limit, sp = SHORT.get(trouble.name, {}).get(bits), trouble.sp
    if sp is not None and bits == 32 and not trouble.level:
        body, sp = f"mov esp, {sp}\n{body}", None  # the prologue needs a stack, too
    board = Board(Guest(bits, body, flags=2 | IOPL3, sp=sp, paging=True, tss_limit=limit, **outer))
    trouble.spoil(board)
    board.until_out(BEFORE_PORT)
    board.to_boundary()
    if EVENTS[event] is not None:
        board.cpu.inject(Event(VECTOR, EVENTS[event]))
    return board


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize(
    ("trouble", "bits"), [pytest.param(t, b, id=f"{t.name} {b}") for t in TROUBLES for b in t.modes]
)
def test_fault_while_delivering(trouble: Trouble, bits: int, event: str) -> None:
    is_software = event in ("INT n", "INT3")
    fails = is_software or not trouble.software_only
    with start(trouble, bits, event) as board:
        if not rescue(board, trouble, trouble.fault):
            assert board.enter()[0] == ExitReason.TRIPLE_FAULT
            tried = [each.vector for each, _ in board.cpu.failed_deliveries]
            assert tried == [VECTOR, trouble.fault, DF]
            return
        board.until_out(HANDLER_PORT)
        if not fails:
            assert board.state["rip"] == handler(VECTOR)
            return
        assert board.state["rip"] == handler(trouble.fault), board.where
        width = bits // 8
        error_code, rip, _, flags, rsp = words(board, 5)
        ext = 0 if is_software or trouble.fault == PF else EXT
        assert error_code == trouble.error_code | ext
        assert rip == board.guest.symbols["here"]
        assert flags & RF
        if bits == 64 or (trouble.level and trouble.name != "TSS too short"):
            assert rsp == board.guest.sp
        if trouble.cr2 is not None:
            cr2 = board.cpu.registers.read_special(CONTROL["cr2"])
            assert cr2 == trouble.cr2 + 8 - width


def words(board: Board, count: int) -> list[int]:
    """The topmost elements of the stack."""
    width = board.guest.bits // 8
    raw = board.peek(board.state["rsp"], count * width)
    return [int.from_bytes(raw[i : i + width], "little") for i in range(0, len(raw), width)]
