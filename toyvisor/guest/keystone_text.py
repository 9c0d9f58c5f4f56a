"""One instruction in the only spelling Keystone is trusted with: lower case, 0x literals."""

from __future__ import annotations

from toyvisor.guest import registers
from toyvisor.guest.checks import signed
from toyvisor.guest.operands import FarPointer, Immediate, Memory, Operand, Register

_UNSIGNED_BYTE = frozenset({"int", "in", "out", "enter"})


def instruction_text(mnemonic: str, operands: tuple[Operand, ...]) -> str:
    """The line to give to Keystone."""
    size = next((s for o in operands if (s := _size(o))), None)
    texts = [operand_text(o, None if mnemonic in _UNSIGNED_BYTE else size) for o in operands]
    return f"{mnemonic} {', '.join(texts)}".strip()


def _size(operand: Operand) -> int | None:
    if isinstance(operand, Register):
        return registers.SIZES.get(operand.name)
    return operand.size if isinstance(operand, Memory) else None


def operand_text(operand: Operand, size: int | None) -> str:
    """One operand; `size` (bytes) is the width that numbers are wrapped to."""
    match operand:
        case Register(name):
            return name
        case Immediate(number):
            return literal(signed(number, 8 * size) if size and size <= 8 else number)
        case FarPointer(segment, offset):
            return f"{literal(segment)}:{literal(offset)}"
        case Memory():
            return memory_text(operand)


def literal(number: int) -> str:
    """A number as Keystone reads it the same in every state."""
    return f"-{-number:#x}" if number < 0 else f"{number:#x}"


def memory_text(memory: Memory) -> str:
    """`dword ptr fs:[rax + rcx*4 + 0x10]`."""
    size = f"{registers.SIZE_NAMES[memory.size]} ptr " if memory.size and not memory.far else ""
    segment = f"{memory.segment}:" if memory.segment else ""
    parts: list[str] = []
    if memory.base:
        parts.append(memory.base)
    if memory.index:
        parts.append(f"{memory.index}*{memory.scale}" if memory.scale != 1 else memory.index)
    inside = " + ".join(parts)
    if not parts:
        inside = literal(memory.displacement)
    else:
        name = memory.base or memory.index or ""
        width = 8 * registers.SIZES.get(name, 8)
        distance = signed(memory.displacement, min(width, 32))
        if distance:
            inside += f" {'-' if distance < 0 else '+'} {abs(distance):#x}"
    return f"{size}{segment}[{inside}]"
