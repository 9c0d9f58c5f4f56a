"""The toy KVM against Linux's own: the same guest code, exit by exit (both_kvms.py)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import linux_kvm
import pytest
from both_kvms import (
    DEVICE,
    DEVICE_END,
    MIDDLE,
    NO_RAM,
    OPERAND,
    PATTERN,
    RAM_OPERAND,
    SECOND_PAGE,
    SECONDS,
    SEGMENT,
    STACK,
    Board,
    Case,
    case,
    differences,
    on_linux,
    on_the_toy,
    unsupported,
)

from toyvisor.kvm.api import KvmExit
from toyvisor.kvm.cpuid import KVM_CPUID_SIGNATURE, cpuid

if why_not := linux_kvm.why_not():
    pytest.skip(f"needs Linux's KVM: {why_not}", allow_module_level=True)

# Cases ----------------------------------------------------------------------------------

SIZES = {1: ("byte", "al", "cl"), 2: ("word", "ax", "cx"), 4: ("dword", "eax", "ecx")}
SIZES[8] = ("qword", "rax", "rcx")
POINTER = {16: "di", 32: "edi", 64: "rdi"}
STRING_SIZES = {"b": 1, "w": 2, "d": 4, "q": 8}


def _widths(bits: int) -> list[int]:
    return [1, 2, 4, 8] if bits == 64 else [1, 2, 4]


FORMS = (
    "mov REG, MEM", "mov MEM, REG", "mov MEM, 0x12", "xchg MEM, REG", "cmpxchg MEM, CREG",
    "lock cmpxchg MEM, CREG", "xadd MEM, REG", "lock xadd MEM, REG", "not MEM", "neg MEM",
    "lock not MEM", "lock neg MEM", "inc MEM", "dec MEM", "lock inc MEM", "lock dec MEM",
    "test MEM, REG", "test MEM, 0x55", "shl MEM, 3", "shr MEM, 1", "sar MEM, cl",
    "rol MEM, 1", "ror MEM, 5",
    "rcl MEM, 1", "rcr MEM, 1", "mul MEM", "imul MEM", "add MEM, 0x7f", "or MEM, 0x12",
    "lock and MEM, 0x12", "cmp MEM, 0x12",
    *(f"{name} MEM, REG" for name in ("add", "sub", "and", "or", "xor", "adc", "sbb", "cmp")),
    *(f"{name} REG, MEM" for name in ("add", "sub", "and", "or", "xor", "adc", "sbb", "cmp")),
    *(f"lock {name} MEM, REG" for name in ("add", "sub", "and", "or", "xor", "adc", "sbb")),
)  # fmt: skip
WIDE_FORMS = (
    "bt MEM, 3", "bts MEM, 3", "btr MEM, 0", "btc MEM, 7", "lock bts MEM, 3", "bt MEM, REG",
    "shld MEM, REG, 5", "shrd MEM, REG, 5", "cmovb REG, MEM", "cmovae REG, MEM",
    "imul REG, MEM", "imul REG, MEM, 7", "bsf REG, MEM", "bsr REG, MEM",
    "push MEM\npop REG", "push REG\npop MEM", "movzx REG, byte ptr [PTR]",
    "movsx REG, byte ptr [PTR]",
)  # fmt: skip


def _memory_forms() -> Iterator[Case]:
    for bits in (64, 32, 16):
        for size in _widths(bits):
            width, reg, other = SIZES[size]
            forms = FORMS + (WIDE_FORMS if size > 1 else ())
            for form in forms:
                if "push" in form and (bits, size) == (64, 4):
                    continue  # not encodable
                text = form.replace("MEM", f"{width} ptr [PTR]").replace("CREG", other)
                text = text.replace("REG", reg).replace("PTR", POINTER[bits])
                options = {"rax": 5} if form.startswith("bt MEM, REG") else {}
                yield case("memory", f"{form} {width}".replace("\n", ";"), bits, text, **options)
        pointer = POINTER[bits]
        for text in (
            f"setb byte ptr [{pointer}]", f"setae byte ptr [{pointer}]",
            f"movzx eax, word ptr [{pointer}]", f"movsx eax, word ptr [{pointer}]",
            f"cmpxchg8b qword ptr [{pointer}]", f"lock cmpxchg8b qword ptr [{pointer}]",
            f"mov word ptr [{pointer}], ds",
            f"movnti dword ptr [{pointer}], eax", f"smsw word ptr [{pointer}]",
            f"fnstcw word ptr [{pointer}]", f"lea eax, [{pointer}]",
        ):  # fmt: skip
            exits = not text.startswith("lea")
            yield case("memory", text, bits, text, exits=exits)
    for text in (
        "movsxd rax, dword ptr [rdi]", "movzx rax, word ptr [rdi]", "movsx rax, word ptr [rdi]",
        "push qword ptr [rdi]\npop rax", "cmpxchg16b xmmword ptr [rdi]",
        "mov word ptr [rdi], 16\nmov es, word ptr [rdi]",
        "mov byte ptr [rdi], 0x9c\nmovzx ecx, byte ptr [rdi]\nlea ecx, [rcx+rcx]",
        "mov al, byte ptr [rdi+rcx]", "movabs eax, [0x80808]", "movabs [0x80808], rax",
    ):  # fmt: skip
        yield case("memory", text.replace("\n", ";"), 64, text, rcx=9)
    # Comparisons that succeed: the accumulator holds what the device has.
    for size in _widths(64):
        width, _, other = SIZES[size]
        value = int.from_bytes(PATTERN[:size], "little")
        for lock in ("", "lock "):
            text = f"{lock}cmpxchg {width} ptr [rdi], {other}"
            yield case("memory", f"{text}, equal", 64, text, rax=value)
    value = int.from_bytes(PATTERN[:8], "little")
    yield case(
        "memory", "cmpxchg8b, equal", 64, "cmpxchg8b qword ptr [rdi]",
        rax=value & 0xFFFFFFFF, rdx=value >> 32,
    )  # fmt: skip
    yield case("memory", "xlatb", 64, "xlatb", rbx=OPERAND, rax=3)
    yield case("memory", "div", 64, "div dword ptr [rdi]", rax=100, rdx=3)
    yield case("memory", "idiv", 64, "idiv byte ptr [rdi]", rax=100)


def _stack_on_a_device() -> Iterator[Case]:
    for bits in (64, 32):
        stack = "mov esp, 0x80808\n"
        accumulator, other = ("rax", "rbx") if bits == 64 else ("eax", "ebx")
        for text in (
            f"push {accumulator}", f"pop {accumulator}", "push 5", "pushf", "push ax",
            f"push {accumulator}\npush {other}", f"pop {other}\npop {accumulator}",
            "call 1f\n1:", "enter 0, 0",
        ):  # fmt: skip
            after = f"\nout 0x12, al\nmov esp, {STACK:#x}"
            yield case("stack", text.replace("\n", ";"), bits, stack + text + after)
    text = "mov qword ptr [rdi+8], offset 1f\nout 0x12, al\nmov esp, 0x80808\nret\nud2\n1: nop"
    yield case("stack", "ret to where a device says", 64, text)


def _strings() -> Iterator[Case]:
    forms = {
        "movs to a device": ("movs", RAM_OPERAND - 64, OPERAND),
        "movs from a device": ("movs", OPERAND, RAM_OPERAND),
        "movs between devices": ("movs", OPERAND, OPERAND + 0x100),
        "stos": ("stos", 0x100 + SEGMENT, OPERAND),
        "lods": ("lods", OPERAND, SEGMENT),
        "scas": ("scas", SEGMENT, OPERAND),
        "cmps with a device": ("cmps", RAM_OPERAND - 64, OPERAND),
        "cmps of devices": ("cmps", OPERAND, OPERAND),
    }
    for bits in (64, 32, 16):
        for suffix, size in STRING_SIZES.items():
            if size > bits // 8 and (bits, size) != (16, 4):
                continue
            for name, (mnemonic, source, destination) in forms.items():
                for how in ("", "rep", "rep, none", "rep backwards"):
                    prefix = "rep " if how else ""
                    if how and mnemonic in ("scas", "cmps"):
                        prefix = "repe " if name.endswith("devices") else "repne "
                    down = "std\n" if "backwards" in how else ""
                    yield case(
                        "strings", f"{how} {name} {suffix}".strip(), bits,
                        f"{down}{prefix}{mnemonic}{suffix}",
                        rcx=0 if "none" in how else 3, rsi=source, rdi=destination,
                        exits="none" not in how,
                    )  # fmt: skip
        yield case("strings", "cmpsb of two places on devices", bits, "cmpsb", rsi=OPERAND + 0x100)
    for address, count in ((SECOND_PAGE - 8, 4), (SECOND_PAGE - 6, 4), (DEVICE_END - 6, 2)):
        for text in ("rep stosd", "rep lodsd"):
            yield case(
                "strings", f"{text} at {address:#x}", 64, text,
                rcx=count, rdi=address, rsi=address,
            )  # fmt: skip
    yield case(
        "strings", "long rep movsb into a device", 64, "rep movsb", rcx=100, rsi=RAM_OPERAND,
    )  # fmt: skip
    yield case(
        "strings", "rep movsd from RAM into a device", 64, "rep movsd",
        rcx=4, rsi=RAM_OPERAND, rdi=DEVICE - 8,
    )  # fmt: skip
    yield case(
        "strings", "rep stosb, 32-bit addresses", 64, ".byte 0x67, 0xf3, 0xaa",
        rcx=0xFFFF_FFFF_0000_0002, rdi=OPERAND,
    )  # fmt: skip


SSE_LOADS = ("movups", "movupd", "movaps", "movapd", "movdqu", "movdqa", "lddqu")
SSE_STORES = ("movups", "movupd", "movaps", "movapd", "movdqu", "movdqa", "movntps", "movntdq")
OTHER_SSE = (
    "movq xmm0, qword ptr [rbx]\nmovq qword ptr [rdi], xmm0",
    "movd xmm0, dword ptr [rbx]\nmovd dword ptr [rdi], xmm0",
    "movss xmm0, dword ptr [rdi]\nmovss dword ptr [rbx], xmm0",
    "movsd xmm0, qword ptr [rdi]\nmovsd qword ptr [rbx], xmm0",
    "paddd xmm0, xmmword ptr [rdi]\nmovups [rbx], xmm0",
    "movq mm0, qword ptr [rdi]\nmovq qword ptr [rbx], mm0",
    "fld qword ptr [rdi]\nfstp qword ptr [rbx]",
    "fild word ptr [rdi]\nfistp word ptr [rbx]",
    "stmxcsr dword ptr [rdi]",
)


def _sse() -> Iterator[Case]:
    ram = RAM_OPERAND - 64
    for name in SSE_LOADS:
        text = f"{name} xmm0, [rdi]\nmovups [rbx], xmm0"
        yield case("sse", f"{name} load", 64, text, rbx=ram)
    for name in SSE_STORES:
        text = f"movups xmm0, [rbx]\n{name} [rdi], xmm0"
        yield case("sse", f"{name} store", 64, text, rbx=ram)
    for text in OTHER_SSE:
        yield case("sse", text.replace("\n", ";"), 64, text, rbx=ram)
    for at in (SECOND_PAGE - 1, SECOND_PAGE - 5, SECOND_PAGE - 8, SECOND_PAGE - 11, OPERAND + 3):
        load = "movups xmm0, [rdi]\nmovups [rbx], xmm0"
        store = "movups xmm0, [rbx]\nmovups [rdi], xmm0"
        yield case("sse", f"movups load at {at:#x}", 64, load, rbx=ram, rdi=at)
        yield case("sse", f"movups store at {at:#x}", 64, store, rbx=ram, rdi=at)
    for name in ("movaps", "movdqa"):
        yield case(
            "sse", f"{name} unaligned", 64, f"{name} xmm0, [rdi]", rdi=OPERAND + 4,
            end=KvmExit.SHUTDOWN, exits=False,
        )  # fmt: skip


def _places() -> Iterator[Case]:
    """Unaligned, across two device pages, from RAM into a device, from a device into RAM."""
    forms = ("mov REG, MEM", "mov MEM, REG", "add MEM, REG", "xchg MEM, REG", "lock xadd MEM, REG")
    edges = {
        "within a device": OPERAND + 8,
        "across two device pages": SECOND_PAGE,
        "from RAM into a device": DEVICE,
        "from a device into RAM": DEVICE_END,
    }
    for bits in (64, 32, 16):
        for size in _widths(bits):
            width, reg, _ = SIZES[size]
            for place, edge in edges.items():
                for first in range(1, size):
                    for form in forms:
                        if bits != 64 and (form not in forms[:3] or first not in (1, size - 1)):
                            continue
                        text = form.replace("MEM", f"{width} ptr [{POINTER[bits]}]")
                        name = f"{form} {width} {place}, {first} before"
                        yield case(place, name, bits, text.replace("REG", reg), rdi=edge - first)
    ram = RAM_OPERAND - 64
    for edge in (DEVICE, DEVICE_END):
        for first in (1, 7, 8, 9, 15):
            load = "movups xmm0, [rdi]\nmovups [rbx], xmm0"
            store = "movups xmm0, [rbx]\nmovups [rdi], xmm0"
            place = next(name for name, at in edges.items() if at == edge)
            yield case(place, f"movups load, {first} before", 64, load, rbx=ram, rdi=edge - first)
            yield case(place, f"movups store, {first} before", 64, store, rbx=ram, rdi=edge - first)


def _after_a_load() -> Iterator[Case]:
    """An access across the border of RAM is begun anew; a load before it is not made again."""
    place = "from RAM into a device"
    load = f"mov eax, [{DEVICE_END - 1:#x}]\n"
    for size, first in ((1, "al"), (2, "ax"), (4, "eax")):
        for second, width in (("bx", 2), ("ebx", 4), ("rbx", 8)):
            text = f"mov {first}, [{DEVICE:#x}]\nmov {second}, [{DEVICE - width + size:#x}]"
            yield case(place, f"a load of {size}, then {size} of {width} bytes there", 64, text)
    for text in (f"mov [{DEVICE - 1:#x}], eax", f"mov eax, [{DEVICE - 1:#x}]"):
        yield case(place, f"{text} after a load out of a device", 64, load + text)
    after = f"\nout 0x12, al\nmov esp, {STACK:#x}"
    for name, text in (
        ("movsw", f"mov edi, {DEVICE - 1:#x}\nmov esi, {OPERAND:#x}\nmovsw"),
        ("push", f"mov esp, {DEVICE + 4:#x}\npush qword ptr [rdi]{after}"),
        ("pop", f"mov esp, {OPERAND:#x}\npop qword ptr [{DEVICE - 1:#x}]{after}"),
    ):
        yield case(place, f"{name} of what a device has", 64, text)


def _ports() -> Iterator[Case]:
    for bits in (64, 32, 16):
        for register in ("al", "ax", "eax"):
            for port in ("0x60", "dx"):
                yield case(
                    "ports", f"out {port}, {register}", bits, f"out {port}, {register}", rdx=0x3F8
                )
                yield case(
                    "ports", f"in {register}, {port}", bits, f"in {register}, {port}", rdx=0x3F8
                )
        for suffix in "bwd":
            for direction in ("", "std\n"):
                for prefix in ("", "rep "):
                    how = ("downwards " if direction else "") + prefix
                    for name in ("ins", "outs"):
                        yield case(
                            "ports", f"{how}{name}{suffix}", bits,
                            f"{direction}{prefix}{name}{suffix}",
                            rcx=3, rdx=0x60, rdi=RAM_OPERAND, rsi=RAM_OPERAND,
                        )  # fmt: skip
                    yield case(
                        "ports", f"{how}outs{suffix} from a device", bits,
                        f"{direction}{prefix}outs{suffix}", rcx=3, rdx=0x60, rsi=OPERAND,
                    )  # fmt: skip
                    yield case(
                        "ports", f"{how}ins{suffix} to a device", bits,
                        f"{direction}{prefix}ins{suffix}", rcx=3, rdx=0x60,
                    )  # fmt: skip
    text = "insb\nout 0x12, al\ndec rdi\ninsb"
    yield case("ports", "insb to a device, twice to one place", 64, text, rdx=0x60)
    yield case(
        "ports", "insb where no page is", 64, "insb", rdx=0x60, rdi=0x1_2345_6789_0,
        end=KvmExit.SHUTDOWN,
    )  # fmt: skip
    text = f"mov edi, {RAM_OPERAND:#x}\ninsb\nmov edi, {OPERAND:#x}\ninsb"
    yield case("ports", "insb to RAM, then one to a device", 64, text, rdx=0x60)
    for edge in (DEVICE, SECOND_PAGE, DEVICE_END):
        for text in ("insd", "outsd"):
            at = edge - 3
            yield case("ports", f"{text} at {at:#x}", 64, text, rdx=0x60, rdi=at, rsi=at)
    yield case("ports", "rep insb, none", 64, "rep insb", rcx=0, rdx=0x60, exits=False)
    yield case("ports", "rep outsb, none", 64, "rep outsb", rcx=0, rdx=0x60, exits=False)


def _read_ahead() -> Iterator[Case]:
    page = MIDDLE + 0x2000
    for suffix, size in (("b", 1), ("w", 2), ("d", 4)):
        for name, at, count in (
            ("a few", page + 0x100, 20),
            ("a kibibyte and more", page, 1100 // size),
            ("to the page's end", page - 8, 5),
            ("over the page's end", page - 8, 12),
            ("an element across the page's end", page - 9, 5),
            ("to the page's last byte", page - 1, 3),
            ("near the page's start", page + 6, 5),
            ("not aligned", page + 3, 5),
        ):
            for down in ("", "std\n"):
                where = "downwards, " if down else ""
                yield case(
                    "read ahead", f"{where}{name}, rep ins{suffix}", 64,
                    f"{down}rep ins{suffix}", rcx=count, rdx=0x60, rdi=at,
                )  # fmt: skip
    for bits in (32, 16):
        yield case("read ahead", "rep insw", bits, "rep insw", rcx=5, rdx=0x60, rdi=RAM_OPERAND)
    yield case(
        "read ahead", "rep insb, 32-bit addresses", 64, ".byte 0x67, 0xf3, 0x6c",
        rcx=0xFFFF_FFFF_0000_0005, rdx=0x60, rdi=RAM_OPERAND,
    )  # fmt: skip
    yield case(
        "read ahead", "rep insb, 32-bit addresses", 16, ".byte 0x67, 0xf3, 0x6c",
        rcx=5, rdx=0x60, rdi=RAM_OPERAND,
    )  # fmt: skip
    yield case(
        "read ahead", "rep insb, high half of ecx set", 16, "rep insb",
        rcx=0x1234_0005, rdx=0x60, rdi=RAM_OPERAND,
    )  # fmt: skip
    yield case("read ahead", "repne insb", 64, ".byte 0xf2, 0x6c", rcx=5, rdx=0x60, rdi=RAM_OPERAND)
    yield case(
        "read ahead", "rep insb from RAM into a device", 64, "rep insb",
        rcx=5, rdx=0x60, rdi=DEVICE - 2,
    )  # fmt: skip


SETTERS = (
    "cmp eax, ebx", "sub eax, ebx", "add al, bl", "sbb eax, ebx", "adc ax, bx", "neg eax",
    "inc eax", "dec eax", "stc", "clc", "cmc", "std", "shl eax, 1", "cmp rax, rbx", "bt eax, 5",
)  # fmt: skip
TRAPS = (
    "mov [rdi], ebx", "mov ebp, [rdi]", "adc dword ptr [rdi], ecx", "push qword ptr [rdi]",
    "out 0xe9, al", "in al, 0x60",
)  # fmt: skip


def _flags() -> Iterator[Case]:
    for setter in SETTERS:
        for trap in TRAPS:
            for a, b in ((5, 6), (0x80000000, 1), (0x7F, 0x80)):
                end = "\nlea rsp, [rsp+8]" if "push" in trap else ""
                yield case(
                    "flags", f"{setter}; {trap} ({a:#x}, {b:#x})", 64,
                    f"{setter}\n{trap}{end}", rax=a, rbx=b,
                )  # fmt: skip

    for name in ("loop", "loope", "loopne"):
        for count in (1, 2):
            text = f"mov ecx, {count}\ncmp al, 3\n1: {name} 1b"
            yield case("flags", f"{name} from {count}", 64, text, exits=False)
    for name in ("aam", "aad"):
        for value in (0, 0x1E, 0x80, 0x707):
            yield case("flags", f"{name} of {value:#x}", 32, name, rax=value, exits=False)


def _ends() -> Iterator[Case]:
    shutdown = {"end": KvmExit.SHUTDOWN, "exits": False}
    internal = {"end": KvmExit.INTERNAL_ERROR, "exits": False}
    for bits in (64, 32, 16):
        yield case("ends", "hlt", bits, "nop", exits=False)
    for bits in (64, 32):
        for text in (
            "ud2",
            "int3",
            "int 0x80",
            "xor ecx, ecx\ndiv ecx",
            "mov ax, 0x1234\nmov ds, ax",
        ):
            yield case("ends", text.replace("\n", ";"), bits, text, **shutdown)
    yield case("ends", "page fault", 64, "mov eax, [rdi]", rdi=0x1_2345_6789_0, **shutdown)
    yield case("ends", "not canonical", 64, "mov eax, [rdi]", rdi=1 << 60, **shutdown)
    for text in ("jmp rdi", "call rdi", "push rdi\nret"):
        name = text.replace("\n", ";")
        yield case("ends", f"{name}, not canonical", 64, text, rdi=1 << 60, **shutdown)
    yield case("ends", "ud2 after a store", 64, "mov [rdi], eax\nud2", end=KvmExit.SHUTDOWN)
    for bits, register in ((64, "rdi"), (32, "edi")):
        for name, at in (("no RAM", NO_RAM), ("a device", OPERAND), ("far away", 0xD0000000)):
            yield case("ends", f"jump to {name}", bits, f"jmp {register}", rdi=at, **internal)
        text = f"mov dword ptr [{register}], 0x90909090\njmp {register}"
        yield case("ends", "run off the end of RAM", bits, text, rdi=DEVICE - 4, **internal)
        text = f"mov word ptr [{register}], 0x00c7\njmp {register}"
        yield case("ends", "an instruction cut off by it", bits, text, rdi=DEVICE - 2, **internal)
    yield case("ends", "a call to no RAM", 64, "call rdi", rdi=NO_RAM, **internal)
    yield case(
        "ends", "a jump where a device says", 64,
        f"mov qword ptr [rdi], {NO_RAM:#x}\njmp qword ptr [rdi]", end=KvmExit.INTERNAL_ERROR,
    )  # fmt: skip


def _hypercalls() -> Iterator[Case]:
    for bits in (64, 32, 16):
        for text, number in (("vmcall", 1), ("vmmcall", 0x1234)):
            name = f"{text} {number:#x}"
            yield case("hypercalls", name, bits, text, rax=number, exits=False)
    yield case(
        "hypercalls", "MAP_GPA_RANGE to userspace", 64, "vmcall",
        rax=12, rbx=0x10000, rcx=2, rdx=1, exit_hypercalls=1 << 12,
    )  # fmt: skip


FAMILIES = (
    _memory_forms, _stack_on_a_device, _strings, _sse, _places, _after_a_load, _ports, _read_ahead,
    _flags, _ends, _hypercalls,
)  # fmt: skip
CASES = list({each.id: each for family in FAMILIES for each in family()}.values())
# Differences ----------------------------------------------------------------------------

#: Where the toy is not as Linux is: cases (a pattern for their ids) and why. A case that is
#: named here must differ; once it does not, it has to be struck out.
KNOWN_DIFFERENCES = {
    r"memory: lock neg .*": (
        "Unicorn makes LOCK NEG of a load and a compare-and-exchange, so the device is read twice"
    ),
    r"memory: rc[lr] .*": (
        "Unicorn computes the flags for RCL and RCR before it loads: at the exit they are wrong"
    ),
    r"memory: (lock )?cmpxchg8b.*": (
        "Unicorn's CMPXCHG8B takes the flags it keeps from a stale copy, on RAM as well"
    ),
    r"sse: movups (load|store) at 0x80ff[bf] .*": (
        "Unicorn makes two accesses of 8 bytes of one of 16; KVM cuts at the page's end first"
    ),
    r"sse: mov(aps|dqa) unaligned .*": "Unicorn does not check the alignment of SSE operands",
    r"from RAM into a device: movups (load|store), [17] before .*": (
        "Unicorn makes two accesses of 8 bytes of one of 16; KVM cuts at the page's end first"
    ),
    r"ports: insb where no page is .*": "Unicorn tries the destination first, KVM reads the port",
    r"strings: cmpsb of two places on devices .*": (
        "Unicorn's CMPS reads the destination first, KVM the source"
    ),
    r"flags: loopn?e from 1 .*": "Unicorn's LOOPE and LOOPNE lose the flags when the count is 0",
    r"flags: (aam of 0x1e|aad of 0x80) .*": "Linux sets SF and ZF by AX; by AL is right",
    r"ends: .*, not canonical .*": "Unicorn jumps to such an address and faults there",
    r"ports: (downwards )?rep ins. to a device .*": (
        "KVM stores all it has read ahead as one write; downwards it drops what is left of "
        "it at each exit for a store and reads the port again"
    ),
    r"read ahead: rep insb from RAM into a device .*": (
        "KVM stores all it has read ahead as one write"
    ),
}


def known_difference(of: Case) -> str | None:
    """Why the case is known to differ; None if it should not."""
    reasons = (why for what, why in KNOWN_DIFFERENCES.items() if re.fullmatch(what, of.id))
    return next(reasons, None)


# Tests ----------------------------------------------------------------------------------


@pytest.mark.parametrize("of", CASES, ids=[each.id for each in CASES])
def test_the_toy_does_what_linux_does(of: Case) -> None:
    if why := unsupported(of):
        pytest.skip(f"this machine's KVM can't: {why}")
    linux = on_linux(of)
    assert linux.stops[-1].what[0] == of.end.name.lower()
    if of.exits:
        assert len(linux.stops) > 2 - (of.end != KvmExit.HLT), "nothing was compared"
    found = differences(of, on_the_toy(of), linux)
    if why := known_difference(of):
        assert found, f"no longer different, to be struck out of KNOWN_DIFFERENCES: {why}"
        pytest.xfail(why)
    assert not found, "\n".join(found)


def test_most_cases_were_really_compared() -> None:
    """What this machine's KVM can't do, and what is known to differ, is counted and small."""
    cases, missing, known = Counter(), Counter(), Counter()
    for of in CASES:
        cases[of.family] += 1
        if unsupported(of):
            missing[of.family] += 1
        elif known_difference(of):
            known[of.family] += 1
    assert sum(cases.values()) > 1800
    assert sum(missing.values()) < 0.04 * sum(cases.values()), missing
    assert sum(known.values()) < 0.1 * sum(cases.values()), known
    for family in cases:
        if family not in ("hypercalls", "from RAM into a device"):
            assert missing[family] + known[family] < cases[family] / 2, family


def test_every_known_difference_names_a_case() -> None:
    for what in KNOWN_DIFFERENCES:
        assert any(re.fullmatch(what, of.id) for of in CASES), what


def test_the_signature_that_userspace_sets_is_what_cpuid_answers() -> None:
    """KVM_SET_CPUID2 decides; the toy's table is what a client would set."""
    of = case("cpuid", "signature", 64, "mov eax, 0x40000000\ncpuid", exits=False)
    board = Board(of)
    vm = linux_kvm.LinuxVm(board.memory)
    wanted = cpuid(KVM_CPUID_SIGNATURE)
    vm.set_sregs(board.sregs)
    vm.set_regs(board.regs)
    with linux_kvm.TimeLimit(vm, SECONDS):
        linux = board.play(vm)
    vm.close()
    names = ("rax", "rbx", "rcx", "rdx")
    found = tuple(linux.stops[-1].registers[name] for name in names)
    if found != wanted:
        pytest.skip(f"this machine's KVM does not honour KVM_SET_CPUID2: {found}")
    assert differences(of, on_the_toy(of), linux) == []


def test_a_time_limit_ends_a_guest_that_never_exits() -> None:
    of = case("time", "endless loop", 64, "1: jmp 1b", exits=False)
    assert unsupported(of) == "KVM_RUN does not come back"


def test_a_difference_would_be_seen() -> None:
    """The comparison itself: other code on one side, and each kind of difference shows."""
    same = case("memory", "store", 64, "mov [rdi], eax\nmov ecx, [rdi]")
    linux = on_linux(same)
    assert differences(same, on_the_toy(same), linux) == []
    for text in (
        "mov [rdi], ax\nmov ecx, [rdi]",
        "mov [rdi+4], eax\nmov ecx, [rdi]",
        "mov ecx, [rdi]\nmov [rdi], eax",
        "mov [rdi], ebx\nmov ecx, [rdi]",
        "nop\nmov [rdi], eax\nmov ecx, [rdi]",
        "mov [rdi], eax\nmov edx, [rdi]",
        "mov [rdi], eax\nclc\nmov ecx, [rdi]",
        "mov [rsi], eax\nmov [rdi], eax\nmov ecx, [rdi]",
    ):
        other = case("memory", "another", 64, text)
        assert differences(same, on_the_toy(other), linux), text
