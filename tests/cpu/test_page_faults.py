"""The guest's own page tables: who may do what, and the page fault of those who may not.

Intel SDM vol. 3, chapter 5: 5.6 (access rights), 5.7 (page-fault exceptions), 5.8 (accessed
and dirty flags).
"""

from __future__ import annotations

from itertools import product
from struct import pack

import pytest
from delivery_kit import (
    CODE3,
    CR0_WP,
    DATA3,
    HANDLER_PORT,
    IOPL3,
    KERNEL_STACK,
    MODES,
    NO_PAGE,
    NX,
    PAGE_TABLES,
    A,
    Board,
    D,
    Guest,
    P,
    U,
    W,
    handler,
)

from toyvisor.cpu.clock import FOREVER
from toyvisor.cpu.events import PF
from toyvisor.cpu.registers import CONTROL
from toyvisor.exit_reasons import ExitReason
from toyvisor.guest.assembler import assemble_text

CR2 = CONTROL["cr2"]
#: A page fault's error code.
PRESENT, WRITE, USER, FETCH = 1, 2, 4, 16
ACCESSES = {
    "load": "mov al, [{r}]",
    "store": "mov [{r}], al",
    "change": "inc byte ptr [{r}]",
    "fetch": "call {r}",
}


def guest_for(bits: int, body: str, level: int, **options: object) -> Guest:
    outer = {"cs": CODE3, "ss": DATA3} if level else {}
    start = {"rcx": NO_PAGE + 0x123}
    return Guest(bits, body, flags=2 | IOPL3, paging=True, registers=start, **outer, **options)


def set_entry(board: Board, linear: int, flags: int) -> None:
    """The last page-table entry of a page, mapped as it is."""
    bits = board.guest.bits
    entry = linear & ~0xFFF | flags
    board.poke(board.guest.page_entry(linear), pack("<Q" if bits == 64 else "<I", entry))


def entry_of(board: Board, linear: int) -> int:
    size = board.guest.bits // 8
    return int.from_bytes(board.peek(board.guest.page_entry(linear), size), "little")


def expected_error(what: str, level: int, entry: int, *, wp: bool, nx: bool) -> int | None:
    """The error code; None: the access is allowed."""
    error = {"load": 0, "store": WRITE, "change": WRITE, "fetch": FETCH if nx else 0}[what]
    error |= USER if level == 3 else 0
    if not entry & P:
        # A read-modify-write asks for its write at once on some processors, reads first on
        # others (Unicorn reads first).
        return error & ~WRITE if what == "change" else error
    if level == 3 and not entry & U:
        return (error & ~WRITE if what == "change" else error) | PRESENT
    if what in ("store", "change") and not entry & W and (level == 3 or wp):
        return error | PRESENT
    if what == "fetch" and entry & NX:
        return error | PRESENT
    return None


MATRIX = [
    (bits, what, level, flags, wp)
    for bits, what, level, wp in product((32, 64), ACCESSES, (0, 3), (False, True))
    for flags in (0, *(P | w | u | x for w, u, x in product((0, W), (0, U), (0, NX))))
    if bits == 64 or not flags & NX
]


@pytest.mark.parametrize(("bits", "what", "level", "flags", "wp"), MATRIX)
def test_error_code_and_cr2(bits: int, what: str, level: int, flags: int, *, wp: bool) -> None:
    access = ACCESSES[what].format(r="rcx" if bits == 64 else "ecx")
    guest = guest_for(bits, f"out 0x10, al\n{access}\nout 0x11, al", level)
    with Board(guest) as board:
        registers = board.cpu.registers
        registers.write_special(
            CONTROL["cr0"], registers.read_special(CONTROL["cr0"]) | (CR0_WP if wp else 0)
        )
        set_entry(board, NO_PAGE, flags)
        board.poke(NO_PAGE + 0x123, b"\xc3")
        board.until_out(0x10)
        expected = expected_error(what, level, flags, wp=wp, nx=bits == 64)
        exit_ = board.enter()
        if expected is None:
            assert exit_[:2] == (ExitReason.IO_INSTRUCTION, 0x11), board.where
            used = A | (D if what in ("store", "change") else 0)
            assert entry_of(board, NO_PAGE) == NO_PAGE | flags | used
            assert registers.read_special(CR2) == 0
            return
        assert exit_[:2] == (ExitReason.IO_INSTRUCTION, HANDLER_PORT)
        assert board.state["rip"] == handler(PF)
        width = bits // 8
        frame = board.peek(board.state["rsp"], 2 * width)
        error, rip = (int.from_bytes(frame[i : i + width], "little") for i in (0, width))
        assert error == expected
        assert registers.read_special(CR2) == NO_PAGE + 0x123
        at = board.guest.symbols["body"] + 2 if what != "fetch" else NO_PAGE + 0x123
        assert rip == at
        assert entry_of(board, NO_PAGE) & D == 0


