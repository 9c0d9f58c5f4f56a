"""Interrupts and exceptions of the toy's KVM against those of Linux's.

The same bytes in memory (code, descriptor tables, TSS, page tables), the same registers, the
same lines raised at the same exits. Compared at every return of KVM_RUN: what for, RIP, RSP,
flags, CS, SS, CR2, and the frame that a handler finds, word by word.

Not every /dev/kvm is a whole processor. One without hardware virtualization emulates what it
can't run; what it can't do is found out by asking it (`Quirk`), and named.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

import linux_kvm
import pytest
from delivery_boards import (
    END_PORT,
    Life,
    Script,
    Story,
    flags_to_compare,
    linux_vm,
    on_linux,
    on_the_toy,
    ram_for,
    toy_vm,
)
from delivery_kit import (
    ABSENT_CODE,
    ABSENT_DATA,
    CODE3,
    DATA3,
    IF,
    IOPL3,
    NO_PAGE,
    NT,
    TF,
    TSS,
    Guest,
    gate,
    handler,
)
from linux_irqchip import why_no_irqchip

if why_not := why_no_irqchip():
    pytest.skip(f"needs Linux's KVM: {why_not}", allow_module_level=True)

#: A handler of a hardware interrupt tells the controllers that it is done.
EOI = bytes([0xB0, 0x20, 0xE6, 0x20])
EOIS = dict.fromkeys(range(32, 40), EOI)
PICS = "\n".join(
    f"mov al, {value}\nout {port}, al"
    for port, value in (
        (0x20, 0x11), (0x21, 0x20), (0x21, 4), (0x21, 1), (0x21, 0),
        (0xA0, 0x11), (0xA1, 0x28), (0xA1, 2), (0xA1, 1), (0xA1, 0),
    )
)  # fmt: skip


@dataclass
class Where:
    """A mode and a level for a guest to run in."""

    name: str
    bits: int
    options: dict[str, object] = field(default_factory=dict)

    @property
    def is_user(self) -> bool:
        return "cs" in self.options


REAL = Where("real mode", 16)
PROTECTED = Where("protected mode", 32, {"direct": True})
PROTECTED_USER = Where("protected mode, level 3", 32, {"cs": CODE3, "ss": DATA3})
LONG = Where("long mode", 64)
LONG_USER = Where("long mode, level 3", 64, {"cs": CODE3, "ss": DATA3})
EVERYWHERE = (REAL, PROTECTED, PROTECTED_USER, LONG, LONG_USER)
LEVEL_0 = (REAL, PROTECTED, LONG)
NOT_REAL = (PROTECTED, PROTECTED_USER, LONG, LONG_USER)
IN_LONG_MODE = (LONG, LONG_USER)


@dataclass
class Case:
    """What the guest does, and what is raised at which of its exits."""

    name: str
    where: Where
    body: str
    script: Script = field(default_factory=dict)
    flags: int = 0
    registers: dict[str, int] = field(default_factory=dict)
    gates: dict[int, dict[str, int]] = field(default_factory=dict)
    with_error_code: frozenset[int] | None = None
    pokes: tuple[tuple[int, bytes], ...] = ()
    device: bool = False
    #: It needs an exit as soon as the guest turns interrupts on.
    needs_window: bool = False
    #: It asks for INT n.
    needs_int: bool = False
    #: It asks for two NMIs in a row.
    needs_two_nmis: bool = False
    #: A gate or a stack is not as it should be.
    needs_checks: bool = False
    #: Stops that Linux must come to; else there is nothing to compare.
    at_least: int = 1

    @property
    def id(self) -> str:
        return f"{self.where.name}: {self.name}"

    def guest(self) -> Guest:
        bits = self.where.bits
        gates = {v: gate(bits, handler(v), **how) for v, how in self.gates.items()}
        errors = {} if self.with_error_code is None else {"with_error_code": self.with_error_code}
        return Guest(
            bits, f"{self.body}\nout {END_PORT}, al", flags=2 | IOPL3 | self.flags, setup=PICS,
            gates=gates, epilogues=EOIS, registers=dict(self.registers), **errors,
            **self.where.options,
        )  # fmt: skip


def faults() -> list[Case]:
    found = []
    for where in EVERYWHERE:
        for name, body in (
            ("divide error", "xor cx, cx\ndiv cl"),
            ("divide overflow", "mov ax, 0x1000\nmov cl, 1\ndiv cl"),
            ("invalid opcode", "ud2"),
            ("a division after flags", "stc\nmov cl, 0\nmov ax, 7\ndiv cl"),
        ):
            found.append(Case(name, where, body))
    for where in NOT_REAL:
        for name, body in (
            ("selector beyond the GDT", "mov ax, 0x1233\nmov ds, ax"),
            ("selector beyond the LDT", "mov ax, 0x4567\nmov ds, ax"),
            ("code in DS", "mov ax, 0x18\nmov ds, ax"),
        ):
            found.append(Case(name, where, body))
        if not where.is_user:
            found.append(Case("absent data", where, f"mov ax, {ABSENT_DATA}\nmov ds, ax"))
            found.append(Case("absent stack", where, f"mov ax, {ABSENT_DATA}\nmov ss, ax"))
        else:
            found.append(Case("privileged instruction", where, "hlt"))
            found.append(Case("privileged register", where, "mov cr2, rax" if where is LONG_USER
                              else "mov cr2, eax"))  # fmt: skip
    for where in IN_LONG_MODE:
        at = NO_PAGE + 0x123
        for name, body in (
            ("page fault, load", f"mov al, [{at}]"),
            ("page fault, store", f"mov [{at}], al"),
            ("page fault, fetch", f"mov ecx, {at}\njmp rcx"),
            ("page fault, call", f"mov ecx, {at}\ncall rcx"),
            ("page fault, push", f"mov rsp, {NO_PAGE + 0x800}\npush rax"),
            ("page fault, across the page's end", f"mov eax, [{NO_PAGE - 2}]"),
            ("not canonical", "mov rcx, 0x1234567812345678\nmov al, [rcx]"),
        ):
            gates = {14: {"ist": 1}} if "push" in body or "call" in body else {}
            found.append(Case(name, where, body, gates=gates))
    return found


def traps() -> list[Case]:
    found = []
    for where in EVERYWHERE:
        found += [
            Case("INT3", where, "int3\nnop"),
            Case("INT1", where, ".byte 0xf1\nnop"),
            Case("INT n", where, "int 0x40\nnop", needs_int=True),
            Case("INT n twice", where, "int 0x40\nint 0x41\nnop", needs_int=True),
            Case("INT n at an exception's vector", where, "int 13\nnop", needs_int=True,
                 with_error_code=frozenset()),
            Case("INT n with IF", where, "int 0x40\nnop", needs_int=True, flags=IF),
            Case("INT n through a trap gate", where, "int 0x40\nnop", needs_int=True, flags=IF,
                 gates={} if where is REAL else {0x40: {"kind": 0xF}}),
            Case("single steps", where, "nop\nnop\nmov cl, 3\nnop", flags=TF),
        ]  # fmt: skip
        if where.bits != 64:
            found.append(Case("INTO", where, "mov al, 0x7f\nadd al, 1\ninto\nnop", needs_int=True))
            found.append(Case("INTO without overflow", where, "xor al, al\ninto\nnop"))
    return found


def failed_deliveries() -> list[Case]:
    """A page fault at level 3, through a gate that has something wrong."""
    found = []
    for where in IN_LONG_MODE:
        body = f"mov al, [{NO_PAGE}]"
        ist = {"ist": 1}
        found += [
            Case("gate not present", where, "ud2", gates={6: {"p": 0}}),
            Case("gate of a bad type", where, "ud2", gates={6: {"kind": 2}}),
            Case("null code segment", where, "ud2", gates={6: {"selector": 0}}),
            Case("code segment beyond the GDT", where, "ud2", gates={6: {"selector": 0xF0}}),
            Case("code segment is data", where, "ud2", gates={6: {"selector": 0x10}}),
            Case("absent code segment", where, "ud2", gates={6: {"selector": ABSENT_CODE}}),
            Case("page fault, then #NP", where, body, gates={14: {"p": 0}, 8: ist}),
            Case("page fault, then page fault", where, body, gates={14: {"ist": 2}, 8: ist},
                 pokes=((TSS + 0x24 + 8, (NO_PAGE + 0x1000).to_bytes(8, "little")),)),
            Case("divide error, then #NP", where, "xor ecx, ecx\ndiv cl",
                 gates={0: {"p": 0}, 8: ist}),
            Case("divide error, then page fault", where, "xor ecx, ecx\ndiv cl",
                 gates={0: {"ist": 2}, 14: ist},
                 pokes=((TSS + 0x24 + 8, (NO_PAGE + 0x1000).to_bytes(8, "little")),)),
            Case("triple fault", where, "ud2", gates={6: {"p": 0}, 11: {"p": 0}, 8: {"p": 0}}),
        ]  # fmt: skip
    for case in found:
        case.needs_checks = True
    return found


def interrupts() -> list[Case]:
    found = []
    rep = {"rcx": 3, "rdx": 0x10, "rsi": 0x6000}
    for where in EVERYWHERE:
        found += [
            Case("behind an OUT", where, "out 0x10, al\nnop", {0: [1]}, flags=IF, at_least=2),
            Case("behind an IN", where, "in al, 0x10\nnop", {0: [1]}, flags=IF, at_least=2),
            Case("of the second controller", where, "out 0x10, al\nnop", {0: [9]}, flags=IF,
                 at_least=2),
            Case("NMI", where, "out 0x10, al\nnop", {0: ["nmi"]}, at_least=2),
            Case("NMI with interrupts on", where, "out 0x10, al\nnop", {0: ["nmi"]}, flags=IF,
                 at_least=2),
            Case("NMI before an interrupt", where, "out 0x10, al\nnop", {0: [1, "nmi"]}, flags=IF,
                 at_least=2, needs_window=True),
            Case("NMIs", where, "out 0x10, al\nnop", {0: ["nmi"] * 3}, needs_two_nmis=True,
                 at_least=2),
            Case("two", where, "out 0x10, al\nnop", {0: [3, 1]}, flags=IF, at_least=2,
                 needs_window=True),
            Case("while its handler runs", where, "out 0x10, al\nnop", {0: [1], 1: [1]}, flags=IF,
                 needs_window=True, at_least=2),
            Case("a more urgent one while a handler runs", where, "out 0x10, al\nnop",
                 {0: [3], 1: [1]}, flags=IF, needs_window=True, at_least=2),
            Case("masked by IF", where, "out 0x10, al\nnop", {0: [1]}),
            Case("between rounds of REP OUTS", where, "rep outsb\nnop", {0: [1]}, flags=IF,
                 registers=rep, at_least=2),
            Case("flags", where, "stc\nstd\nout 0x10, al\nnop", {0: [1]}, flags=IF, at_least=2),
        ]  # fmt: skip
    for where in LEVEL_0:
        found += [
            Case("STI", where, "out 0x10, al\nsti\nnop\nnop", {0: [1]}, needs_window=True),
            Case("STI CLI", where, "out 0x10, al\nsti\ncli\nnop", {0: [1]}),
            Case("POPF", where, f"push {2 | IF}\nout 0x10, al\npopf\nnop\nnop", {0: [1]},
                 needs_window=True),
            Case("STI HLT", where, "out 0x10, al\nsti\nhlt\nnop", {0: [1]}, at_least=2),
            Case("MOV SS", where, "mov cx, ss\nout 0x10, al\nsti\nmov ss, cx\nnop\nnop", {0: [1]},
                 needs_window=True),
        ]  # fmt: skip
    for where in IN_LONG_MODE:
        edi = {"rdi": NO_PAGE}
        for name, code in (
            ("a store", "mov [rdi], eax"), ("a load", "mov eax, [rdi]"),
            ("a load and a store", "add [rdi], eax"), ("an exchange", "xchg [rdi], eax"),
            ("a push", "push qword ptr [rdi]"), ("MOVS", "mov esi, 0x6000\nmovsd"),
        ):  # fmt: skip
            found.append(
                Case(f"behind {name} at a device", where, f"{code}\nnop\nnop", {0: [1]}, flags=IF,
                     registers=edi, device=True, at_least=2)
            )  # fmt: skip
        found.append(
            Case("between rounds of REP STOS", where, "rep stosd\nnop", {0: [1]}, flags=IF,
                 registers=edi | {"rcx": 3}, device=True, at_least=2)
        )  # fmt: skip
    return found


CASES = [*faults(), *traps(), *failed_deliveries(), *interrupts()]


# What this machine's KVM can't do -------------------------------------------------------------


@cache
def _linux(case_id: str) -> Story:
    case = next(case for case in (*CASES, *PROBES) if case.id == case_id)
    guest = case.guest()
    return on_linux(guest, case.script, ram_for(guest, device=case.device, pokes=case.pokes))


def _toy(case: Case) -> Story:
    guest = case.guest()
    return on_the_toy(guest, case.script, ram_for(guest, device=case.device, pokes=case.pokes))


PROBES = tuple(
    probe
    for where in EVERYWHERE
    for probe in (
        Case("probe: flags", where, "out 0x10, al"),
        Case("probe: INT n", where, "int 0x40"),
        Case("probe: window", where, "out 0x10, al\nnop", {0: [3, 1]}, flags=IF),
        Case("probe: NMIs", where, "out 0x10, al\nnop", {0: ["nmi"] * 2}),
    )
) + tuple(Case("probe: bad gate", where, "ud2", gates={6: {"kind": 2}}) for where in IN_LONG_MODE)


def _probe(name: str, where: Where) -> Story:
    return _linux(f"{where.name}: probe: {name}")


def _vectors(story: Story) -> list[int]:
    return [stop.vector for stop in story if stop.vector is not None]


@dataclass
class Quirk:
    """Something a processor does and this machine's KVM does not."""

    what: str
    concerns: Callable[[Case], bool]
    is_there: Callable[[Where], bool]


