"""Random short programs on the toy KVM and on Linux's: everything that can be seen agrees.

What single cases (test_against_linux.py) can't show: an instruction on a device among
ordinary ones, with the flags they leave, in loops, behind jumps, on whatever registers.

Flags that the manual leaves undefined must not reach a result. `Program` follows them along
all paths: where one would be read, an instruction is put in that defines it, and at an exit
it is not compared.

What is left out, for the toy is known to differ there (KNOWN_DIFFERENCES in
test_against_linux.py): LOCK NEG, RCL and RCR on a device, CMPXCHG8B, LOOPE and LOOPNE, REP
INS to a device, CMPS of two devices, 16 bytes across a page's end, unaligned MOVAPS. SETcc to a
device shows wrong flags at its exit, and in real mode a fault ends the run, where Linux goes on
at 0000:0000.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache, cached_property

import linux_kvm
import pytest
from both_kvms import (
    AF,
    CF,
    DEVICE,
    DEVICE_END,
    DF,
    OF,
    OPERAND,
    PF,
    RAM_OPERAND,
    SECOND_PAGE,
    SEGMENT,
    SF,
    ZF,
    Case,
    Run,
    assembly,
    before,
    case,
    differences,
    on_linux,
    on_the_toy,
    on_the_toy_with_stores_done,
    unsupported,
)
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

if why_not := linux_kvm.why_not():
    pytest.skip(f"needs Linux's KVM: {why_not}", allow_module_level=True)

STACK = 0x8800  # half a page below the page tables: a few POPs more than PUSHes do no harm

# Flags ----------------------------------------------------------------------------------

ALL = CF | PF | AF | ZF | SF | OF
DEFINER = "cmp al, 3"
CONDITIONS = {
    "o": OF, "no": OF, "b": CF, "ae": CF, "e": ZF, "ne": ZF, "be": CF | ZF, "a": CF | ZF,
    "s": SF, "ns": SF, "p": PF, "np": PF, "l": SF | OF, "ge": SF | OF,
    "le": ZF | SF | OF, "g": ZF | SF | OF,
}  # fmt: skip
#: Mnemonics: flags that are read, defined, left undefined (Intel SDM vol. 2).
EFFECTS = {
    r"add|sub|cmp|neg|xadd|cmpxchg|scas.|cmps.": (0, ALL, 0),
    r"adc|sbb": (CF, ALL, 0),
    r"and|or|xor|test": (0, ALL, AF),
    r"inc|dec": (0, ALL & ~CF, 0),
    r"shl|shr|sar|shld|shrd": (0, ALL, AF | OF),
    r"rol|ror": (0, CF | OF, OF),
    r"rcl|rcr": (CF, CF | OF, OF),
    r"i?mul": (0, ALL, SF | ZF | AF | PF),
    r"i?div": (0, ALL, ALL),
    r"bt[src]?": (0, ALL & ~ZF, OF | SF | AF | PF),
    r"bsf|bsr": (0, ALL, ALL & ~ZF),
    r"das": (AF | CF, ALL, OF),
    r"stc|clc": (0, CF, 0),
    r"cmc": (CF, CF, 0),
    r"lahf": (ALL & ~OF, 0, 0),
    r"sahf": (0, ALL & ~OF, 0),
    r"pushf[dq]?": (ALL, 0, 0),
    r"popf[dq]?": (0, ALL, 0),
    r"loope|loopne": (ZF, 0, 0),
    **{f"(j|cmov|set){name}": (flags, 0, 0) for name, flags in CONDITIONS.items()},
}
#: Mnemonics whose count decides about OF.
BY_ONE = re.compile(r"(sh|sa|ro|rc)[lr]|sh[lr]d")


def effects(line: str) -> tuple[int, int, int]:
    """Flags that the instruction reads, that it defines, that it leaves undefined."""
    mnemonic, operands = re.fullmatch(r"(?:lock |repn?e? )?(\w+) ?(.*)", line).groups()
    found = [what for names, what in EFFECTS.items() if re.fullmatch(names, mnemonic)]
    reads, written, undefined = found[0] if found else (0, 0, 0)
    if BY_ONE.fullmatch(mnemonic):
        count = operands.rpartition(", ")[2]
        if count == "1":
            undefined &= ~OF
        elif count == "0":
            written = undefined = 0
        elif count == "cl":
            if mnemonic in ("shl", "shr"):
                undefined |= CF  # a count beyond the operand's width
            return reads, 0, undefined  # it may be 0
    if line.startswith("rep"):
        written = 0
    return reads, written & ~undefined, undefined


def undefined_before(lines: list[str]) -> list[int]:
    """The flags that may be undefined before each line, and behind the last."""
    label = {line[:-1]: i for i, line in enumerate(lines) if line.endswith(":")}
    found = [0] * (len(lines) + 1)
    while True:
        last = list(found)
        for i, line in enumerate(lines):
            flags = undefined_behind(line, found[i])
            for successor in successors(lines, i, label):
                found[successor] |= flags
        if found == last:
            return found


def undefined_behind(line: str, undefined: int) -> int:
    if line.endswith(":"):
        return undefined
    _, defined, left_undefined = effects(line)
    return undefined & ~defined | left_undefined


def successors(lines: list[str], i: int, label: dict[str, int]) -> list[int]:
    mnemonic, _, operand = lines[i].partition(" ")
    if mnemonic == "ret":  # a procedure lies behind the jump over it, that behind its call
        return [label[lines[i - 1].rstrip(":").replace("end", "over")]]
    if mnemonic in ("jmp", "call"):
        return [label[operand]]
    if mnemonic[0] == "j" or mnemonic.startswith("loop"):
        return [label[operand], i + 1]
    return [i + 1]


def defined_where_read(lines: list[str]) -> list[str]:
    """The lines, with flags defined where an undefined one would be read."""
    lines = list(lines)
    while True:
        undefined = undefined_before(lines)
        for i, line in enumerate(lines):
            if not line.endswith(":") and effects(line)[0] & undefined[i]:
                lines.insert(i, DEFINER)
                break
        else:
            return lines


# Programs -------------------------------------------------------------------------------


@dataclass(frozen=True)
class If:
    """A jump over some instructions."""

    jump: str
    body: tuple[str, ...]

    def render(self, n: int) -> list[str]:
        return [f"{self.jump} skip{n}", *flat(self.body), f"skip{n}:"]


@dataclass(frozen=True)
class Loop:
    """Some instructions a few times; they leave the counter alone."""

    counter: str
    times: int
    again: str
    body: tuple[str, ...]

    def render(self, n: int) -> list[str]:
        again = flat([f"{self.again} again{n}"])
        return [f"mov {self.counter}, {self.times}", f"again{n}:", *flat(self.body), *again]


@dataclass(frozen=True)
class Call:
    """A procedure and its call."""

    body: tuple[str, ...]

    def render(self, n: int) -> list[str]:
        return [
            f"call proc{n}", f"over{n}:", f"jmp out{n}", f"proc{n}:", *flat(self.body),
            f"end{n}:", "ret", f"out{n}:",
        ]  # fmt: skip


def flat(texts: Iterable[str]) -> list[str]:
    return [line for text in texts for line in text.split("\n")]


def render(parts: Iterable[str | If | Loop | Call]) -> str:
    lines: list[str] = []
    for n, part in enumerate(parts):
        lines += flat([part]) if isinstance(part, str) else part.render(n)
    return "\n".join(defined_where_read(lines))


END = -1  # in the place of an address: where the program's own source has ended


@dataclass(frozen=True)
class Program(Case):
    """A case that knows which flags are undefined where."""

    @cached_property
    def _undefined(self) -> dict[int, tuple[int, int]]:
        """By address: the undefined flags before the instruction, and when it is done."""
        lines = self.source.split("\n")
        first = before(self).count("\n") + 1
        undefined = undefined_before(lines)
        at = {END: (undefined[-1], undefined[-1])}
        for each in assembly(self).listing.lines:
            i = each.location.line - first
            if each.data and 0 <= i < len(lines):
                at[each.address] = undefined[i], undefined_behind(lines[i], undefined[i])
        return at

    def undefined_at(self, rip: int) -> int:
        return self._undefined.get(rip, self._undefined[END])[0]

    def undefined_behind(self, rip: int) -> int:
        return self._undefined.get(rip, self._undefined[END])[1]


# Instructions ---------------------------------------------------------------------------

WIDTH = {1: "byte", 2: "word", 4: "dword", 8: "qword"}
NUMBERED = tuple(f"r{n}" for n in range(8, 16))
REGISTERS = {
    name: {1: f"{name}l", 2: f"{name}x", 4: f"e{name}x", 8: f"r{name}x"} for name in "abcd"
}
REGISTERS |= {
    name: {1: f"{name}l", 2: name, 4: f"e{name}", 8: f"r{name}"} for name in ("si", "di", "bp")
}
REGISTERS |= {name: {1: f"{name}b", 2: f"{name}w", 4: f"{name}d", 8: name} for name in NUMBERED}
NUMBERS = (0, 1, 2, 0x7F, -1, -0x80, 0x1234, 0x7FFF, 0x7FFFFFFF, -0x80000000)

#: {r}: a register. {m}: memory. {ram}: RAM. {e}: a register or memory. {n}: a number. {o}:
#: one of these. {s}: a count. All are of the instruction's width, or as wide as they say.
#: {b}, {d}: RBX and RDX at its width. {x}: 16 bytes.
ANY_WIDTH = (
    *(
        f"{name} {operands}"
        for name in ("mov", "add", "sub", "adc", "sbb", "and", "or", "xor", "cmp")
        for operands in ("{r}, {o}", "{m}, {r}", "{m}, {n}")
    ),
    "test {e}, {r}", "test {e}, {n}", "inc {e}", "dec {e}", "neg {e}", "not {e}",
    "xchg {m}, {r}", "xchg {b}, {d}", "xadd {e}, {r}", "cmpxchg {e}, {r}", "mul {e}", "imul {e}",
    *(f"{name} {{e}}, {count}" for name in ("shl", "shr", "sar", "rol", "ror")
      for count in ("1", "{s}", "cl")),
    *(f"{name} {{r}}, {count}" for name in ("rcl", "rcr") for count in ("1", "{s}", "cl")),
    "rcl {ram}, {s}", "rcr {ram}, cl",
    *(f"lock {name} {{m}}, {{r}}" for name in ("add", "sub", "adc", "sbb", "and", "or", "xor")),
    "lock inc {m}", "lock dec {m}", "lock not {m}", "lock xadd {m}, {r}",
    "lock cmpxchg {m}, {r}",
)  # fmt: skip
WIDE = (
    "bt {e}, {s}", "bts {e}, {s}", "btr {e}, {s}", "btc {e}, {s}", "lock bts {m}, {s}",
    *(f"mov {{d}}, {bit}\n{name} {{m}}, {{d}}" for bit in (37, -5)
      for name in ("bt", "bts", "btr", "lock btc")),
    "bt {r}, {r}", "btc {r}, {r}", "bsf {r}, {e}", "bsr {r}, {e}", "imul {r}, {e}",
    "imul {r}, {e}, 0x55", "shld {e}, {r}, {s}", "shrd {e}, {r}, {s}", "lea {r}, {address}",
    *(f"cmov{name} {{r}}, {{e}}" for name in CONDITIONS),
    "movzx {r}, {e1}", "movsx {r}, {e1}",
    "mov {d}, 0\nor {b}, 1\ndiv {b}", "mov {d}, 0\nor {b}, 4\nshr {b}, 1\nidiv {b}",
)  # fmt: skip
STACK_USERS = ("push {r}", "pop {r}", "push {m}", "pop {m}", "push {r}\npop {m}", "push 5", "pushf")
OTHERS = (
    "stc", "clc", "cmc", "std", "cld", "lahf", "sahf", "cbw", "cwde", "cwd", "cdq", "nop",
    "movzx {r4}, {e2}", "movsx {r4}, {e2}", "bswap {r4}", "mov {r2}, ds", "enter 16, 0\nleave",
    "mov ah, 0\nor bl, 1\ndiv bl", "and ax, 0x1fff\nmov bl, 0x71\nidiv bl",
    *(f"set{name} {{r1}}" for name in CONDITIONS), "setb {ram1}", "setle {ram1}",
)  # fmt: skip
PORTS = (
    "in al, 0x60", "in ax, 0x60", "in eax, 0x60", "out 0x70, al", "out 0x70, ax",
    "out 0x70, eax", "mov dx, 0x3f8\nin al, dx", "mov dx, 0x3f9\nin ax, dx",
    "mov dx, 0x3fa\nin eax, dx", "mov dx, 0x3fb\nout dx, al", "mov dx, 0x3fc\nout dx, ax",
    "mov dx, 0x3fd\nout dx, eax",
)  # fmt: skip
NO_PAGE = 0x1234_5678_9000
#: DF, and the flags of arithmetic.
POPPED = DF | ALL
OF_16_AND_32 = ("das",)  # Linux's KVM has no DAA, AAA, AAS; AAM, AAD set SF, ZF by AX there
OF_32_AND_64 = ("div {e}", "idiv {e}", "ud2")  # in real mode a fault would not be the end
OF_16 = ("pushf", f"pushf\nand word ptr [esp], {POPPED:#x}\npopf", "pusha", "pusha\npopa")
OF_32 = (
    "pushfd", f"pushfd\nand dword ptr [esp], {POPPED:#x}\npopfd", "pushad", "pushad\npopad",
)  # fmt: skip
OF_64 = (
    "pushfq", f"pushfq\nand qword ptr [rsp], {POPPED:#x}\npopfq", "cdqe", "cqo", "bswap {r8}",
    "movsxd {r8}, {e4}", "movzx {r8}, {e2}", "movsx {r8}, {e2}",
    *(f"mov rdi, {NO_PAGE:#x}\n{text}" for text in (
        "add [rdi], rax", "mov al, [rdi]", "push qword ptr [rdi]", "pop qword ptr [rdi]",
        f"mov rsi, {OPERAND:#x}\nmovsb",
    )),  # not INS, which reads the port before on Linux, not on the toy
)  # fmt: skip
OF_64 += ("movnti dword ptr {address}, ebx", "movnti qword ptr {address}, rbx")
#: Not MOVAPS, whose alignment the toy does not check.
SSE = tuple(
    text for name in ("movups", "movupd", "movdqu")
    for text in (f"{name} xmm0, {{x}}", f"{name} xmm1, {{x}}", f"{name} {{x}}, xmm0")
)  # fmt: skip
OWN = {16: OF_16_AND_32 + OF_16, 32: OF_16_AND_32 + OF_32 + OF_32_AND_64, 64: OF_64 + OF_32_AND_64}
JUMPS = ("jmp", *(f"j{name}" for name in CONDITIONS))
STACK_POINTER = {16: "sp", 32: "esp", 64: "rsp"}
AT_ZERO = {16: "jcxz", 32: "jecxz", 64: "jrcxz"}


@dataclass(frozen=True)
class Writer:
    """Writes instructions for code of some width, with some of the registers."""

    bits: int
    registers: tuple[str, ...]
    has_stack: bool = True

    @property
    def widths(self) -> tuple[int, ...]:
        return (4, 1, 2, 8) if self.bits == 64 else (4, 1, 2)

    @property
    def segment(self) -> int:
        return SEGMENT if self.bits == 16 else 0

    def name(self, register: str) -> str:
        """A whole register."""
        return REGISTERS[register][self.bits // 8]

    def bytes_of(self, *, high: bool) -> list[str]:
        """Registers of one byte. The high ones (AH) can't be had together with new ones."""
        known = REGISTERS if self.bits == 64 and not high else "abcd"
        found = [REGISTERS[name][1] for name in self.registers if name in known]
        return found + [f"{name}h" for name in self.registers if high and name in "abcd"]


