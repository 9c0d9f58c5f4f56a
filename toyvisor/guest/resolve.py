"""From operands as written to operands with numbers, for one place in the program."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from toyvisor.guest import branches, registers
from toyvisor.guest.expressions import EvaluationError, Expression, Value
from toyvisor.guest.operands import (
    FarPointer,
    FarSource,
    Immediate,
    ImmediateSource,
    Memory,
    MemorySource,
    Operand,
    OperandSource,
    Register,
)
from toyvisor.guest.statements import Instruction

Evaluate = Callable[[Expression], Value]

_MEMORY_ONLY = frozenset(
    {
        "lea", "lgdt", "lidt", "sgdt", "sidt", "invlpg", "fxsave", "fxrstor", "fxsave64",
        "fxrstor64", "clflush", "cmpxchg8b", "cmpxchg16b", "ldmxcsr", "stmxcsr", "prefetcht0",
        "prefetcht1", "prefetcht2", "prefetchnta", "fldcw", "fnstcw", "fstcw", "fldenv",
    }
)  # fmt: skip
"""Instructions whose bare `label` can only be memory, in any assembler."""


def resolve(instruction: Instruction, source: OperandSource, evaluate: Evaluate) -> Operand:
    """The operand with its numbers. Raises SourceError or EvaluationError."""
    match source:
        case Register():
            return source
        case ImmediateSource():
            return _immediate(instruction, source, evaluate)
        case FarSource():
            return FarPointer(
                _plain(source.segment, evaluate),
                _plain(source.offset, evaluate),
                source.column,
                source.size,
            )
        case MemorySource():
            values = [evaluate(part) for part in source.parts]
            return _memory(instruction, source, values)


def _plain(expression: Expression, evaluate: Evaluate) -> int:
    value = evaluate(expression)
    for register in value.registers:
        raise expression.error(f"register {register} cannot stand here")
    return value.number


def _immediate(instruction: Instruction, source: ImmediateSource, evaluate: Evaluate) -> Operand:
    value = evaluate(source.value)
    for register in value.registers:
        raise source.value.error(
            f"register {register} in a number", "memory is written in brackets: [rax + 8]"
        )
    if value.labels not in (0, 1):
        raise source.value.error("the sum of addresses means nothing")
    mnemonic = instruction.mnemonic
    to_memory = source.pointer or (mnemonic in _MEMORY_ONLY and value.is_address)
    if source.pointer and not value.is_address and not source.reach:
        raise source.value.error(
            "a plain number is no memory operand",
            f"memory is written in brackets: [{source.value.text}]",
        )
    if to_memory and not source.offset and not source.reach:
        memory = MemorySource((source.value,), source.column, source.size)
        return _memory(instruction, memory, [value])
    known = source.offset or instruction.nasm or branches.is_branch(mnemonic)
    if value.is_address and not known:
        text = source.value.text
        raise source.value.error(
            f"'{text}' is the address for NASM, and the memory there for GNU as: say which",
            f"write `offset {text}` for the address, `[{text}]` for the memory",
        )
    return Immediate(
        value.number, source.column, source.size, source.reach, inverted=value.inverted
    )


def _memory(instruction: Instruction, source: MemorySource, values: list[Value]) -> Memory:
    number = sum(v.number for v in values)
    labels = sum(v.labels for v in values)
    used: dict[str, int] = {}
    for value in values:
        for register, count in value.registers.items():
            used[register] = used.get(register, 0) + count
    if labels not in (0, 1):
        raise EvaluationError("the sum of addresses means nothing", source.column)
    relative = source.relative
    if relative is None and not used and source.segment is None:
        relative = labels == 1 and instruction.default_relative and instruction.bits == 64
    if relative or "rip" in used:
        return _relative(instruction, source, used, number, to_target=bool(relative or labels))
    base, index, scale = _registers(instruction, source.column, used)
    memory = Memory(
        number, base, index, scale, source.segment, source.size, source.column, far=source.far
    )
    _check_displacement(instruction, memory)
    return memory


def _relative(
    instruction: Instruction,
    source: MemorySource,
    used: Mapping[str, int],
    number: int,
    *,
    to_target: bool,
) -> Memory:
    if instruction.bits != 64:
        raise EvaluationError(
            "addresses relative to rip exist only in 64-bit code", source.column,
            "write [label] in 16- and 32-bit code",
        )  # fmt: skip
    if used and dict(used) != {"rip": 1}:
        raise EvaluationError("rip cannot be combined with other registers", source.column)
    return Memory(
        number, "rip", None, 1, source.segment, source.size, source.column, to_target, source.far
    )


def _registers(
    instruction: Instruction, column: int, used: Mapping[str, int]
) -> tuple[str | None, str | None, int]:
    """Base, index and scale for the registers of an address, or why there is none."""
    widths = {registers.SIZES.get(name, 0) * 8 for name in used}
    for name, count in used.items():
        if registers.SIZES.get(name, 0) < 2:
            raise EvaluationError(f"{name} cannot address memory", column)
        if count < 0:
            raise EvaluationError(f"register {name} cannot be subtracted", column)
    if len(widths) > 1:
        names = " and ".join(used)
        raise EvaluationError(f"{names} have different widths", column)
    width = widths.pop() if widths else instruction.bits
    _check_width(instruction, column, width, used)
    if width == 16:
        return _registers_16(column, used)
    return _registers_32(column, used)


def _check_width(
    instruction: Instruction, column: int, width: int, used: Mapping[str, int]
) -> None:
    name = next(iter(used), "")
    if width == 16 and instruction.bits == 64:
        raise EvaluationError(
            f"{name} cannot address memory in 64-bit code", column, f"use r{name[-2:]}"
        )
    if width == 64 and instruction.bits != 64:
        raise EvaluationError(
            f"{name} exists only in 64-bit code, and this is {instruction.bits}-bit code",
            column,
            f"use e{name[1:]}" if name[1:].isalpha() else None,
        )


def _registers_16(column: int, used: Mapping[str, int]) -> tuple[str | None, str | None, int]:
    bases = [n for n in used if n in ("bx", "bp")]
    indexes = [n for n in used if n in ("si", "di")]
    if len(bases) + len(indexes) != len(used) or len(bases) > 1 or len(indexes) > 1:
        raise EvaluationError(
            f"{' + '.join(used)} cannot address memory in 16-bit code",
            column,
            "only bx or bp, plus si or di, plus a number",
        )
    if any(count != 1 for count in used.values()):
        raise EvaluationError("16-bit addresses have no scale", column)
    if bases:
        return bases[0], indexes[0] if indexes else None, 1
    return (indexes[0] if indexes else None), None, 1


def _registers_32(column: int, used: Mapping[str, int]) -> tuple[str | None, str | None, int]:
    if len(used) > 2:
        raise EvaluationError("an address has at most two registers", column)
    pairs = sorted(used.items(), key=lambda pair: pair[1])
    match pairs:
        case []:
            return None, None, 1
        case [(one, 1)]:
            return one, None, 1
        case [(one, count)] if count in (2, 4, 8):
            found: tuple[str | None, str | None, int] = (None, one, count)
        case [(one, count)] if count in (3, 5, 9):
            found = (one, one, count - 1)
        case [(base, 1), (index, 1)] if index in ("esp", "rsp"):
            found = (index, base, 1)
        case [(base, 1), (index, count)] if count in (1, 2, 4, 8):
            found = (base, index, count)
        case _:
            raise EvaluationError("the scale of an index is 1, 2, 4 or 8", column)
    if found[1] in ("esp", "rsp"):
        raise EvaluationError(f"{found[1]} cannot be scaled", column)
    return found


def _check_displacement(instruction: Instruction, memory: Memory) -> None:
    name = memory.base or memory.index
    width = registers.SIZES[name] * 8 if name else instruction.bits
    number = memory.displacement
    if width == 64:
        if -(1 << 31) <= number < 1 << 31 or instruction.mnemonic == "movabs":
            return
        raise EvaluationError(
            f"{number:#x} does not fit: 64-bit code adds a signed 32-bit number to an address",
            memory.column,
            "load it into a register first: mov rdi, <address>, then [rdi]",
        )
    if not -(1 << (width - 1)) <= number < 1 << width:
        raise EvaluationError(f"{number:#x} does not fit in a {width}-bit address", memory.column)