QUIRKS = (
    Quirk(
        "it does not leave as soon as the guest turns interrupts on (it emulates this mode, and "
        "looks for interrupts at exits only)",
        lambda case: case.needs_window,
        lambda where: len(_vectors(_probe("window", where))) < 2,
    ),
    Quirk(
        "INT n at this level is no INT n",
        lambda case: case.needs_int,
        lambda where: _vectors(_probe("INT n", where))[:1] != [0x40],
    ),
    Quirk(
        "a second NMI is lost in this mode",
        lambda case: case.needs_two_nmis,
        lambda where: _vectors(_probe("NMIs", where)) != [2, 2],
    ),
    Quirk(
        "it delivers through gates that a processor refuses",
        lambda case: case.needs_checks,
        lambda where: _vectors(_probe("bad gate", where))[:1] == [6],
    ),
)


def has_no_iopl(where: Where) -> bool:
    """Whether it hides IOPL: then that is left out of the comparison."""
    return not _probe("flags", where)[0].rflags & IOPL3


def quirk_for(case: Case) -> str | None:
    return next((q.what for q in QUIRKS if q.concerns(case) and q.is_there(case.where)), None)


#: Where the toy is not as Linux's KVM is: a case's id and why. What is named must differ.
KNOWN_DIFFERENCES: dict[str, str] = {}


