"""What an event leaves on the stack and in the registers: every kind, mode, gate and level.

The expectations are written down from the Intel SDM (vol. 3, 7.12 and 7.14; vol. 2A, INT n;
for real mode vol. 3, 21.1.4), not taken from the code under test.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from delivery_kit import (
    ABSENT_DATA,
    AFTER_PORT,
    BEFORE_PORT,
    CODE0,
    CODE1,
    CODE3,
    COMPAT3,
    CONFORMING,
    DATA0,
    DATA1,
    DATA3,
    DATA16,
    HANDLER_PORT,
    IF,
    INNER_STACK,
    IOPL3,
    IST_STACK,
    KERNEL_STACK,
    LDT_CODE,
    NO_PAGE,
    NT,
    RF,
    TF,
    USER_STACK,
    Board,
    Guest,
    gate,
    handler,
)

from toyvisor.cpu.events import Event, EventType
from toyvisor.cpu.processor_state import CS, SS
from toyvisor.cpu.registers import CONTROL

CR0_TS, CR0_NE = 1 << 3, 1 << 5
BEFORE = f"out {BEFORE_PORT}, al\n"
AFTER = f"\nafter: out {AFTER_PORT}, al\n"


@dataclass(frozen=True)
class Kind:
    """One kind of event: how it comes about, and what is in its frame."""

    name: str
    vector: int
    #: Where the frame's RIP points.
    returns_to: str
    #: What the guest does; empty: it is injected behind the first OUT.
    source: str = ""
    injected: Event | None = None
    error_code: int | None = None
    modes: tuple[int, ...] = (16, 32, 64)
    levels: tuple[int, ...] = (0, 1, 3)
    #: RF in the frame (SDM vol. 3, 18.3.1.1).
    rf: bool = False
    #: More flags the guest runs with.
    flags: int = 0
    cr0: int = 0
    cr2: int | None = None


def injected(name: str, vector: int, kind: EventType, error: int | None = None, **more) -> Kind:
    return Kind(name, vector, "here", injected=Event(vector, kind, error), error_code=error, **more)


FAULT = {"returns_to": "here", "rf": True}
KINDS = (
    injected("external interrupt", 0x20, EventType.EXTERNAL_INTERRUPT, flags=IF),
    injected("external interrupt at an exception's vector", 0x0D, EventType.EXTERNAL_INTERRUPT),
    injected("external interrupt 255", 0xFF, EventType.EXTERNAL_INTERRUPT),
    injected("NMI", 2, EventType.NMI),
    injected("machine check", 18, EventType.HARDWARE_EXCEPTION),
    injected("double fault", 8, EventType.HARDWARE_EXCEPTION, 0),
    injected("alignment check", 17, EventType.HARDWARE_EXCEPTION, 0, rf=True),
    injected("invalid TSS", 10, EventType.HARDWARE_EXCEPTION, 0x28, rf=True),
    injected("SIMD error", 19, EventType.HARDWARE_EXCEPTION, rf=True),
    Kind("divide error", 0, source="here: div cl", **FAULT),
    Kind("invalid opcode", 6, source="here: ud2", **FAULT),
    Kind("bound", 5, source="here: bound eax, [0x6000]", modes=(32,), **FAULT),
    Kind("no x87", 7, source="here: fninit", cr0=CR0_TS, **FAULT),
    Kind("x87 error", 16, source="fldcw [0x6010]\nfld1\nfldz\nfdivp\nhere: fwait", **FAULT),
    Kind("segment not present", 11, source=f"mov ax, {ABSENT_DATA}\nhere: mov ds, ax",
         error_code=ABSENT_DATA, modes=(32, 64), levels=(0,), **FAULT),
    Kind("stack segment not present", 12, source=f"mov ax, {ABSENT_DATA}\nhere: mov ss, ax",
         error_code=ABSENT_DATA, modes=(32, 64), levels=(0,), **FAULT),
    Kind("selector beyond the GDT", 13, source="mov ax, 0x1233\nhere: mov ds, ax",
         error_code=0x1230, modes=(32, 64), **FAULT),
    Kind("selector beyond the LDT", 13, source="mov ax, 0x4567\nhere: mov ds, ax",
         error_code=0x4564, modes=(32, 64), **FAULT),
    Kind("privileged instruction", 13, source="here: hlt", error_code=0, modes=(32, 64),
         levels=(1, 3), **FAULT),
    Kind("not canonical", 13, source="mov rcx, 0x1234567812345678\nhere: mov [rcx], al",
         error_code=0, modes=(64,), **FAULT),
    Kind("page fault", 14, source=f"mov ecx, {NO_PAGE + 0x123}\nhere: mov [ecx], al",
         error_code=2, cr2=NO_PAGE + 0x123, modes=(32, 64), levels=(0, 1), **FAULT),
    Kind("page fault at level 3", 14, source=f"mov ecx, {NO_PAGE + 0x123}\nhere: mov al, [ecx]",
         error_code=4, cr2=NO_PAGE + 0x123, modes=(32, 64), levels=(3,), **FAULT),
    Kind("INT n", 0x40, "after", "int 0x40"),
    Kind("INT n at an exception's vector", 13, "after", "int 13"),
    Kind("INT 3 of two bytes", 3, "after", ".byte 0xcd, 3"),
    Kind("INT3", 3, "after", "int3"),
    Kind("INTO", 4, "after", "mov al, 0x7f\nadd al, 1\ninto", modes=(16, 32)),
    Kind("INT1", 1, "after", ".byte 0xf1"),
    Kind("single step", 1, "after", "", flags=TF),
)  # fmt: skip


@dataclass(frozen=True)
class Path:
    """How the handler is reached from the interrupted code."""

    name: str
    bits: int
    cs: int
    ss: int
    sp: int
    #: The gate: type, code segment, IST.
    kind: int
    selector: int = CODE0
    ist: int = 0
    #: What the handler runs with.
    new_cs: int = CODE0
    new_ss: int = DATA0
    #: Where the frame ends, and the width of its elements.
    top: int = KERNEL_STACK
    width: int = 4
    #: Whether SS:RSP are in the frame.
    whole: bool = False

    @property
    def level(self) -> int:
        return self.cs & 3

    @property
    def clears_if(self) -> bool:
        return self.kind in (0x6, 0xE)


def _protected() -> list[Path]:
    found = []
    for kind in (0x6, 0x7, 0xE, 0xF):
        width = 4 if kind & 8 else 2
        same = {"bits": 32, "kind": kind, "width": width}
        user = same | {"cs": CODE3, "ss": DATA3, "sp": USER_STACK}
        inner = user | {"top": INNER_STACK, "whole": True}
        kernel = same | {"cs": CODE0, "ss": DATA0, "sp": KERNEL_STACK}
        found += [
            Path("same level", **kernel),
            Path("same level, 16-bit stack", **kernel | {"ss": DATA16}, new_ss=DATA16),
            Path("same level, 16-bit stack that wraps", **kernel | {"ss": DATA16, "sp": width},
                 new_ss=DATA16, top=0x10000 + width),
            Path("code in the LDT", **kernel, selector=LDT_CODE, new_cs=LDT_CODE),
            Path("inner", **inner),
            Path("from level 1", **inner | {"cs": CODE1, "ss": DATA1}),
            Path("from 3 to 1", **inner, selector=CODE1, new_cs=CODE1, new_ss=DATA1),
            Path("conforming", **user, selector=CONFORMING, new_cs=CONFORMING | 3, new_ss=DATA3,
                 top=USER_STACK),
            Path("conforming at level 0", **kernel, selector=CONFORMING, new_cs=CONFORMING),
            Path("handler at level 3", **user, selector=CODE3, new_cs=CODE3, new_ss=DATA3,
                 top=USER_STACK),
            Path("a gate's RPL does not count", **inner, selector=CODE0 | 3),
        ]  # fmt: skip
    return found


def _long() -> list[Path]:
    found = []
    for kind in (0xE, 0xF):
        same = {"bits": 64, "kind": kind, "width": 8, "whole": True}
        kernel = same | {"cs": CODE0, "ss": DATA0, "sp": KERNEL_STACK}
        user = same | {"cs": CODE3, "ss": DATA3, "sp": USER_STACK}
        inner = user | {"top": INNER_STACK, "new_ss": 0}
        found += [
            Path("same level", **kernel),
            *(
                Path(f"same level, RSP ends in {n:x}", **kernel | {"sp": KERNEL_STACK - 16 + n})
                for n in (1, 7, 8, 15)
            ),
            Path("inner", **inner),
            Path("from level 1", **inner | {"cs": CODE1, "ss": DATA1}),
            Path("from 3 to 1", **inner | {"new_ss": 1}, selector=CODE1, new_cs=CODE1),
            Path("IST, same level", **kernel, ist=1, top=IST_STACK),
            Path("IST 7, inner", **inner | {"top": IST_STACK}, ist=7),
            Path("conforming", **user, selector=CONFORMING, new_cs=CONFORMING | 3, new_ss=DATA3,
                 top=USER_STACK),
            Path("handler at level 3", **user, selector=CODE3, new_cs=CODE3, new_ss=DATA3,
                 top=USER_STACK),
            Path("from compatibility mode", **inner | {"cs": COMPAT3}),
            Path("code in the LDT", **kernel, selector=LDT_CODE, new_cs=LDT_CODE),
        ]  # fmt: skip
    return found


REAL = Path("IVT", 16, 0, 0, KERNEL_STACK, 6, new_cs=0, new_ss=0, width=2)
PATHS = (REAL, *_protected(), *_long())


def expected_frame(path: Path, kind: Kind, rip: int, flags: int, sp: int) -> bytes:
    """The frame from its lowest address up."""
    words = []
    if kind.error_code is not None and path.bits != 16:
        words.append(kind.error_code)
    words += [rip, path.cs, flags | (RF if kind.rf else 0)]
    if path.whole:
        words += [sp, path.ss]
    mask = (1 << 8 * path.width) - 1
    return b"".join((word & mask).to_bytes(path.width, "little") for word in words)


def expected_flags(path: Path, flags: int) -> int:
    """What the handler begins with."""
    flags &= ~(TF | RF)
    if path.bits != 16:
        flags &= ~NT
    return flags & ~IF if path.clears_if else flags


#: Where only the stack is another: a few kinds will do.
FEW = ("external interrupt", "page fault", "divide error", "INT n")
FEW_FOR = ("RSP ends in", "that wraps", "does not count", "code in the LDT")


def _fits(path: Path, kind: Kind) -> bool:
    if path.bits not in kind.modes or path.level not in kind.levels:
        return False
    if any(name in path.name for name in FEW_FOR) and kind.name not in FEW:
        return False
    if path.cs == COMPAT3:  # the body is 32-bit code
        return "rcx" not in kind.source
    return True


CASES = [
    pytest.param(path, kind, id=f"{path.bits} {path.kind:x} {path.name}: {kind.name}")
    for path in PATHS
    for kind in KINDS
    if _fits(path, kind)
]


def guest_for(path: Path, kind: Kind, flags: int) -> Guest:
    gates = {kind.vector: gate(path.bits, handler(kind.vector), path.selector, path.kind,
                               ist=path.ist)}  # fmt: skip
    body = BEFORE + kind.source + AFTER
    if kind.injected:
        body = BEFORE + "here: nop" + AFTER
    if kind.flags & TF:
        body = "nop" + AFTER
    return Guest(
        path.bits, body, flags=flags, cs=path.cs, ss=path.ss, sp=path.sp, gates=gates,
        width=path.width, paging=path.bits == 32, registers={"rcx": 0},
        with_error_code=frozenset() if kind.error_code is None else frozenset({kind.vector}),
    )  # fmt: skip


def provoke(board: Board, kind: Kind) -> None:
    """Bring the guest to its handler's first instruction."""
    if not kind.flags & TF:
        board.until_out(BEFORE_PORT)
    if kind.cr0:
        cr0 = board.cpu.registers.read_special(CONTROL["cr0"])
        board.to_boundary()
        board.cpu.registers.write_special(CONTROL["cr0"], cr0 | kind.cr0)
    if kind.injected:
        board.to_boundary()
        board.cpu.inject(kind.injected)
    board.until_out(HANDLER_PORT)