def writer(bits: int, but: str = "", *, has_stack: bool = True) -> Writer:
    names = (*"abcd", "si", "di", "bp", *(NUMBERED if bits == 64 else ()))
    return Writer(bits, tuple(name for name in names if name != but), has_stack)


@st.composite
def places(draw, *, inside: bool = False) -> int:
    """Where an operand lies: in RAM, on a device, or (if not `inside`) across a border."""
    kinds = ("RAM", "device") + (() if inside else ("device", "pages", "into", "out of"))
    kind = draw(st.sampled_from(kinds))
    if kind in ("RAM", "device"):
        return (RAM_OPERAND if kind == "RAM" else OPERAND) + draw(st.integers(0, 40))
    edge = {"pages": SECOND_PAGE, "into": DEVICE, "out of": DEVICE_END}[kind]
    return edge - draw(st.integers(1, 8))


@st.composite
def addresses(draw, by: Writer, size: int, *, ram: bool = False) -> tuple[str, str]:
    """An operand in memory: what must be done first, and its text."""
    at = RAM_OPERAND + draw(st.integers(0, 40)) if ram else draw(places())
    at -= by.segment
    form = draw(st.sampled_from(("direct", "base", "base and index")))
    if form == "direct":
        return "", f"[{at:#x}]"
    names = ("b", "si", "di") + (() if by.bits == 16 else ("bp",))
    if by.bits == 64 and size > 1:
        names += ("r8", "r12", "r13")
    base = draw(st.sampled_from([name for name in names if name in by.registers]))
    width = draw(st.sampled_from((2, 4))) if by.bits == 16 else by.bits // 8
    displacement = draw(st.sampled_from((0, 4, 0x200)))
    before, text = "", REGISTERS[base][width]
    if form == "base and index" and width > 2 and "c" in by.registers:
        index, scale = draw(st.integers(0, 3)), draw(st.sampled_from((1, 2, 4, 8)))
        before = f"mov {REGISTERS['c'][width]}, {index}\n"
        text += f" + {REGISTERS['c'][width]} * {scale}"
        displacement -= index * scale
    before += f"mov {REGISTERS[base][width]}, {at - displacement:#x}\n"
    return before, f"[{text} {'-' if displacement < 0 else '+'} {abs(displacement)}]"