def healing_handler(bits: int, flags: int, before: str = "") -> bytes:
    """A handler that maps the page of CR2 and goes back."""
    a, b, sp, iret = (
        ("rax", "rbx", "rsp", "iretq") if bits == 64 else ("eax", "ebx", "esp", "iretd")
    )
    text = f"""
        out {HANDLER_PORT}, al
        {before}
    heal: mov {a}, cr2
        and {a}, -0x1000
        mov {b}, {a}
        or {a}, {flags}
        shr {b}, 12
        mov [{Guest(bits, "nop").page_entry(0)} + {b} * {bits // 8}], {a}
        mov {b}, cr2
        invlpg [{b}]
        add {sp}, {bits // 8}
        {iret}
    """
    return bytes(assemble_text(text, mode=MODES[bits], origin=handler(PF)).image)


@pytest.mark.parametrize("bits", [32, 64])
def test_faults_in_a_row_are_page_faults_each(bits: int) -> None:
    """Unicorn remembers the last fault for good, and makes of the next a double fault."""
    pages = [0xC000, 0xD000, 0xE000, 0xF000]
    body = "\n".join(f"mov byte ptr [{page + 8 * n:#x}], {n + 1}" for n, page in enumerate(pages))
    with Board(guest_for(bits, body + "\nout 0x11, al", 0)) as board:
        board.poke(handler(PF), healing_handler(bits, P | W))
        for page in pages:
            set_entry(board, page, 0)
        for n, page in enumerate(pages):
            board.until_out(HANDLER_PORT)
            assert board.state["rip"] == handler(PF)
            assert board.cpu.registers.read_special(CR2) == page + 8 * n
        board.until_out(0x11)
        assert [board.peek(page + 8 * n, 1)[0] for n, page in enumerate(pages)] == [1, 2, 3, 4]
        assert all(entry_of(board, page) == page | P | W | A | D for page in pages)


