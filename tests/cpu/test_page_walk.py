"""The walk that deliveries take against the one the guest's own instructions take.

Any entries at any level, any rights, reserved bits: a load or store of the guest's goes
through Unicorn's page walk, and access() has to come to the same.
"""

from __future__ import annotations

from struct import pack

from delivery_kit import (
    CODE3,
    CR0_WP,
    DATA3,
    EFER_LMA,
    EFER_LME,
    EFER_NXE,
    HANDLER_PORT,
    IOPL3,
    NX,
    PAGE_TABLES,
    PS,
    RAM_END,
    A,
    Board,
    D,
    Guest,
    P,
    U,
    W,
    handler,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from toyvisor.cpu.events import PF
from toyvisor.cpu.paging import CR4_PAE, CR4_PSE, PageFault, PagingRegisters, access
from toyvisor.cpu.registers import CONTROL, MSR_EFER
from toyvisor.exit_reasons import ExitReason
from toyvisor.memory import GuestMemory

#: What the tables under test translate, and where it should come out.
TARGET = 0x6000
TABLES = PAGE_TABLES + 0x8000  # one page for each level
FLAGS = st.lists(st.sampled_from([W, U, A, D, PS]), max_size=5)
ODD = st.sampled_from([0, 0, 0, 0, NX, 1 << 45, 1 << 52, 1 << 13])


@st.composite
def entries(draw, count):
    found = []
    for _ in range(count):
        value = P if draw(st.integers(0, 9)) else 0
        for flag in draw(FLAGS):
            value |= flag
        found.append(value | draw(ODD))
    return found


def put_tables(ram, levels, linear, shifts, width):
    """One entry at each level, which leads to the next, or to the page of TARGET."""
    for n, (flags, shift) in enumerate(zip(levels, shifts, strict=True)):
        table = TABLES + 0x1000 * n
        is_leaf = n == len(levels) - 1 or (flags & PS and n > 0)
        lead = (TARGET if n == len(levels) - 1 else 0) if is_leaf else table + 0x1000
        index = linear >> shift & (0x1FF if width == 8 else 0x3FF)
        value = (lead | flags) & (1 << 8 * width) - 1
        ram[table + width * index : table + width * (index + 1)] = value.to_bytes(width, "little")


def compare(board, linear, levels, shifts, width, *, write, user):
    registers = board.cpu.registers
    paging = PagingRegisters(
        *(registers.read_special(CONTROL[name]) for name in ("cr0", "cr3", "cr4")),
        registers.read_msr(MSR_EFER),
    )
    put_tables(board.ram, levels, linear, shifts, width)
    before = board.peek(TABLES, 0x4000)
    memory = GuestMemory()
    memory.add(0, board.ram)
    gpa = error_code = None
    try:
        gpa = access(memory, linear, paging, write=write, user=user)
    except PageFault as fault:
        error_code = fault.error_code
    marked = board.peek(TABLES, 0x4000)
    board.poke(TABLES, before)
    reason, where, *_ = board.enter()
    if reason == ExitReason.IO_INSTRUCTION and where == HANDLER_PORT:
        assert board.state["rip"] == handler(PF)
        assert registers.read_special(CONTROL["cr2"]) == linear
        assert error_code == int.from_bytes(board.peek(board.state["rsp"], 4), "little")
        return
    assert error_code is None
    assert board.peek(TABLES, 0x4000) == marked
    if reason == ExitReason.EPT_VIOLATION:  # a large page goes beyond the end of RAM
        assert where == gpa
    else:
        assert (reason, where) == (ExitReason.IO_INSTRUCTION, 0x11)
        assert gpa == linear & 0xFFF | TARGET or gpa < RAM_END


COMMON = {
    "write": st.booleans(),
    "user": st.booleans(),
    "wp": st.booleans(),
}


def start(bits, *, write, user, wp):
    """A guest about to access an address whose tables are not there yet."""
    register, linear = ("rcx", 0x80_4020_6123) if bits == 64 else ("ecx", 0x4020_6123)
    code = f"mov [{register}], al" if write else f"mov al, [{register}]"
    outer = {"cs": CODE3, "ss": DATA3} if user else {}
    guest = Guest(bits, f"out 0x10, al\n{code}\nout 0x11, al", flags=2 | IOPL3, paging=True,
                  registers={"rcx": linear}, **outer)  # fmt: skip
    board = Board(guest)
    registers = board.cpu.registers
    cr0 = registers.read_special(CONTROL["cr0"])
    registers.write_special(CONTROL["cr0"], cr0 | (CR0_WP if wp else 0))
    return board, linear


@settings(max_examples=300, deadline=None)
@given(levels=entries(4), nxe=st.booleans(), **COMMON)
def test_four_levels(levels, nxe, write, user, wp):
    board, linear = start(64, write=write, user=user, wp=wp)
    with board:
        # The first level is shared with the guest's own tables; its entry is under test.
        efer = EFER_LME | EFER_LMA | (EFER_NXE if nxe else 0)
        board.cpu.registers.write_msr(MSR_EFER, efer)
        board.poke(TABLES, board.peek(PAGE_TABLES, 8))
        board.cpu.registers.write_special(CONTROL["cr3"], TABLES)
        board.until_out(0x10)
        compare(board, linear, levels, (39, 30, 21, 12), 8, write=write, user=user)


@settings(max_examples=300, deadline=None)
@given(levels=entries(3), nxe=st.booleans(), **COMMON)
def test_pae(levels, nxe, write, user, wp):
    board, linear = start(32, write=write, user=user, wp=wp)
    with board:
        registers = board.cpu.registers
        registers.write_msr(MSR_EFER, EFER_NXE if nxe else 0)
        # Identity for the first 2 MiB, from tables elsewhere.
        board.poke(TABLES, pack("<Q", PAGE_TABLES + 0x5000 | P))
        board.poke(PAGE_TABLES + 0x5000, pack("<Q", P | W | U | PS))
        registers.write_special(CONTROL["cr4"], CR4_PAE)
        registers.write_special(CONTROL["cr3"], TABLES)
        board.until_out(0x10)
        compare(board, linear, levels, (30, 21, 12), 8, write=write, user=user)


@settings(max_examples=300, deadline=None)
@given(levels=entries(2), pse=st.booleans(), **COMMON)
def test_32_bits(levels, pse, write, user, wp):
    levels = [value & 0xFFFFFFFF for value in levels]
    if not pse:
        levels = [levels[0] & ~PS, levels[1]]
    board, linear = start(32, write=write, user=user, wp=wp)
    with board:
        registers = board.cpu.registers
        registers.write_special(CONTROL["cr4"], CR4_PSE if pse else 0)
        board.poke(TABLES, board.peek(PAGE_TABLES, 4))
        registers.write_special(CONTROL["cr3"], TABLES)
        board.until_out(0x10)
        compare(board, linear, levels, (22, 12), 4, write=write, user=user)
