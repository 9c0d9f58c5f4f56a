"""Instructions after which the guest goes on somewhere else."""

from __future__ import annotations

from toyvisor.debug.explain_arithmetic import handler_of
from toyvisor.debug.explain_conditions import CONDITIONS, holds
from toyvisor.debug.explanation import Idea
from toyvisor.debug.instruction_scene import Scene, number
from toyvisor.debug.instruction_words import Explainer, Words
from toyvisor.debug.register_names import FLAGS
from toyvisor.guest.decoded import Operand, OperandKind

_DELIVERY = "Intel SDM vol. 3, 7.12 (exception and interrupt handling)"


def _jcc(scene: Scene) -> Words:
    is_true, because = holds(scene.decoded.mnemonic[1:], scene.rflags)
    if is_true:
        return Words(f"jumps to {_target(scene, scene.operands[0])}, because {because}")
    return Words(f"does not jump, because {because}: it goes on at {scene.place(_next(scene))}")


def _jmp(scene: Scene) -> Words:
    return Words(f"jumps to {_target(scene, scene.operands[-1])}")


def _call(scene: Scene) -> Words:
    return Words(
        f"calls {_target(scene, scene.operands[-1])}: pushes the address behind this instruction, "
        f"{_next(scene):#x}, onto the stack, and jumps"
    )


def _ret(scene: Scene) -> Words:
    size = scene.bits // 8
    back = scene.stack(0, size)
    where = scene.place(back) if back is not None else "an address that can't be read"
    text = f"returns to {where}, the address on top of the stack"
    if scene.operands:
        text += f"; and takes {scene.said(scene.operands[0])} more bytes off the stack"
    return Words(text)


def _loop(scene: Scene) -> Words:
    name = {64: "rcx", 32: "ecx"}.get(scene.decoded.address_bits, "cx")
    count = scene.known(name) - 1 & (1 << scene.decoded.address_bits) - 1
    condition = {"loope": " and ZF is 1", "loopne": " and ZF is 0"}.get(scene.decoded.mnemonic, "")
    is_taken = bool(count)
    if condition:
        is_taken = is_taken and scene.flag("ZF") == int(scene.decoded.mnemonic == "loope")
    then = "jumps to" if is_taken else "does not jump to"
    return Words(
        f"{name} = {number(count)}, and {then} {_target(scene, scene.operands[0])}: it jumps as "
        f"long as {name} is not 0{condition}"
    )


def _jcxz(scene: Scene) -> Words:
    name = {"jrcxz": "rcx", "jecxz": "ecx"}.get(scene.decoded.mnemonic, "cx")
    count = scene.known(name)
    if count:
        return Words(f"does not jump, because {name} is {number(count)}, not 0")
    return Words(f"jumps to {_target(scene, scene.operands[0])}, because {name} is 0")


def _target(scene: Scene, operand: Operand) -> str:
    value = scene.value(operand)
    if value is None:
        return f"the address at {scene.named(operand)}"
    if operand.kind is OperandKind.IMMEDIATE:
        return scene.place(value)
    return f"{scene.place(value)}, from {scene.named(operand)}"


def _next(scene: Scene) -> int:
    return scene.decoded.address + scene.decoded.size


# Interrupts ------------------------------------------------------------------------------------

_INT = Idea(
    "A software interrupt takes the same way as one of a device: through the vector table, with "
    "flags, CS and instruction pointer on the stack. The processor does that by itself; no exit.",
    _DELIVERY,
)


def _int(scene: Scene) -> Words:
    vector = {"int3": 3, "int1": 1, "into": 4}.get(scene.decoded.mnemonic)
    if vector is None:
        vector = scene.value(scene.operands[0]) or 0
    if scene.decoded.mnemonic == "into" and not scene.flag("OF"):
        return Words("does nothing, because OF is 0")
    return Words(f"interrupts itself: {handler_of(scene, vector)}", _INT)


def _ud2(scene: Scene) -> Words:
    return Words(
        f"is an instruction that is none, on purpose: #UD; {handler_of(scene, 6)}",
        Idea("Every processor promises that this code raises #UD.", _DELIVERY),
    )


_IRET = Idea(
    "The handler is done. The frame that the delivery has pushed comes off the stack: instruction "
    "pointer, CS, flags (so IF is as before), and where the level changes the stack too. The "
    "processor does that by itself; KVM looks only whether an interrupt waits.",
    "Intel SDM vol. 3, 7.12.1 and 7.14.3; vol. 2A, IRET/IRETD/IRETQ",
)


def _iret(scene: Scene) -> Words:
    size = {"iret": 2, "iretd": 4}.get(scene.decoded.mnemonic, 8)
    back, selector, flags = (scene.stack(n, size) for n in range(3))
    if back is None or selector is None or flags is None:
        return Words("returns from an interrupt, but the stack can't be read", _IRET)
    base = selector << 4 if scene.bits == 16 else 0
    bit = FLAGS["if"][0]
    return Words(
        f"returns from the interrupt to {scene.place(back + base)}, with the flags {flags:#x}: IF "
        f"becomes {flags >> bit & 1}",
        _IRET,
    )


BRANCHES: dict[str, Explainer] = {
    **{f"j{code}": _jcc for code in CONDITIONS},
    **dict.fromkeys(("jmp", "ljmp"), _jmp),
    **dict.fromkeys(("call", "lcall"), _call),
    **dict.fromkeys(("ret", "retf", "retfq"), _ret),
    **dict.fromkeys(("loop", "loope", "loopne"), _loop),
    **dict.fromkeys(("jcxz", "jecxz", "jrcxz"), _jcxz),
    **dict.fromkeys(("int", "int1", "int3", "into"), _int),
    **dict.fromkeys(("ud0", "ud1", "ud2"), _ud2),
    **dict.fromkeys(("iret", "iretd", "iretq"), _iret),
}
