"""Jumps, calls and loops to a place in the program: encoded here, not by Keystone.

Their size depends on the distance, and Keystone wraps a distance that does not fit.
Opcodes: Intel SDM vol. 2, Jcc, JMP, CALL, LOOPcc.
"""

from __future__ import annotations

from toyvisor.guest.expressions import EvaluationError
from toyvisor.guest.operands import FarPointer, Immediate

_CONDITIONS = (
    ("o",), ("no",), ("b", "c", "nae"), ("nb", "nc", "ae"), ("z", "e"), ("nz", "ne"),
    ("be", "na"), ("nbe", "a"), ("s",), ("ns",), ("p", "pe"), ("np", "po"), ("l", "nge"),
    ("nl", "ge"), ("le", "ng"), ("nle", "g"),
)  # fmt: skip
CONDITION_CODES = {name: code for code, names in enumerate(_CONDITIONS) for name in names}
"""Suffix of jcc, setcc and cmovcc to its condition number (SDM vol. 1, appendix B)."""

_CONDITIONAL = {f"j{name}": code for name, code in CONDITION_CODES.items()}
_LOOPS = {"loopne": 0xE0, "loopnz": 0xE0, "loope": 0xE1, "loopz": 0xE1, "loop": 0xE2}
_COUNTER_JUMPS = {"jcxz": 16, "jecxz": 32, "jrcxz": 64}
_FAR = {"jmp": 0xEA, "ljmp": 0xEA, "call": 0x9A, "lcall": 0x9A}


def is_branch(mnemonic: str) -> bool:
    """Whether a bare label as its operand is where it goes."""
    return (
        mnemonic in ("jmp", "call", "ljmp", "lcall")
        or mnemonic in _CONDITIONAL
        or mnemonic in _LOOPS
        or mnemonic in _COUNTER_JUMPS
    )


def encode_near(mnemonic: str, target: Immediate, address: int, bits: int, at_least: int) -> bytes:
    """The shortest form that reaches `target` and has `at_least` bytes.

    `at_least` is the size in the pass before: sizes only grow, so layout comes to rest.
    Raises EvaluationError when the target is out of reach.
    """
    if mnemonic in _LOOPS or mnemonic in _COUNTER_JUMPS:
        return _short_only(mnemonic, target, address, bits)
    wide = bits == 16 and target.size == 4
    opcode, short = _opcodes(mnemonic)
    if short is not None and target.reach != "near" and not wide:
        distance = _distance(target.number, address + 2, bits)
        if -128 <= distance < 128 and (at_least <= 2 or target.reach == "short"):
            return bytes([short, distance & 0xFF])
        if target.reach == "short":
            raise _too_far(mnemonic, target, distance, bits)
    size = 2 if bits == 16 and not wide else 4
    prefix = b"\x66" if wide else b""
    length = len(prefix) + len(opcode) + size
    distance = _distance(target.number, address + length, 32 if wide else bits)
    if not -(1 << (8 * size - 1)) <= distance < 1 << (8 * size - 1):
        raise _too_far(mnemonic, target, distance, bits)
    return prefix + opcode + (distance & ((1 << 8 * size) - 1)).to_bytes(size, "little")


def _opcodes(mnemonic: str) -> tuple[bytes, int | None]:
    if mnemonic == "jmp":
        return b"\xe9", 0xEB
    if mnemonic == "call":
        return b"\xe8", None
    code = _CONDITIONAL[mnemonic]
    return bytes([0x0F, 0x80 + code]), 0x70 + code


def _short_only(mnemonic: str, target: Immediate, address: int, bits: int) -> bytes:
    prefix, opcode = b"", _LOOPS.get(mnemonic, 0xE3)
    width = _COUNTER_JUMPS.get(mnemonic, bits)
    if width != bits:
        if (64 in (width, bits) and 16 in (width, bits)) or width == 64:
            raise EvaluationError(f"{mnemonic} does not exist in {bits}-bit code", target.column)
        prefix = b"\x67"
    distance = _distance(target.number, address + len(prefix) + 2, bits)
    if not -128 <= distance < 128:
        raise _too_far(mnemonic, target, distance, bits)
    return prefix + bytes([opcode, distance & 0xFF])


def _distance(target: int, after: int, bits: int) -> int:
    """Target minus next instruction; wrapped only where the instruction pointer wraps.

    16-bit code wraps within its 64 KiB, 32-bit code within 4 GiB: a target elsewhere is not
    reached by wrapping.
    """
    if target >> bits != after >> bits:
        return target - after
    distance = (target - after) & ((1 << bits) - 1)
    return distance - (1 << bits) if distance >> (bits - 1) else distance


def _too_far(mnemonic: str, target: Immediate, distance: int, bits: int) -> EvaluationError:
    short_only = mnemonic in _LOOPS or mnemonic in _COUNTER_JUMPS or target.reach == "short"
    limit = "127 bytes" if short_only else "32 KiB" if bits == 16 else "2 GiB"
    hint = None
    if target.reach == "short":
        hint = "leave out `short`"
    elif mnemonic == "loop":
        hint = "write `dec ecx` and `jnz` for a long loop"
    elif short_only:
        hint = "jump over a `jmp` with the opposite condition"
    return EvaluationError(
        f"{mnemonic} cannot reach that far: {abs(distance)} bytes, at most {limit}",
        target.column,
        hint,
    )


def encode_far(mnemonic: str, target: FarPointer, bits: int) -> bytes:
    """`jmp 0x08:label`: opcode, offset, selector (SDM vol. 2, JMP ptr16:16 and ptr16:32)."""
    if mnemonic not in _FAR:
        raise EvaluationError(f"{mnemonic} takes no segment:offset", target.column)
    if bits == 64:
        raise EvaluationError(
            "64-bit code has no far jump to a constant", target.column,
            "push the selector and the address, then retfq",
        )  # fmt: skip
    size = target.size or bits // 8
    if size not in (2, 4):
        raise EvaluationError("a far offset is a word or a dword", target.column)
    if not 0 <= target.segment < 1 << 16:
        raise EvaluationError(f"segment {target.segment:#x} does not fit in 16 bits", target.column)
    if not 0 <= target.offset < 1 << (8 * size):
        raise EvaluationError(
            f"offset {target.offset:#x} does not fit in {8 * size} bits", target.column,
            "write `jmp dword segment:offset`" if size == 2 else None,
        )  # fmt: skip
    prefix = b"" if size * 8 == bits else b"\x66"
    return (
        prefix
        + bytes([_FAR[mnemonic]])
        + target.offset.to_bytes(size, "little")
        + target.segment.to_bytes(2, "little")
    )
