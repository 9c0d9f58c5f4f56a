"""What the present instruction will do, with the values that it will find.

If it touches a device, that is what there is to say: it will leave the guest. If it touches a
virtqueue, what that means to the device. Else what it computes.
"""

from __future__ import annotations

import re

from toyvisor.debug.explain_arithmetic import ARITHMETIC, handler_of
from toyvisor.debug.explain_branches import BRANCHES
from toyvisor.debug.explain_moves import MOVES
from toyvisor.debug.explain_registers import register_idea
from toyvisor.debug.explain_ring_fields import LOADS, STORES
from toyvisor.debug.explain_system import SYSTEM
from toyvisor.debug.explanation import Explanation, Idea
from toyvisor.debug.instruction_scene import Scene, Spot, scene_at
from toyvisor.debug.instruction_words import BY_ITSELF, Explainer, Words, manual
from toyvisor.debug.views.register_places import decode_bits
from toyvisor.debug.views.registers import processor
from toyvisor.guest.decoded import Operand, OperandKind
from toyvisor.guest.program import Program
from toyvisor.kvm.exceptions import explain_emulation_failure
from toyvisor.qemu.machine import Machine

_EXPLAINERS: dict[str, Explainer] = {**MOVES, **ARITHMETIC, **BRANCHES, **SYSTEM}
#: They name a place in memory, and do not go there.
_NO_ACCESS = frozenset(("lea", "nop", "invlpg"))
_PAGE_FAULT = 14
_EPT = (
    "Linux arch/x86/kvm/vmx/vmx.c: handle_ept_violation(), handle_ept_misconfig(); Intel SDM vol. "
    "3, 29.3.3 (EPT-induced VM exits)"
)
#: Families of instructions on one page of the manual.
_PAGES = {
    "shl": "SAL/SAR/SHL/SHR", "shr": "SAL/SAR/SHL/SHR", "sar": "SAL/SAR/SHL/SHR",
    "rol": "RCL/RCR/ROL/ROR", "ror": "RCL/RCR/ROL/ROR", "rcl": "RCL/RCR/ROL/ROR",
    "rcr": "RCL/RCR/ROL/ROR", "ljmp": "JMP", "lcall": "CALL", "retf": "RET", "retfq": "RET",
    "movabs": "MOV", "loope": "LOOP/LOOPcc", "loopne": "LOOP/LOOPcc", "loop": "LOOP/LOOPcc",
    "jcxz": "Jcc", "jecxz": "Jcc", "jrcxz": "Jcc", "xlatb": "XLAT/XLATB", "movsxd": "MOVSX/MOVSXD",
    "movsx": "MOVSX/MOVSXD",
}  # fmt: skip


_FLAGS_ONLY = (
    "Nothing is changed but the flags; the conditional instruction that follows looks at them."
)
_WHYS = {
    "cmp": _FLAGS_ONLY,
    "test": _FLAGS_ONLY,
    "jcc": "A conditional jump looks at the flags that an instruction before it has set. The "
    "processor carries it out by itself.",
    "call": "The way back is kept on the stack, where RET finds it: so functions can call each "
    "other. The stack is plain RAM, so nothing exits.",
    "ret": "The way back is on the stack, where CALL has put it. If the stack has been "
    "overwritten, the guest goes on wherever the number there leads.",
    "lea": "An address is a sum; LEA computes it without going there, and is used for sums that "
    "are no addresses, too.",
}


_STRINGS = ("movs", "stos", "lods", "scas", "cmps")


_ASSIGNS = re.compile(r"[\w:]+ = ")


def explain_instruction(machine: Machine, program: Program) -> Explanation:
    """The instruction that comes next."""
    scene = scene_at(machine, program)
    if scene is None:
        return _no_instruction(machine)
    decoded = scene.decoded
    explainer = _EXPLAINERS.get(decoded.mnemonic, _any)
    words = explainer(scene)
    spots = _spots(scene)
    what = _sentence(words.what)
    idea = words.idea or Idea(_why(decoded.mnemonic), _page(decoded.mnemonic))
    for operand, spot in spots:
        if spot.physical is None:
            what += f" No page is mapped at {spot.linear:#x}: a page fault, #PF. "
            what += _sentence(handler_of(scene, _PAGE_FAULT))
            idea = _PAGE_FAULTS
        elif not spot.is_ram:
            what += _leaves(operand, spot, scene)
            idea = _device_idea(spot)
        elif found := _ring_idea(operand, spot):
            idea = found
    return Explanation(decoded.text, what, idea.why, idea.source)


_PAGE_FAULTS = Idea(
    "The guest's own page tables have no translation for this address. That is between the guest's "
    "program and its handler: with EPT, KVM does not hear of it.",
    "Intel SDM vol. 3, 5.7 (page-fault exceptions); Linux arch/x86/kvm/vmx/vmx.c: no #PF in the "
    "exception bitmap with EPT, vmx_update_exception_bitmap()",
)