def differences(case: Case, toy: Story, linux: Story) -> list[str]:
    """What differs, up to where Linux's KVM gives up."""
    flags = flags_to_compare(iopl=not has_no_iopl(case.where))
    mine, theirs = ([stop.seen(flags) for stop in story] for story in (toy, linux))
    if linux[-1].what[0] == "internal_error" and toy[-1].what != linux[-1].what:
        theirs.pop()
        mine = mine[: len(theirs)]
    return [
        f"stop {n}:\n  toy   {a}\n  Linux {b}"
        for n, (a, b) in enumerate(zip(mine, theirs, strict=False))
        if a != b
    ] + ([f"{len(mine)} and {len(theirs)} stops"] if len(mine) != len(theirs) else [])


def why_not_comparable(case: Case) -> str | None:
    if quirk := quirk_for(case):
        return quirk
    linux = _linux(case.id)
    gave_up = linux[-1].what[0] in ("internal_error", "time is up")
    if gave_up and len(linux) - 1 < case.at_least:
        return f"KVM_RUN ends with {linux[-1].what} at RIP {linux[-1].rip:#x}"
    return None


@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
def test_the_toy_delivers_as_linux_does(case: Case) -> None:
    if why := why_not_comparable(case):
        pytest.skip(f"this machine's KVM can't: {why}")
    found = differences(case, _toy(case), _linux(case.id))
    if why := KNOWN_DIFFERENCES.get(case.id):
        assert found, f"no longer different, to be struck out of KNOWN_DIFFERENCES: {why}"
        pytest.xfail(why)
    assert not found, "\n".join(found)


