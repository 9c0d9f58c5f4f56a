"""What Keystone would accept and encode as something else, or die of, is refused here."""

from __future__ import annotations

from toyvisor.guest import registers
from toyvisor.guest.expressions import EvaluationError, fits
from toyvisor.guest.fixed import STRING_INSTRUCTIONS
from toyvisor.guest.operands import Immediate, Memory, Operand, Register

Operands = tuple[Operand, ...]

_LOCKABLE = frozenset(
    {
        "add", "adc", "and", "btc", "btr", "bts", "cmpxchg", "cmpxchg8b", "cmpxchg16b", "dec",
        "inc", "neg", "not", "or", "sbb", "sub", "xor", "xadd", "xchg",
    }
)  # fmt: skip
"""SDM vol. 2, LOCK: the only instructions, and only with a memory destination."""

SHIFTS = frozenset({"shl", "sal", "shr", "sar", "rol", "ror", "rcl", "rcr"})
_BYTE_IMMEDIATE = SHIFTS | {
    "aam", "aad", "xabort", "shld", "shrd", "bt", "bts", "btr", "btc", "int", "in", "out", "enter",
}  # fmt: skip
_NEEDS_SIZE = SHIFTS | {
    "inc", "dec", "neg", "not", "mul", "imul", "div", "idiv", "movzx", "movsx",
    "mov", "add", "adc", "sub", "sbb", "and", "or", "xor", "cmp", "test",
    "fld", "fst", "fstp", "fadd", "fsub", "fsubr", "fmul", "fdiv", "fdivr", "fcom", "fcomp",
    "fild", "fist", "fistp", "fisttp", "fiadd", "fisub", "fimul", "fidiv", "ficom", "ficomp",
    "cvtsi2sd", "cvtsi2ss", "crc32", "nop", "bt", "bts", "btr", "btc", "movsxd",
}  # fmt: skip
_EXTENDS = frozenset({"movzx", "movsx", "movsxd", "cvtsi2sd", "cvtsi2ss", "crc32"})
_REPEATED = frozenset({"movs", "stos", "lods", "ins", "outs"})


def check_prefixes(
    prefixes: tuple[str, ...], mnemonic: str, operands: Operands, column: int
) -> None:
    """`lock` and `rep` only where the processor knows them."""
    if len(prefixes) > 2 or len({p == "lock" for p in prefixes}) != len(prefixes):
        raise EvaluationError("too many prefixes", column)
    for prefix in prefixes:
        if prefix == "lock":
            _check_lock(mnemonic, operands, column)
        elif mnemonic not in STRING_INSTRUCTIONS and mnemonic not in ("ret", "retn"):
            raise EvaluationError(
                f"{prefix} does not repeat {mnemonic}", column,
                "only string instructions: movs, stos, lods, scas, cmps, ins, outs",
            )  # fmt: skip
        elif prefix in ("repne", "repnz") and mnemonic[:-1] in _REPEATED:
            raise EvaluationError(
                f"{prefix} has no meaning with {mnemonic}", column, f"write `rep {mnemonic}`"
            )


def _check_lock(mnemonic: str, operands: Operands, column: int) -> None:
    to_memory = bool(operands) and isinstance(operands[0], Memory)
    if mnemonic == "xchg":
        to_memory = any(isinstance(o, Memory) for o in operands)
    if mnemonic not in _LOCKABLE or not to_memory:
        raise EvaluationError(
            f"lock does not go with {mnemonic}{'' if to_memory else ' without memory to write'}",
            column,
            "the processor would raise #UD",
        )


def check_operands(mnemonic: str, operands: Operands, bits: int, column: int) -> None:
    """Registers that exist, sizes that are known, numbers that fit. Raises EvaluationError."""
    for operand in operands:
        if isinstance(operand, Register):
            _check_register(operand, bits)
    _check_high_bytes(mnemonic, operands)
    _check_destination(mnemonic, operands)
    _check_memory_size(mnemonic, operands)
    _check_immediates(mnemonic, operands, column)


def _check_register(register: Register, bits: int) -> None:
    name = register.name
    if name in registers.INSTRUCTION_POINTERS:
        raise EvaluationError(
            f"{name} is not an operand", register.column,
            "jmp, call and ret change it; `lea rax, [rip]` reads it",
        )  # fmt: skip
    if bits != 64 and name in registers.LONG_MODE_ONLY:
        raise EvaluationError(
            f"{name} exists only in 64-bit code, and this is {bits}-bit code", register.column
        )


