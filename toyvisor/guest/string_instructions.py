"""String instructions written with their operands: `movsb es:[di], cs:[si]`.

The operands are fixed; what can be said with them is only the segment of the source.
"""

from __future__ import annotations

from toyvisor.guest.expressions import EvaluationError
from toyvisor.guest.operands import Memory, Operand, Register

_PREFIXES = {"es": 0x26, "cs": 0x2E, "ss": 0x36, "ds": 0x3E, "fs": 0x64, "gs": 0x65}
_ACCUMULATOR = {"b": "al", "w": "ax", "d": "eax", "q": "rax"}
_WIDTH = {"b": 1, "w": 2, "d": 4, "q": 8}
SHAPES: dict[str, tuple[str, ...]] = {
    "movs": ("di", "si"), "cmps": ("si", "di"), "stos": ("di", "a"), "lods": ("a", "si"),
    "scas": ("a", "di"), "ins": ("di", "dx"), "outs": ("dx", "si"),
}  # fmt: skip
"""Intel's order of operands; of two, the accumulator may be left out."""


def segment_prefix(mnemonic: str, operands: tuple[Operand, ...], bits: int) -> bytes:
    """The prefix for the operands as written. Raises EvaluationError for any but the fixed ones."""
    shape = SHAPES[mnemonic[:-1]]
    if len(operands) == 1:
        shape = tuple(part for part in shape if part != "a")
    if len(operands) != len(shape):
        raise _wrong(mnemonic, operands[0], bits)
    found = b""
    for operand, part in zip(operands, shape, strict=True):
        if not _fits(operand, part, mnemonic[-1], bits):
            raise _wrong(mnemonic, operand, bits)
        if part == "si" and isinstance(operand, Memory) and operand.segment not in (None, "ds"):
            found = bytes([_PREFIXES[operand.segment]])
    return found


def _letter(bits: int) -> str:
    return {16: "", 32: "e", 64: "r"}[bits]


def _fits(operand: Operand, part: str, suffix: str, bits: int) -> bool:
    match operand:
        case Memory(base=base, index=None, displacement=0, segment=segment, size=size):
            return (
                part in ("si", "di")
                and base == _letter(bits) + part
                and (part == "si" or segment in (None, "es"))
                and size in (None, _WIDTH[suffix])
            )
        case Register(name):
            wanted = {"dx": "dx", "a": _ACCUMULATOR[suffix]}
            return name == wanted.get(part)
    return False


def _wrong(mnemonic: str, operand: Operand, bits: int) -> EvaluationError:
    letter = _letter(bits)
    return EvaluationError(
        f"{mnemonic} cannot choose its operands",
        operand.column,
        f"write just `{mnemonic}`: it always uses [{letter}si] and [{letter}di]",
    )