def test_enough_was_really_compared() -> None:
    """What this machine's KVM can't do is counted; long mode and interrupts it must do."""
    compared = [case for case in CASES if why_not_comparable(case) is None]
    assert len(compared) > 0.5 * len(CASES), f"{len(compared)} of {len(CASES)}"
    assert sum(case.where in IN_LONG_MODE for case in compared) > 60
    assert sum(bool(case.script) for case in compared) > 40
    assert sum(len(case.script) and case.where is REAL for case in compared) >= 8


def test_every_known_difference_names_a_case() -> None:
    assert set(KNOWN_DIFFERENCES) <= {case.id for case in CASES}


def test_a_difference_would_be_seen() -> None:
    """The comparison itself: something else on one side, and it shows."""
    plain = next(case for case in CASES if case.id == "long mode: behind an OUT")
    linux = _linux(plain.id)
    assert differences(plain, _toy(plain), linux) == []
    for change in (
        {"body": "out 0x10, al\nstc\nnop"},
        {"body": "nop\nout 0x10, al\nnop"},
        {"script": {0: [3]}},
        {"script": {}},
        {"script": {0: ["nmi"]}},
        {"flags": IF | NT},
        {"where": LONG_USER},
    ):
        fields = {"name": "another", "where": LONG, "body": plain.body, "script": plain.script}
        other = Case(**(fields | {"flags": IF} | change))
        assert differences(plain, _toy(other), linux), change