@st.composite
def filled(draw, by: Writer, template: str, size: int) -> str:
    """A template with operands."""
    first = []
    high = draw(st.booleans())

    def fill(hole: re.Match[str]) -> str:
        kind, width = hole[1], int(hole[2] or size)
        if kind == "o":
            kind = draw(st.sampled_from(("r", "m", "m", "n")))
        if kind == "e":
            kind = draw(st.sampled_from(("r", "m", "m")))
        if kind == "r":
            if width == 1:
                return draw(st.sampled_from(by.bytes_of(high=high and hole[2] is None)))
            return REGISTERS[draw(st.sampled_from(by.registers))][width]
        if kind in ("m", "ram", "address"):
            setup, text = draw(addresses(by, width, ram=kind == "ram"))
            first.append(setup)
            return text if kind == "address" else f"{WIDTH[width]} ptr {text}"
        if kind == "x":  # the toy cuts 16 bytes in two, KVM at a page's end
            return f"xmmword ptr [{draw(places(inside=True)):#x}]"
        if kind == "n":
            number = draw(st.sampled_from(NUMBERS))
            return str(number if width == 8 else number & (1 << 8 * width) - 1)
        if kind == "s":
            return str(draw(st.integers(0, 8 * width - 1)))
        return REGISTERS[kind][width]

    text = re.sub(r"\{([a-z]+)(\d?)\}", fill, template)
    return "".join(first) + text