def _check_high_bytes(mnemonic: str, operands: Operands) -> None:
    """ah, bh, ch, dh cannot be named when the instruction needs a REX prefix."""
    high = [o for o in operands if isinstance(o, Register) and o.name in registers.BYTE_HIGH]
    if not high:
        return
    for operand in operands:
        names: tuple[str | None, ...] = ()
        if isinstance(operand, Register):
            names = (operand.name,)
        elif isinstance(operand, Memory):
            names = (operand.base, operand.index)
            names = tuple(n for n in names if n and n[1:2].isdigit())
        for name in names:
            if name in registers.LONG_MODE_ONLY:
                raise EvaluationError(
                    f"{high[0].name} cannot be used together with {name}",
                    high[0].column,
                    "instructions with 64-bit or numbered registers name al, bl, cl, dl only",
                )


def _check_destination(mnemonic: str, operands: Operands) -> None:
    if not operands or mnemonic not in ("mov", "movzx", "movsx", "lea"):
        return
    match operands[0]:
        case Immediate(_, column):
            raise EvaluationError(
                f"{mnemonic} cannot write to a number", column, "memory is written in brackets"
            )
        case Register("cs", column):
            raise EvaluationError(
                "mov cannot write to cs", column, "load cs with a far jump, retf or iret"
            )


def _operand_size(operand: Operand) -> int | None:
    if isinstance(operand, Register):
        return registers.SIZES.get(operand.name) or registers.VECTOR.get(operand.name)
    return operand.size if isinstance(operand, Memory) else None


def _check_memory_size(mnemonic: str, operands: Operands) -> None:
    memories = [o for o in operands if isinstance(o, Memory)]
    if len(memories) != 1 or memories[0].size is not None or mnemonic not in _NEEDS_SIZE:
        return
    memory = memories[0]
    others = [o for o in operands if isinstance(o, Register)]
    if mnemonic in SHIFTS or (mnemonic in ("bt", "bts", "btr", "btc") and memory is operands[0]):
        others = [o for o in others if mnemonic not in SHIFTS]  # cl says nothing of the size
    if not others or mnemonic in _EXTENDS:
        raise EvaluationError(
            f"how many bytes does {mnemonic} access here?", memory.column,
            "write byte ptr, word ptr, dword ptr or qword ptr before the memory operand",
        )  # fmt: skip


def _check_immediates(mnemonic: str, operands: Operands, column: int) -> None:
    for position, operand in enumerate(operands):
        if not isinstance(operand, Immediate):
            continue
        if mnemonic in _BYTE_IMMEDIATE:
            limit = 16 if mnemonic == "enter" and position == 0 else 8
            if not 0 <= operand.number < 1 << limit:
                port = "ports above 255 stand in dx: mov dx, 0x3f8"
                hint = port if mnemonic in ("in", "out") else None
                raise _does_not_fit(operand, f"{limit} bits", hint)
            continue
        size = next((s for o in operands if (s := _operand_size(o))), None)
        if size is not None and size <= 8:
            to_register = isinstance(operands[0], Register) and mnemonic in ("mov", "movabs")
            _check_fits(operand, size, whole=to_register)


def _check_fits(immediate: Immediate, size: int, *, whole: bool) -> None:
    """`whole`: only mov to a register takes 64-bit numbers."""
    number, width = immediate.number, 8 * size
    if not fits(number, width, inverted=immediate.inverted):
        raise _does_not_fit(immediate, f"{width} bits")
    if size < 8 or whole:
        return
    if not -(1 << 31) <= signed(number, 64) < 1 << 31:
        raise _does_not_fit(
            immediate, "a signed 32-bit number", "load it into a register first with mov"
        )


def _does_not_fit(immediate: Immediate, what: str, hint: str | None = None) -> EvaluationError:
    number = immediate.number
    shown = str(number) if abs(number) < 100_000 else f"{number:#x}"
    return EvaluationError(f"{shown} does not fit in {what}", immediate.column, hint)


def signed(number: int, width: int) -> int:
    """The two's complement reading of the low `width` bits."""
    half = 1 << (width - 1)
    return (number + half) % (1 << width) - half