def _no_instruction(machine: Machine) -> Explanation:
    """There is no RAM, or no code that anybody knows."""
    view = processor(machine).cpu.view
    rip = view.rip()
    code = view.read(rip, 15)
    if not code:
        physical = view.translate(rip)
        if physical is None:
            what = f"No page is mapped at {rip:#x}, where the guest is to go on: a page fault, #PF."
            return Explanation("no code", what, _PAGE_FAULTS.why, _PAGE_FAULTS.source)
        text = explain_emulation_failure(physical, "fetch", ran_on=machine.vcpu.ran_on)
        return Explanation("no code", _sentence(text), _FETCH.why, _FETCH.source)
    return Explanation(
        f".byte {code[0]:#04x}",
        f"The bytes {code.hex(' ')} at {rip:#x} are no instruction that is known here: #UD.",
        "The guest has jumped into something that is no code, or it uses an extension that this "
        "processor does not have.",
        "Intel SDM vol. 3, 7.15 (interrupt 6: invalid opcode)",
    )


_FETCH = Idea(
    "KVM emulates an access to a device by decoding the instruction; it can't decode what it can't "
    "read. So it gives up with KVM_EXIT_INTERNAL_ERROR.",
    "Linux arch/x86/kvm/x86.c: prepare_emulation_failure_exit()",
)


def _any(scene: Scene) -> Words:
    """An instruction without an explainer: what it touches."""
    reads = [scene.said(o) for o in scene.operands if o.is_read]
    writes = [scene.named(o) for o in scene.operands if o.is_written]
    parts = []
    if reads:
        parts.append(f"reads {', '.join(reads)}")
    if writes:
        parts.append(f"writes {', '.join(writes)}")
    what = " and ".join(parts)
    return Words(f"{scene.decoded.mnemonic.upper()} {what}" if what else
                 f"{scene.decoded.mnemonic.upper()} is carried out")  # fmt: skip


def _spots(scene: Scene) -> list[tuple[Operand, Spot]]:
    if scene.decoded.mnemonic in _NO_ACCESS:
        return []
    return [
        (operand, scene.spot_of(operand))
        for operand in scene.operands
        if operand.kind is OperandKind.MEMORY
    ]


def _leaves(operand: Operand, spot: Spot, scene: Scene) -> str:
    """The access has to be done by somebody else."""
    text = f" It will leave the guest: nothing is mapped at {spot.physical:#x}"
    if spot.register is None:
        return f"{text}, and no device is there either."
    text += f" = {spot.name}, {spot.register.meaning}."
    value = _stored(operand, scene)
    if value is not None and (bits := decode_bits(spot.register.bits, value)):
        text += f" {value:#x} there is {bits}."
    return text


def _stored(operand: Operand, scene: Scene) -> int | None:
    """What a MOV is about to store."""
    is_mov = scene.decoded.mnemonic == "mov" and operand.is_written and not operand.is_read
    return scene.value(scene.operands[1]) if is_mov else None


def _device_idea(spot: Spot) -> Idea:
    if spot.register is None:
        return Idea(
            "KVM hands the access to QEMU, which finds no device in its address space. A PC "
            "ignores such a store, and a load gives all ones.",
            f"QEMU system/memory.c: unassigned_mem_ops; {_EPT}",
        )
    return register_idea(spot.register)


def _ring_idea(operand: Operand, spot: Spot) -> Idea | None:
    if not spot.ram.field:
        return None
    return (STORES if operand.is_written else LOADS)[spot.ram.field]


def _why(mnemonic: str) -> str:
    if mnemonic in BRANCHES and mnemonic.startswith("j") and mnemonic != "jmp":
        mnemonic = "jcc"
    return _WHYS.get(mnemonic, BY_ITSELF)


def _page(mnemonic: str) -> str:
    """Where the manual has the instruction."""
    if mnemonic.startswith("cmov"):
        return manual("CMOVcc")
    if mnemonic.startswith("set"):
        return manual("SETcc")
    if mnemonic in BRANCHES and mnemonic.startswith("j") and mnemonic != "jmp":
        return manual("Jcc")
    if mnemonic[:-1] in _STRINGS and mnemonic in MOVES:
        return manual("/".join([mnemonic[:-1].upper(), *(f"{mnemonic[:-1].upper()}{w}" for w in
                                                         "BWDQ")]))  # fmt: skip
    return manual(_PAGES.get(mnemonic, mnemonic.upper()))


def _sentence(text: str) -> str:
    """`stores eax ...` gets a capital letter, `eax = 1` does not."""
    first = text if _ASSIGNS.match(text) else f"{text[0].upper()}{text[1:]}"
    return first if first.endswith(".") else f"{first}."