@st.composite
def strings(draw, by: Writer) -> str:
    """A string instruction; repeated up to 3 times."""
    name = draw(st.sampled_from(("movs", "stos", "lods", "scas", "cmps", "ins", "outs")))
    has_qwords = by.bits == 64 and name not in ("ins", "outs")
    suffix = draw(st.sampled_from("bwdq" if has_qwords else "bwd"))
    prefix = draw(st.sampled_from(("", "rep "))) if "c" in by.registers else ""
    inside = name in ("scas", "cmps")  # in a round without an exit flags are another matter
    if prefix and inside:
        prefix = draw(st.sampled_from(("repe ", "repne ")))
    source, destination = (draw(places(inside=inside)) for _ in range(2))
    if prefix and name == "ins":
        destination = RAM_OPERAND
    if name == "cmps":  # two devices: Unicorn reads the destination first, KVM the source
        destination = RAM_OPERAND
    lines = [f"mov {by.name('si')}, {source - by.segment:#x}"]
    lines += [f"mov {by.name('di')}, {destination - by.segment:#x}"]
    lines += ["mov dx, 0x60"] if name in ("ins", "outs") else []
    lines += [f"mov {by.name('c')}, {draw(st.integers(0, 3))}"] if prefix else []
    lines += draw(st.sampled_from(([], ["cld"], ["std"])))
    return "\n".join((*lines, f"{prefix}{name}{suffix}"))