@pytest.mark.parametrize("bits", [32, 64])
def test_other_faults_between_page_faults(bits: int) -> None:
    body = "mov al, [0xc000]\nxor cl, cl\ndiv cl\nskip: ud2\nmov al, [0xd000]\nout 0x11, al"
    with Board(guest_for(bits, body, 0)) as board:
        board.poke(handler(PF), healing_handler(bits, P))
        length = {0: 2, 6: 2}
        for vector in length:  # add [sp], length; iret
            add = (b"\x48" if bits == 64 else b"") + b"\x83\x04\x24" + bytes([length[vector]])
            iret = b"\x48\xcf" if bits == 64 else b"\xcf"
            board.poke(handler(vector), b"\xe6\x80" + add + iret)
        for page in (0xC000, 0xD000):
            set_entry(board, page, 0)
        came = []
        for _ in range(4):
            board.until_out(HANDLER_PORT)
            came.append((board.state["rip"] - handler(0)) // 16)
        assert came == [PF, 0, 6, PF]
        board.until_out(0x11)


@pytest.mark.parametrize("bits", [32, 64])
def test_page_faults_inside_page_fault_handlers(bits: int) -> None:
    """Each of the first three runs of the handler needs a page that is missing, too."""
    c = "rcx" if bits == 64 else "ecx"
    before = f"""
        push {c}
        mov ecx, [0x6900]
        inc dword ptr [0x6900]
        cmp ecx, 3
        jae 1f
        shl ecx, 12
        mov dl, [{c} + 0xd000]
    1:  pop {c}
    """
    pages = [0xC000, 0xD000, 0xE000, 0xF000]
    with Board(guest_for(bits, "mov al, [0xc000]\nafter: out 0x11, al", 0)) as board:
        # The page of CR2 is healed, and that is the inner fault's: so each comes once more.
        board.poke(handler(PF), healing_handler(bits, P, before))
        for page in pages:
            set_entry(board, page, 0)
        came = []
        while (port := board.enter()[1]) == HANDLER_PORT:
            assert board.state["rip"] == handler(PF)
            came.append(board.cpu.registers.read_special(CR2))
        assert port == 0x11
        assert came == [0xC000, 0xD000, 0xE000, 0xF000, 0xE000, 0xD000, 0xC000]
        assert board.state["rsp"] == KERNEL_STACK


@pytest.mark.parametrize("bits", [32, 64])
def test_a_stale_translation_lasts_until_invlpg(bits: int) -> None:
    """The entry is taken away; the guest sees it go at INVLPG only."""
    r = "rcx" if bits == 64 else "ecx"
    entry = Guest(bits, "nop").page_entry(0xC000)
    body = f"""
        mov {r}, 0xc000
        mov al, [{r}]
        mov dword ptr [{entry:#x}], 0
        mov bl, [{r}]
        out 0x12, al
        invlpg [{r}]
        here: mov bl, [{r}]
    """
    with Board(guest_for(bits, body, 0)) as board:
        board.until_out(0x12)
        board.until_out(HANDLER_PORT)
        assert board.state["rip"] == handler(PF)
        frame = board.peek(board.state["rsp"], bits // 4)
        width = bits // 8
        assert int.from_bytes(frame[width:], "little") == board.guest.symbols["here"]


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("limit", range(1, 14))
def test_cr2_outlives_time_slices(bits: int, limit: int) -> None:
    """...and looking at the guest, and exits, wherever they come."""
    body = "mov al, [0xc123]\nout 0x11, al"
    with Board(guest_for(bits, body, 0)) as board:
        cpu = board.cpu
        set_entry(board, 0xC000, 0)
        board.poke(handler(PF), healing_handler(bits, P))
        board.until_out(HANDLER_PORT)
        cpu.clock.limit = cpu.now() + limit
        reason = board.enter()[0]
        if limit < 11:
            assert reason == ExitReason.PREEMPTION_TIMER
        assert cpu.registers.read_special(CR2) == 0xC123
        cpu.view.read(0xB800, 4)
        cpu.view.read(0x7FFF_0000, 4)
        assert cpu.registers.read_special(CR2) == 0xC123
        cpu.clock.limit = FOREVER
        if reason == ExitReason.PREEMPTION_TIMER:
            board.until_out(0x11)
        assert cpu.registers.read_special(CR2) == 0xC123


@pytest.mark.parametrize("limit", range(1, 29))
def test_a_time_slice_before_a_page_that_is_missing_leaves_cr2_alone(limit: int) -> None:
    """The end of a slice is an address, and the last of them can't be looked up."""
    with Board(guest_for(64, "mov eax, 0xcff0\njmp rax", 0)) as board:
        cpu = board.cpu
        board.poke(0xCFF0, b"\x90" * 16)
        set_entry(board, 0xD000, 0)
        cpu.registers.write_special(CR2, 0x1234)
        cpu.clock.limit = limit
        assert board.enter()[0] == ExitReason.PREEMPTION_TIMER
        assert cpu.now() == limit
        assert cpu.registers.read_special(CR2) == 0x1234
        cpu.clock.limit = FOREVER
        board.until_out(HANDLER_PORT)
        assert board.state["rip"] == handler(PF)
        assert cpu.registers.read_special(CR2) == 0xD000
        assert board.peek(board.state["rsp"], 16) == pack("<QQ", FETCH, 0xD000)


@pytest.mark.parametrize("limit", range(1, 30))
def test_new_page_tables_without_the_present_code_are_a_page_fault_however_sliced(
    limit: int,
) -> None:
    """The handler has a page there, the code has not: the fetch behind MOV CR3 faults."""
    body = f"mov eax, {PAGE_TABLES + 0x8000}\nmov cr3, rax\nhere: nop\nout 0x11, al"
    guest = guest_for(64, body, 0)
    with Board(guest) as board:
        for level in range(4):
            old, new = (PAGE_TABLES + n + 0x1000 * level for n in (0, 0x8000))
            board.poke(new, board.peek(old, 0x1000))
            if level < 3:
                board.poke(new, pack("<Q", new + 0x1000 | P | W | U))
        board.poke(PAGE_TABLES + 0xB000 + 8, pack("<Q", 0))
        board.cpu.clock.limit = limit
        while (exit_ := board.enter())[0] == ExitReason.PREEMPTION_TIMER:
            board.cpu.clock.limit = FOREVER
        assert exit_[:2] == (ExitReason.IO_INSTRUCTION, HANDLER_PORT), board.where
        assert board.state["rip"] == handler(PF)
        assert board.cpu.registers.read_special(CR2) == guest.symbols["here"]
        frame = board.peek(board.state["rsp"], 16)
        assert frame == pack("<QQ", FETCH, guest.symbols["here"])


# Tables outside RAM ---------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("level", [1, 2, 3])
@pytest.mark.parametrize("access", ["load", "store"])
def test_a_table_outside_ram_is_a_page_that_is_not_there(
    access: str, level: int, bits: int
) -> None:
    """So KVM has it (paging_tmpl.h, walk_addr_generic): a page fault without P."""
    if (bits, level) == (32, 3):
        return
    code = {"load": "mov al, [0x800000]", "store": "mov [0x800000], al"}[access]
    body = f"out 0x10, al\n{code}\n{code.replace('0x800', '0x900')}"
    with Board(guest_for(bits, body, 0)) as board:
        board.until_out(0x10)
        board.poke(handler(PF), b"\xe6\x80" + pop_and_skip(bits, 7 if bits == 64 else 5))
        spoil_table(board, level, 0x8000_0000)
        for address in (0x80_0000, 0x90_0000, 0x80_0000)[:2]:
            board.until_out(HANDLER_PORT)
            assert board.state["rip"] == handler(PF)
            assert board.cpu.registers.read_special(CR2) == address
            error = int.from_bytes(board.peek(board.state["rsp"], 4), "little")
            assert error == (WRITE if access == "store" else 0)
        assert not board.cpu._memory_exits.watches_ram, "taken for an access out of RAM"
        assert sum(board.exit_counts) == board.exit_counts[ExitReason.IO_INSTRUCTION]


def pop_and_skip(bits: int, length: int) -> bytes:
    """Take off the error code, go back behind an instruction of that length."""
    rex = b"\x48" if bits == 64 else b""
    pop = rex + bytes([0x83, 0xC4, bits // 8])
    return pop + rex + bytes([0x83, 0x04, 0x24, length]) + rex + b"\xcf"


def spoil_table(board: Board, level: int, table: int) -> None:
    """Linear 0x800000 and on: the `level`-th table on the way lies elsewhere."""
    if board.guest.bits == 32:
        for entry in (2, 3):
            board.poke(PAGE_TABLES + 4 * entry, pack("<I", table | P | W | U))
        return
    if level == 3:
        for entry in (4, 5):
            board.poke(PAGE_TABLES + 0x2000 + 8 * entry, pack("<Q", table | P | W | U))
    elif level == 2:  # a directory of its own, in which all but the first is elsewhere
        place = PAGE_TABLES + 0x9000
        board.poke(place, board.peek(PAGE_TABLES + 0x2000, 8))
        for entry in (4, 5):
            board.poke(place + 8 * entry, pack("<Q", (table + 0x1000) | P | W | U))
        board.poke(PAGE_TABLES + 0x1000, pack("<Q", place | P | W | U))
        board.cpu.registers.write_special(CONTROL["cr3"], PAGE_TABLES)
    else:
        for entry in (4, 5):
            board.poke(PAGE_TABLES + 0x2000 + 8 * entry, pack("<Q", table | P | W))


@pytest.mark.parametrize("bits", [32, 64])
def test_cr3_outside_ram_is_the_end(bits: int) -> None:
    r = "rax" if bits == 64 else "eax"
    with Board(guest_for(bits, f"mov {r}, 0x80000000\nmov cr3, {r}\nhere: nop", 0)) as board:
        assert board.enter() == (ExitReason.TRIPLE_FAULT, PF)
        assert board.state["rip"] == board.guest.symbols["here"]
        whys = [why for _, why in board.cpu.failed_deliveries]
        assert all("page fault reading" in why for why in whys)