@pytest.mark.parametrize(("path", "kind"), CASES)
def test_frame_and_registers(path: Path, kind: Kind) -> None:
    flags = 2 | IOPL3 | NT | kind.flags
    guest = guest_for(path, kind, flags)
    with Board(guest) as board:
        board.poke(0x6000, bytes([1, 0, 0, 0, 2, 0, 0, 0]))  # BOUND's bounds: 0 is outside
        board.poke(0x6010, bytes([0x7B, 0x03]))  # x87: no mask for a division by zero
        if path.bits == 16 and kind.name == "x87 error":
            cr0 = board.cpu.registers.read_special(CONTROL["cr0"])
            board.cpu.registers.write_special(CONTROL["cr0"], cr0 | CR0_NE)
        board.cpu.registers.write("rax", 0)
        provoke(board, kind)
        state = board.state
        arithmetic = state["rflags"] & 0xCD5  # the body's own affair; must be the same in both
        flags = flags & ~0xCD5 | arithmetic
        rip = guest.symbols[kind.returns_to]
        frame = expected_frame(path, kind, rip, flags, path.sp)
        top = path.top
        if path.bits == 64:
            top = (path.sp if path.top == KERNEL_STACK else path.top) & ~0xF
        rsp = top - len(frame)
        assert state["rip"] == handler(kind.vector)
        assert state["rsp"] == rsp & (0xFFFF if path.ss == DATA16 or path.bits == 16 else ~0)
        found = board.peek(rsp, len(frame))
        if path.sp == path.width:  # its first element is the segment's first, the others follow
            found = found[: -path.width] + board.peek(0, path.width)
        assert found.hex(" ", path.width) == frame.hex(" ", path.width)
        assert state["rflags"] == expected_flags(path, flags)
        assert board.selector(CS) == path.new_cs
        assert board.selector(SS) == path.new_ss
        assert board.cpl == path.new_cs & 3
        if kind.cr2 is not None:
            assert board.cpu.registers.read_special(CONTROL["cr2"]) == kind.cr2
        go_back(board, path, kind, flags, rsp)


