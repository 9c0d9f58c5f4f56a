"""Instructions that move data: MOV and its relatives, the stack, string instructions."""

from __future__ import annotations

from toyvisor.debug.explain_conditions import holds
from toyvisor.debug.explanation import Idea
from toyvisor.debug.instruction_scene import Scene, number, spot_text
from toyvisor.debug.instruction_words import Explainer, Words, mask, signed
from toyvisor.guest.decoded import OperandKind

_CONTROL = {
    "cr0": Idea(
        "CR0 turns protected mode (PE) and paging (PG) on and off.",
        "Intel SDM vol. 3, 2.5 (control registers)",
    ),
    "cr2": Idea(
        "CR2 holds the address of the last page fault.", "Intel SDM vol. 3, 2.5 (control registers)"
    ),
    "cr3": Idea(
        "CR3 holds the address of the top page table. With EPT the guest's page tables are its own "
        "affair: changing them is no exit. Without EPT it was one each time (shadow paging).",
        "Intel SDM vol. 3, 2.5 and chapter 5 (paging)",
    ),
    "cr4": Idea("CR4 turns extensions on and off.", "Intel SDM vol. 3, 2.5 (control registers)"),
}
_SEGMENT = Idea(
    "A segment register is a selector: the processor loads base, limit and rights from the "
    "descriptor in the GDT, and keeps them until the next load. In real mode it is the base / 16.",
    "Intel SDM vol. 3, 3.4.2 and 3.4.3 (segment selectors, segment registers)",
)
_SEGMENTS = frozenset(("cs", "ds", "es", "fs", "gs", "ss"))


def _mov(scene: Scene) -> Words:
    target, source = scene.operands
    idea = None
    for operand in (target, source):
        if operand.register in _CONTROL:
            idea = _CONTROL[operand.register]
        elif operand.kind is OperandKind.REGISTER and operand.register in _SEGMENTS:
            idea = _SEGMENT
    if target.kind is OperandKind.MEMORY:
        return Words(f"stores {scene.said(source)} into {scene.named(target)}", idea)
    value = scene.value(source)
    if source.kind is OperandKind.MEMORY and value is None:
        return Words(f"loads {8 * source.size} bits from {scene.named(source)} into "
                     f"{target.register}", idea)  # fmt: skip
    text = f"{target.register} = {scene.said(source)}"
    if source.kind is OperandKind.MEMORY:
        text = f"loads {target.register} from {scene.said(source)}"
    return Words(text, idea)


def _extend(scene: Scene) -> Words:
    target, source = scene.operands
    value = scene.value(source)
    how = "with zeros" if scene.decoded.mnemonic == "movzx" else "with its sign"
    text = f"{target.register} = {scene.said(source)}, extended {how} to {8 * target.size} bits"
    if value is not None and scene.decoded.mnemonic != "movzx":
        text += f": {number(signed(value, source.size) & mask(target.size))}"
    return Words(text)


def _lea(scene: Scene) -> Words:
    target, source = scene.operands
    address = scene.effective(source) & mask(target.size)
    return Words(
        f"{target.register} = the address {scene.place(address)}: it is computed, and nothing is "
        "read there"
    )


def _xchg(scene: Scene) -> Words:
    one, other = scene.operands
    text = f"exchanges {scene.said(one)} and {scene.said(other)}"
    if OperandKind.MEMORY in (one.kind, other.kind):
        text += "; no other processor can come in between (LOCK is implied)"
    return Words(text)


def _cmov(scene: Scene) -> Words:
    target, source = scene.operands
    is_true, because = holds(scene.decoded.mnemonic.removeprefix("cmov"), scene.rflags)
    if is_true:
        return Words(f"{target.register} = {scene.said(source)}, because {because}")
    return Words(f"leaves {scene.said(target)} as it is, because {because}")


def _setcc(scene: Scene) -> Words:
    (target,) = scene.operands
    is_true, because = holds(scene.decoded.mnemonic.removeprefix("set"), scene.rflags)
    return Words(f"{scene.named(target)} = {int(is_true)}, because {because}")


def _push(scene: Scene) -> Words:
    (source,) = scene.operands
    size = scene.bits // 8 if source.kind is not OperandKind.MEMORY else source.size
    name, pointer = _stack_pointer(scene)
    return Words(
        f"pushes {scene.said(source)} onto the stack: {name} goes down by {size} to "
        f"{pointer - size:#x}"
    )


def _pop(scene: Scene) -> Words:
    (target,) = scene.operands
    size = scene.bits // 8 if target.register in _SEGMENTS else target.size
    name, pointer = _stack_pointer(scene)
    return Words(
        f"{scene.named(target)} = {number(scene.stack(0, size))}, from the stack: {name} goes up "
        f"by {size} to {pointer + size:#x}"
    )


def _pushf(scene: Scene) -> Words:
    return Words(f"pushes the flags ({scene.rflags:#x}) onto the stack")


