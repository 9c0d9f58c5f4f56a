"""Does the encoding say what the programmer asked for? Read it back with Capstone and compare.

Keystone silently truncates, changes or drops operands; this is the net below all checks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from toyvisor.guest import registers
from toyvisor.guest.branches import CONDITION_CODES
from toyvisor.guest.checks import SHIFTS
from toyvisor.guest.encoder import Decoded
from toyvisor.guest.operands import FarPointer, Immediate, Memory, Operand, Register

_SAME_MNEMONIC = {
    "sal": "shl", "movabs": "mov", "xlat": "xlatb", "retn": "ret", "lret": "retf",
    "lretq": "retfq", "pushal": "pushad", "popal": "popad", "pushaw": "pusha", "popaw": "popa",
    "wait": "fwait", "ud2a": "ud2", "ud2b": "ud1", "movsxd": "movsx", "lcall": "call",
    "ljmp": "jmp", "loopz": "loope", "loopnz": "loopne", "icebp": "int1", "jecxz": "jcxz",
    "jrcxz": "jcxz", "fsave": "fnsave", "movq": "movd", "setpe": "setp", "setpo": "setnp",
    "cmpxchg486": "cmpxchg", "fxsave64": "fxsave", "fxrstor64": "fxrstor",
    "fucompi": "fucomip", "fcompi": "fcomip",
    "xsave64": "xsave", "xrstor64": "xrstor", "sysretq": "sysret", "sysretl": "sysret",
}  # fmt: skip
_CONDITIONAL = re.compile(r"(j|set|cmov)([a-z]{1,3})\Z")
_UNORDERED = frozenset({"test", "xchg"})
_SIZE_FREE = frozenset({"lea", "jmp", "call", "bound", "lds", "les", "lfs", "lgs", "lss", "nop"})


def canonical_mnemonic(mnemonic: str) -> str:
    """One name for all spellings of an instruction."""
    match = _CONDITIONAL.match(mnemonic)
    if match and match.group(2) in CONDITION_CODES:
        return f"{match.group(1)}#{CONDITION_CODES[match.group(2)]}"
    return _SAME_MNEMONIC.get(mnemonic, mnemonic)


@dataclass(frozen=True, slots=True)
class _Address:
    """A memory operand reduced to what it means."""

    size: int | None
    segment: str | None
    registers: frozenset[tuple[str, int]]
    displacement: int


_Operand = str | int | _Address


_COMPARISONS = ("eq", "lt", "le", "unord", "neq", "nlt", "nle", "ord")
_COMPARE = re.compile(r"(v?cmp)(ps|pd|ss|sd)\Z")


def _compare_by_name(
    mnemonic: str, operands: tuple[Operand, ...]
) -> tuple[str, tuple[Operand, ...]]:
    """`cmpps a, b, 1` is `cmpltps a, b`, and Capstone knows only the latter."""
    match = _COMPARE.match(mnemonic)
    if match and operands and isinstance(operands[-1], Immediate):
        number = operands[-1].number
        if 0 <= number < len(_COMPARISONS):
            return match.group(1) + _COMPARISONS[number] + match.group(2), operands[:-1]
    return mnemonic, operands


def mismatch(
    mnemonic: str, operands: tuple[Operand, ...], bits: int, decoded: Decoded
) -> str | None:
    """None when `decoded` is what was asked, else what it is instead."""
    mnemonic, operands = _compare_by_name(mnemonic, operands)
    got = _split_mnemonic(decoded.mnemonic)
    shown = f"{decoded.mnemonic} {decoded.operands}".strip()
    if canonical_mnemonic(mnemonic) != canonical_mnemonic(got):
        popping = not operands and mnemonic.startswith("f") and got == mnemonic + "p"
        return None if popping else shown  # `fadd` alone is faddp, for every assembler
    if mnemonic.startswith("f") and not any(isinstance(o, Memory) for o in operands):
        return None  # the x87's implied st(0) is written in too many ways
    asked = [_asked(o, bits, decoded.size) for o in operands]
    found = [_parse(text, bits) for text in _split(decoded.operands)]
    if not asked:
        return None  # implied operands, which Capstone spells out
    if mnemonic == "imul" and len(asked) == 2 and isinstance(asked[1], int):
        asked = [asked[0], asked[0], asked[1]]
    if mnemonic in SHIFTS and asked[1:] == [1] and len(found) == 1:
        asked.pop()  # Capstone leaves the 1 of some out
    if len(asked) != len(found):
        return shown
    width = _width(operands)
    pairs = list(zip(asked, found, strict=True))
    if all(_same(a, f, width, mnemonic) for a, f in pairs):
        return None
    swapped = zip(asked, reversed(found), strict=True)
    if mnemonic in _UNORDERED and all(_same(a, f, width, mnemonic) for a, f in swapped):
        return None
    return shown


def _split_mnemonic(mnemonic: str) -> str:
    """Without the prefixes that Capstone writes before it."""
    return mnemonic.split()[-1] if mnemonic else mnemonic


def _width(operands: tuple[Operand, ...]) -> int:
    """The width in bits that numbers are compared in."""
    for operand in operands:
        if isinstance(operand, Register) and operand.name in registers.SIZES:
            return 8 * registers.SIZES[operand.name]
        if isinstance(operand, Memory) and operand.size is not None:
            return min(8 * operand.size, 64)
    return 64


def _asked(operand: Operand, bits: int, size: int) -> _Operand:
    match operand:
        case Register(name):
            return name
        case Immediate(number):
            return number
        case FarPointer(segment, offset):
            return f"{segment}:{offset}"
        case Memory():
            used: dict[str, int] = {}
            for part, scale in ((operand.base, 1), (operand.index, operand.scale)):
                if part:
                    used[part] = used.get(part, 0) + scale
            return _Address(
                operand.size,
                operand.segment,
                frozenset(used.items()),
                operand.displacement,
            )


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")] if text else []


_MEMORY = re.compile(r"(?:(\w+ )?ptr )?(?:(\w\w):)?\[(.*)\]\Z")


def _parse(text: str, bits: int) -> _Operand:
    match = _MEMORY.match(text)
    if match:
        return _parse_address(match)
    number = _number(text)
    return text if number is None else number


def _number(text: str) -> int | None:
    try:
        return int(text, 0)
    except ValueError:
        return None


def _parse_address(match: re.Match[str]) -> _Address:
    size, segment, inside = match.groups()
    used: dict[str, int] = {}
    displacement, sign = 0, 1
    for term in inside.split():
        if term in "+-":
            sign = 1 if term == "+" else -1
            continue
        number = _number(term)
        if number is not None:
            displacement += sign * number
            continue
        name, _, scale = term.partition("*")
        if name not in ("riz", "eiz"):
            used[name] = used.get(name, 0) + int(scale or 1)
    return _Address(
        registers.SIZE_KEYWORDS.get(size.strip()) if size else None,
        segment,
        frozenset(used.items()),
        displacement,
    )


def _same(asked: _Operand, found: _Operand, width: int, mnemonic: str) -> bool:
    if isinstance(asked, int) and isinstance(found, int):
        return (asked - found) % (1 << width) == 0
    if isinstance(asked, _Address) and isinstance(found, _Address):
        return _same_address(asked, found, mnemonic)
    if isinstance(asked, str) and isinstance(found, str):
        return asked == found or {asked, found} == {"st", "st(0)"}
    return False


def _same_address(asked: _Address, found: _Address, mnemonic: str) -> bool:
    sizes = asked.size is None or found.size is None or asked.size == found.size
    # An asked-for segment may vanish where it is the default anyway.
    on_stack = any(r in ("bp", "ebp", "rbp", "esp", "rsp") for r, _ in asked.registers)
    default = "ss" if on_stack else "ds"
    segments = asked.segment == found.segment or (asked.segment == default and not found.segment)
    name = next(iter(asked.registers), ("", 0))[0]
    width = 8 * registers.SIZES.get(name, 8)
    return (
        (sizes or canonical_mnemonic(mnemonic) in _SIZE_FREE)
        and segments
        and asked.registers == found.registers
        and (asked.displacement - found.displacement) % (1 << min(width, 64)) == 0
    )