# Asleep ----------------------------------------------------------------------------------------


def sleeper(where: Where, body: str) -> tuple[Case, Life, Life]:
    case = Case(body, where, f"out 0x10, al\n{body}\nnop")
    guest = case.guest()
    toy, linux = (Life(guest, ram_for(guest, device=False, pokes=())) for _ in range(2))
    return case, toy, linux


def pulse(vm: object, line: int) -> None:
    vm.irq_line(line, 1)
    vm.irq_line(line, 0)


@pytest.mark.parametrize("where", LEVEL_0, ids=lambda where: where.name)
@pytest.mark.parametrize("line", [1, 12])
def test_an_interrupt_wakes_a_guest_that_sleeps_in_the_kernel(line: int, where: Where) -> None:
    """HLT does not come out: Linux's thread sleeps, the toy's returns as if by a signal."""
    case, toy, linux = sleeper(where, "sti\nhlt")
    with linux_vm(linux.guest, linux.ram) as vm:
        linux.step(vm)
        timer = threading.Timer(0.02, pulse, [vm, line])
        timer.start()
        started = time.monotonic()
        linux.step(vm)
        assert time.monotonic() - started > 0.01, "it did not sleep"
        timer.join()
        linux.live(vm, {})
    with toy_vm(toy.guest, toy.ram) as vcpu:
        toy.step(vcpu)
        vcpu.run()
        assert vcpu.asleep
        pulse(vcpu, line)
        toy.live(vcpu, {})
    assert differences(case, toy.story, linux.story) == []
    assert _vectors(toy.story) == [0x20 + line]


@pytest.mark.parametrize("where", LEVEL_0, ids=lambda where: where.name)
def test_an_nmi_wakes_a_guest_that_sleeps_with_interrupts_off(where: Where) -> None:
    """KVM_NMI waits for the vCPU's thread, so a signal brings that out first."""
    case, toy, linux = sleeper(where, "hlt")
    with linux_vm(linux.guest, linux.ram) as vm:
        linux.step(vm)
        with linux_kvm.TimeLimit(vm, 0.02), pytest.raises(linux_kvm.TimeIsUpError):
            vm.run()
        vm.linux_vcpu.resume()
        vm.nmi()
        with linux_kvm.TimeLimit(vm, 1):
            linux.live(vm, {})
    with toy_vm(toy.guest, toy.ram) as vcpu:
        toy.step(vcpu)
        vcpu.run()
        assert vcpu.asleep
        vcpu.nmi()
        toy.live(vcpu, {})
    assert differences(case, toy.story, linux.story) == []
    assert _vectors(toy.story) == [2]
