"""One instruction with numbers for operands to its bytes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from toyvisor.guest import branches, checks, registers
from toyvisor.guest.encoder import Encoded, Encoder, EncoderError
from toyvisor.guest.expressions import EvaluationError
from toyvisor.guest.fixed import encode_fixed
from toyvisor.guest.keystone_text import instruction_text
from toyvisor.guest.operands import FarPointer, Immediate, Memory, Operand, Register
from toyvisor.guest.string_instructions import SHAPES
from toyvisor.guest.verify import mismatch

_PREFIX_BYTES = {
    "lock": 0xF0,
    "rep": 0xF3,
    "repe": 0xF3,
    "repz": 0xF3,
    "repne": 0xF2,
    "repnz": 0xF2,
}

_WAITING = {
    "finit": "fninit", "fclex": "fnclex", "fstcw": "fnstcw", "fstsw": "fnstsw",
    "fsave": "fnsave", "fstenv": "fnstenv",
}  # fmt: skip
"""x87 instructions that are an fwait and the form without one (SDM vol. 1, 8.6)."""


@dataclass(frozen=True, slots=True)
class Concrete:
    """An instruction whose operands are numbers."""

    mnemonic: str
    operands: tuple[Operand, ...]
    prefixes: tuple[str, ...]
    bits: int
    column: int


def encode(encoder: Encoder, wanted: Concrete, address: int, at_least: int = 0) -> bytes:
    """The bytes of an instruction at `address`; `at_least` only concerns jumps (branches.py).

    Raises EvaluationError.
    """
    wanted = _name_string_instruction(wanted)
    checks.check_prefixes(wanted.prefixes, wanted.mnemonic, wanted.operands, wanted.column)
    prefix = bytes(_PREFIX_BYTES[p] for p in wanted.prefixes)
    return prefix + _without_prefixes(encoder, wanted, address + len(prefix), at_least)


def _name_string_instruction(wanted: Concrete) -> Concrete:
    """`movs byte ptr [rdi], byte ptr [rsi]` is movsb."""
    sizes = [o.size for o in wanted.operands if isinstance(o, Memory) and o.size]
    if wanted.mnemonic not in SHAPES or not sizes or sizes[0] not in (1, 2, 4, 8):
        return wanted
    suffix = {1: "b", 2: "w", 4: "d", 8: "q"}[sizes[0]]
    return replace(wanted, mnemonic=wanted.mnemonic + suffix)


def _without_prefixes(encoder: Encoder, wanted: Concrete, address: int, at_least: int) -> bytes:
    mnemonic, operands, bits = wanted.mnemonic, wanted.operands, wanted.bits
    match operands:
        case (FarPointer() as pointer,):
            return branches.encode_far(mnemonic, pointer, bits)
        case (Immediate() as segment, Immediate() as offset) if mnemonic in ("ljmp", "lcall"):
            far = FarPointer(segment.number, offset.number, segment.column)
            return branches.encode_far(mnemonic, far, bits)
        case (Immediate() as target,) if branches.is_branch(mnemonic):
            if mnemonic in ("ljmp", "lcall") or target.reach == "far":
                raise EvaluationError(
                    f"{mnemonic} needs segment:offset", target.column, "jmp 0x08:label"
                )
            return branches.encode_near(mnemonic, target, address, bits, at_least)
    checks.check_operands(mnemonic, operands, bits, wanted.column)
    if mnemonic.endswith("64") and bits != 64 and operands:
        raise EvaluationError(f"{mnemonic} does not exist in {bits}-bit code", wanted.column)
    fixed = encode_fixed(mnemonic, operands, bits, wanted.column)
    if fixed is not None:
        return fixed
    if mnemonic in _WAITING:
        inner = replace(wanted, mnemonic=_WAITING[mnemonic])
        return b"\x9b" + _by_keystone(encoder, inner, address + 1)
    return _by_keystone(encoder, _normalise(wanted), address)


def _normalise(wanted: Concrete) -> Concrete:
    """Spellings Keystone does not know, to those it does."""
    mnemonic, operands = wanted.mnemonic, wanted.operands
    match mnemonic, operands:
        case (("jmp" | "call"), (Memory() as memory,)) if memory.far or memory.size == 6:
            far = replace(memory, size=None, far=True)
            return replace(wanted, mnemonic="l" + mnemonic, operands=(far,))
        case (("jmp" | "call"), (Memory(size=4) as memory,)) if wanted.bits == 16:
            raise EvaluationError(
                f"`{mnemonic} dword` is far for GNU as, and near with 32 bits for NASM",
                memory.column,
                f"write `{mnemonic} far [...]` or `{mnemonic} word ptr [...]`",
            )
        case (("push" | "pop"), (Memory(size=None) as memory,)):
            return replace(wanted, operands=(replace(memory, size=wanted.bits // 8),))
        case "mov", (Register(to), Register(name)) if (
            wanted.bits != 16 and to in registers.SEGMENTS and registers.SIZES.get(name) == 2
        ):  # the processor reads 16 bits anyway; this saves a prefix
            return replace(wanted, operands=(operands[0], Register(_widen(name, 4))))
        case "movsx", (Register(), Register(name)) if registers.SIZES.get(name) == 4:
            return replace(wanted, mnemonic="movsxd")
        case "movsx", (Register(), Memory(size=4)):
            return replace(wanted, mnemonic="movsxd")
        case (("shl" | "sal" | "shr" | "sar" | "rol" | "ror" | "rcl" | "rcr"), (only,)):
            return replace(wanted, operands=(only, Immediate(1, wanted.column)))
        case (("lar" | "lsl"), (Register(), Register(name))) if registers.SIZES.get(name) == 2:
            # The source is 16 bits wide in either spelling; Keystone knows only the wide one.
            size = registers.SIZES.get(operands[0].name, 2)  # type: ignore[union-attr]
            source = _widen(name, size)
            return replace(wanted, operands=(operands[0], Register(source)))
    return wanted


def _widen(name: str, size: int) -> str:
    stem = name[:-1] if name[1].isdigit() else name
    if size == 2:
        return name
    if stem[1].isdigit():
        return stem + ("d" if size == 4 else "")
    return ("e" if size == 4 else "r") + name


def _by_keystone(encoder: Encoder, wanted: Concrete, address: int) -> bytes:
    memory = next((o for o in wanted.operands if isinstance(o, Memory)), None)
    if memory is not None and memory.segment == "ds":
        return _with_ds(encoder, wanted, memory, address)
    if memory is not None and wanted.bits == 64:
        if memory.base == "rip":
            return _relative(encoder, wanted, memory, address)
        if memory.is_absolute and wanted.mnemonic != "movabs":
            return _absolute(encoder, wanted, memory)
    return _checked(encoder, wanted)


_STACK_BASES = frozenset({"bp", "ebp", "rbp", "esp", "rsp"})


def _with_ds(encoder: Encoder, wanted: Concrete, memory: Memory, address: int) -> bytes:
    """Keystone drops every ds:, also where the default is ss (SDM vol. 1, table 3-5)."""
    plain = replace(wanted, operands=_with_memory(wanted, replace(memory, segment=None)))
    prefix = b"\x3e" if memory.base in _STACK_BASES else b""
    return prefix + _by_keystone(encoder, plain, address + len(prefix))


def _relative(encoder: Encoder, wanted: Concrete, memory: Memory, address: int) -> bytes:
    """The distance counts from the end of the instruction, so its length comes first."""
    if not memory.to_target:
        return _checked(encoder, wanted)
    length = len(_ask(encoder, wanted, instruction_text(
        wanted.mnemonic, _with_memory(wanted, replace(memory, displacement=0))
    )).code)  # fmt: skip
    distance = checks.signed(memory.displacement - address - length, 64)
    if not -(1 << 31) <= distance < 1 << 31:
        raise EvaluationError(
            f"the target is {abs(distance):#x} bytes away, more than rip can reach", memory.column,
            "load the address into a register first: mov rax, <address>, then [rax]",
        )  # fmt: skip
    moved = replace(memory, displacement=distance, to_target=False)
    return _checked(encoder, replace(wanted, operands=_with_memory(wanted, moved)))


def _with_memory(wanted: Concrete, memory: Memory) -> tuple[Operand, ...]:
    return tuple(memory if isinstance(o, Memory) else o for o in wanted.operands)


def _absolute(encoder: Encoder, wanted: Concrete, memory: Memory) -> bytes:
    """A plain [number] in 64-bit code: ModRM with a SIB byte that names no register.

    Keystone would make it relative to rip, right at one load address only. It is asked for
    two scaled indexes instead; the byte in which they differ is the SIB byte.
    """
    codes = [
        _ask(encoder, wanted, instruction_text(
            wanted.mnemonic, _with_memory(wanted, replace(memory, index=index, scale=2))
        )).code
        for index in ("rbp", "rsi")
    ]  # fmt: skip
    places = [i for i, pair in enumerate(zip(*codes, strict=False)) if pair[0] != pair[1]]
    if len(places) != 1 or len(codes[0]) != len(codes[1]) or codes[0][places[0]] != 0x6D:
        raise EvaluationError(
            f"{wanted.mnemonic} cannot use a plain address here", memory.column,
            "load the address into a register first",
        )  # fmt: skip
    code = bytearray(codes[0])
    code[places[0]] = 0x25  # base and index "none": disp32 alone (SDM vol. 2, table 2-3)
    answer = encoder.decode(wanted.bits, bytes(code))
    return _accept(wanted, answer)


_TABLE_REGISTERS = frozenset({"lgdt", "lidt", "sgdt", "sidt"})


def _checked(encoder: Encoder, wanted: Concrete) -> bytes:
    text = instruction_text(wanted.mnemonic, wanted.operands)
    answer = _ask(encoder, wanted, text)
    if wanted.bits == 32 and wanted.mnemonic in _TABLE_REGISTERS:
        # Keystone adds a 66 here, and the processor would use only 24 bits of the base.
        code = answer.code.replace(b"\x66\x0f\x01", b"\x0f\x01", 1)
        answer = encoder.decode(wanted.bits, code)
    return _accept(wanted, answer)


def _ask(encoder: Encoder, wanted: Concrete, text: str) -> Encoded:
    try:
        answer = encoder.encode(wanted.bits, text)
    except EncoderError as error:
        raise _refused(wanted, error) from None
    if answer.count != 1 or not answer.code:
        raise _bad_operands(wanted)
    return answer


def _accept(wanted: Concrete, answer: Encoded) -> bytes:
    """The code if it is exactly the one instruction that was asked for."""
    if len(answer.instructions) != 1 or answer.instructions[0].size != len(answer.code):
        raise _bad_operands(wanted)
    other = mismatch(wanted.mnemonic, wanted.operands, wanted.bits, answer.instructions[0])
    if other is not None:
        raise EvaluationError(
            f"this cannot be encoded: the nearest instruction is `{other}`", wanted.column
        )
    return answer.code


def _refused(wanted: Concrete, error: EncoderError) -> EvaluationError:
    if error.unknown:
        close = [name for name in error.close if name != wanted.mnemonic]
        hint = f"did you mean {' or '.join(close)}?" if close else None
        return EvaluationError(
            f"unknown instruction '{wanted.mnemonic}'",
            wanted.column,
            hint or "a label needs a colon after it",
        )
    if "crashed" in error.message or "took more" in error.message:
        return EvaluationError(
            f"the encoder {error.message} on this instruction",
            wanted.column,
        )
    return _bad_operands(wanted)


def _bad_operands(wanted: Concrete) -> EvaluationError:
    sizes = {
        s for o in wanted.operands
        if isinstance(o, Register) and (s := registers.SIZES.get(o.name))
    }  # fmt: skip
    memories = [o for o in wanted.operands if isinstance(o, Memory)]
    hint = None
    if wanted.mnemonic in checks.SHIFTS and len(wanted.operands) == 2:
        hint = "the count is a number or cl"
    elif wanted.mnemonic in ("in", "out"):
        hint = "the port is a number or dx, the data al, ax or eax"
    elif len(memories) > 1:
        hint = "an instruction has at most one memory operand: go through a register"
    elif len(sizes) > 1:
        hint = "the operands have different sizes"
    elif memories and memories[0].size is None:
        hint = "write byte ptr, word ptr, dword ptr or qword ptr before the memory operand"
    return EvaluationError(
        f"{wanted.mnemonic} does not take these operands in {wanted.bits}-bit code",
        wanted.column,
        hint,
    )