@st.composite
def tables(draw, by: Writer) -> str:
    """XLATB."""
    at = draw(st.sampled_from((RAM_OPERAND, OPERAND, SECOND_PAGE - 0x80))) - by.segment
    return f"mov {by.name('b')}, {at:#x}\nxlatb"


@st.composite
def stacks(draw, by: Writer) -> str:
    """A stack anywhere, used a little."""
    pointer, kept = STACK_POINTER[by.bits], by.name("bp")
    others = replace(by, registers=tuple(name for name in by.registers if name != "bp"))
    lines = [f"mov {kept}, {pointer}", f"mov {pointer}, {draw(places()):#x}"]
    for template in draw(st.lists(st.sampled_from(STACK_USERS), min_size=1, max_size=3)):
        lines.append(draw(filled(others, template, by.bits // 8)))
    return "\n".join((*lines, f"mov {pointer}, {kept}"))


@st.composite
def instructions(draw, by: Writer) -> str:
    """One instruction, with what must be done before it."""
    templates, widths = draw(st.sampled_from(kinds(by)))
    if not isinstance(templates, tuple):
        return draw(templates(by))
    return draw(filled(by, draw(st.sampled_from(templates)), draw(st.sampled_from(widths))))


@cache
def kinds(by: Writer) -> list[tuple[object, tuple[int, ...]]]:
    """What to choose from: templates and their widths, or a strategy."""
    wide = tuple(size for size in by.widths if size > 1)
    own = tuple(text for text in OWN[by.bits] if by.has_stack or text[:2] not in ("pu", "po"))
    found = [(ANY_WIDTH, by.widths)] * 10 + [(WIDE, wide)] * 4 + [(OTHERS, (4,))] * 4
    found += [(PORTS, (4,)), (strings, ()), (own, (4,))] * 2 + [(tables, ())]
    if by.bits == 64:
        found.append((SSE, (8,)))
    if by.has_stack:
        found += [(STACK_USERS, (8, 2) if by.bits == 64 else (4, 2))] * 2
    if by.bits != 16 and "bp" in by.registers:  # real mode's stack is in another segment
        found.append((stacks, ()))
    return found


def bodies(by: Writer) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(instructions(by), min_size=1, max_size=3).map(tuple)


@st.composite
def loops(draw, bits: int) -> Loop:
    counter = draw(st.sampled_from(("c", "bp")))
    by = writer(bits, but=counter)
    name = by.name(counter)
    # LOOPE and LOOPNE lose the flags on the toy.
    endings = [f"dec {name}\njne", f"sub {name}, 1\nja"]
    endings += ["loop"] if counter == "c" else []
    return Loop(name, draw(st.integers(1, 3)), draw(st.sampled_from(endings)), draw(bodies(by)))


@st.composite
def programs(draw, bits: int) -> Program:
    """A program, with the registers and flags it starts with."""
    by = writer(bits)
    jumps = st.sampled_from((*JUMPS, AT_ZERO[bits]))
    one = instructions(by)
    part = st.one_of(
        one, one, one, one, one, one, st.builds(If, jumps, bodies(by)), loops(bits),
        st.builds(Call, bodies(writer(bits, has_stack=False))),
    )  # fmt: skip
    parts = draw(st.lists(part, min_size=1, max_size=12))
    mask = (1 << (64 if bits == 64 else 32)) - 1
    value = st.integers(0, mask) | st.sampled_from([number & mask for number in NUMBERS])
    names = [f"r{name}x" for name in "abcd"] + ["rsi", "rdi", "rbp"]
    names += NUMBERED if bits == 64 else ()
    start = {name: draw(value) for name in names}
    flags = [flag for flag in (CF, PF, AF, ZF, SF, DF, OF) if draw(st.booleans())]
    start |= {"rflags": 2 | sum(flags), "rsp": STACK}
    return Program("random", "", bits, render(parts), tuple(start.items()), before="")


# Tests ----------------------------------------------------------------------------------

OPTIONS = settings(
    max_examples=220, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


def compare(of: Case) -> list[str]:
    """What differs; where this machine's KVM gives up, in what came before."""
    linux = on_linux(of)
    toy, cut = on_the_toy_with_stores_done(of)
    if [stop.what for stop in cut.stops] != [stop.what for stop in toy.stops]:
        return [f"exits of the toy: {toy.stops}, cut into slices: {cut.stops}"]
    toy.cuts = cut.cuts
    if not unsupported(of):
        return differences(of, toy, linux)
    stops = linux.stops if linux.time_is_up else linux.stops[:-1]
    return differences(of, Run(toy.stops[: len(stops)], cuts=cut.cuts), Run(stops))


def check(of: Program) -> None:
    found = compare(of)
    assert not found, "\n".join([of.source, *found])


@OPTIONS
@given(of=programs(64))
def test_random_64_bit_programs_run_as_on_linux(of: Program) -> None:
    check(of)


@OPTIONS
@given(of=programs(32))
def test_random_32_bit_programs_run_as_on_linux(of: Program) -> None:
    check(of)


@OPTIONS
@given(of=programs(16))
def test_random_16_bit_programs_run_as_on_linux(of: Program) -> None:
    check(of)


@pytest.mark.parametrize("bits", [16, 32, 64])
def test_most_programs_exit_and_are_compared_to_their_ends(bits: int) -> None:
    sample: list[Program] = []

    @settings(OPTIONS, max_examples=80, phases=[Phase.generate])
    @given(of=programs(bits))
    def collect(of: Program) -> None:
        sample.append(of)

    collect()
    assert len(sample) >= 80
    ends = [on_linux(of).stops[-1].what for of in sample if not unsupported(of)]
    assert len(ends) > 0.8 * len(sample)
    assert ends.count(("hlt",)) > 0.4 * len(sample)
    with_exits = [of for of in sample if len(on_linux(of).stops) > 2]
    assert len(with_exits) > 0.2 * len(sample)


def test_a_store_is_compared_when_it_is_done_whatever_follows() -> None:
    of = case("random", "", 64, "add [rdi], eax\nstc\ninc ebx\nmov ecx, [rdi]")
    assert differences(of, on_the_toy(of), on_linux(of)), "the next exit shows more than the store"
    assert compare(of) == []
    for text in ("sub [rdi], eax", "add [rdi], ax", "add [rdi], eax\nadd eax, 1"):
        other = case("random", "", 64, f"{text}\nstc\ninc ebx\nmov ecx, [rdi]")
        toy, cut = on_the_toy_with_stores_done(other)
        toy.cuts = cut.cuts
        assert differences(of, toy, on_linux(of)), text


def test_no_undefined_flag_is_read() -> None:
    assert render(["mul ebx", "pushfd"]) == f"mul ebx\n{DEFINER}\npushfd"
    assert render(["mul ebx", "adc eax, 1"]) == "mul ebx\nadc eax, 1"
    assert render(["mul ebx", "add eax, 1", "pushfd"]) == "mul ebx\nadd eax, 1\npushfd"
    assert render(["shl eax, 1", If("jo", ("nop",))]).count(DEFINER) == 0
    assert render(["shl eax, 2", If("jo", ("nop",))]).count(DEFINER) == 1
    assert render([If("jb", ("mul ebx",)), "lahf"]).split("\n")[-2:] == [DEFINER, "lahf"]
    assert render([Loop("ecx", 2, "loop", ("lahf", "and eax, ebx"))]).count(DEFINER) == 1
    assert render([Call(("mul ebx",)), "lahf"]).split("\n")[-2:] == [DEFINER, "lahf"]