def go_back(board: Board, path: Path, kind: Kind, flags: int, rsp: int) -> None:
    """IRET behind the event (a fault's handler leaves its instruction out)."""
    place = rsp
    if kind.error_code is not None and path.bits != 16:
        place += path.width
    place &= 0xFFFF
    after = board.guest.symbols["after"]
    board.poke(place, after.to_bytes(path.width, "little"))
    if kind.flags & TF:
        image = (flags & ~TF & (1 << 8 * path.width) - 1).to_bytes(path.width, "little")
        board.poke(place + 2 * path.width & 0xFFFF, image)
    board.until_out(AFTER_PORT)
    state = board.state
    assert state["rip"] == after
    assert state["rsp"] == path.sp
    assert (board.selector(CS), board.selector(SS)) == (path.cs, path.ss)
    assert board.cpl == path.level
    assert state["rflags"] & ~RF == flags & ~TF


@pytest.mark.parametrize("kind", [0x6, 0x7])
def test_a_16_bit_gate_has_16_bits_of_offset(kind: int) -> None:
    """What lies above them is reserved."""
    entry = gate(32, handler(3) | 0xABCD_0000, kind=kind)
    with Board(Guest(32, "int3", gates={3: entry}, width=2)) as board:
        board.until_out(HANDLER_PORT)
        assert board.state["rip"] == handler(3)


@pytest.mark.parametrize("bits", [16, 32, 64])
@pytest.mark.parametrize("shadow", ["mov cx, ss\nmov ss, cx", "cli\nsti"])
def test_a_handler_is_in_no_shadow(shadow: str, bits: int) -> None:
    """The shadow was of the instruction that has faulted."""
    gates = {6: gate(bits, handler(6), kind=0xF)}
    with Board(Guest(bits, f"{shadow}\nud2", flags=2 | IOPL3 | IF, gates=gates)) as board:
        board.until_out(HANDLER_PORT)
        assert not board.cpu.state.in_shadow
        assert board.cpu.can_be_interrupted() == (bits != 16)