def _popf(scene: Scene) -> Words:
    size = 2 if scene.decoded.mnemonic == "popf" else scene.bits // 8
    return Words(f"takes the flags from the stack: {number(scene.stack(0, size))}")


def _pusha(scene: Scene) -> Words:
    return Words("pushes all eight general registers onto the stack")


def _popa(scene: Scene) -> Words:
    return Words("takes the general registers from the stack, all but the stack pointer")


def _leave(scene: Scene) -> Words:
    name, _ = _stack_pointer(scene)
    frame = f"{name[:-2]}bp"
    return Words(f"{name} = {frame} ({scene.known(frame):#x}), then pops {frame}: the function's "
                 "frame is gone")  # fmt: skip


def _stack_pointer(scene: Scene) -> tuple[str, int]:
    name = {64: "rsp", 32: "esp"}.get(scene.bits, "sp")
    return name, scene.known(name)


# String instructions ---------------------------------------------------------------------------


def _rounds(scene: Scene) -> str:
    """How often a repeated one is done."""
    if not scene.decoded.repeat:
        return "once"
    name = {64: "rcx", 32: "ecx"}.get(scene.decoded.address_bits, "cx")
    count = scene.known(name)
    return f"{count:,} times ({name})" if count != 1 else f"once ({name} is 1)"


def _movs(scene: Scene) -> Words:
    target, source = scene.operands
    if OperandKind.REGISTER in (target.kind, source.kind):  # MOVSD of SSE
        return _mov(scene)
    size = "a byte" if target.size == 1 else f"{target.size} bytes"
    return Words(
        f"copies {size} from {_at(scene, 1)} to {_at(scene, 0)}, {_rounds(scene)}, "
        f"{_direction(scene)}"
    )


def _stos(scene: Scene) -> Words:
    _, source = scene.operands
    return Words(
        f"stores {scene.said(source)} into {_at(scene, 0)}, {_rounds(scene)}, {_direction(scene)}"
    )


def _lods(scene: Scene) -> Words:
    target, source = scene.operands
    return Words(
        f"{target.register} = {scene.said(source)}, and the pointer moves on, {_direction(scene)}"
    )


def _scas(scene: Scene) -> Words:
    end = "until they are equal" if scene.decoded.repeat == "repne" else "while they are equal"
    how = f", {end}, at most {_rounds(scene)}" if scene.decoded.repeat else ""
    return Words(f"compares {scene.said(scene.operands[0])} with {scene.said(scene.operands[1])}"
                 f"{how}")  # fmt: skip


def _at(scene: Scene, position: int) -> str:
    return spot_text(scene.spot_of(scene.operands[position]))


def _direction(scene: Scene) -> str:
    return "downwards (DF is 1)" if scene.flag("DF") else "upwards"


def _xlat(scene: Scene) -> Words:
    table = {64: "rbx", 32: "ebx"}.get(scene.bits, "bx")
    spot = scene.spot(scene.known(table) + scene.known("al"), 1)
    return Words(f"al = byte {scene.known('al')} of the table at {table}: {number(spot.value)}")


def _bswap(scene: Scene) -> Words:
    (target,) = scene.operands
    value = scene.known(target.register).to_bytes(target.size, "little")
    return Words(f"{target.register} = {number(int.from_bytes(value, 'big'))}: its bytes the other "
                 "way round, as networks want them")  # fmt: skip


MOVES: dict[str, Explainer] = {
    **dict.fromkeys(("mov", "movabs", "movups", "movaps", "movdqu", "movdqa", "movd"), _mov),
    **dict.fromkeys(("movzx", "movsx", "movsxd"), _extend),
    "lea": _lea,
    "xchg": _xchg,
    "push": _push,
    "pop": _pop,
    **dict.fromkeys(("pushf", "pushfd", "pushfq"), _pushf),
    **dict.fromkeys(("popf", "popfd", "popfq"), _popf),
    **dict.fromkeys(("pushaw", "pushal", "pushad"), _pusha),
    **dict.fromkeys(("popaw", "popal", "popad"), _popa),
    "leave": _leave,
    **{f"movs{width}": _movs for width in "bwdq"},
    **{f"stos{width}": _stos for width in "bwdq"},
    **{f"lods{width}": _lods for width in "bwdq"},
    **{f"scas{width}": _scas for width in "bwdq"},
    **{f"cmps{width}": _scas for width in "bwdq"},
    "xlatb": _xlat,
    "bswap": _bswap,
    **{f"cmov{code}": _cmov for code in
       ("o", "no", "b", "ae", "e", "ne", "be", "a", "s", "ns", "p", "np", "l", "ge", "le", "g")},
    **{f"set{code}": _setcc for code in
       ("o", "no", "b", "ae", "e", "ne", "be", "a", "s", "ns", "p", "np", "l", "ge", "le", "g")},
}  # fmt: skip
