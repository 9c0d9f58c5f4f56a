"""An instruction with its operands: what it reads, what it writes, at which address. Over Capstone.

For those who say what an instruction is going to do; the disassembler alone is faster.
"""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache
from typing import Any, NamedTuple

from toyvisor.guest.disassembler import MAX_INSTRUCTION_BYTES, engine
from toyvisor.modes import CpuMode

_REP, _REPNE, _LOCK = 0xF3, 0xF2, 0xF0
_READ, _WRITE = 1, 2  # CS_AC_*


class OperandKind(StrEnum):
    """What an operand is."""

    REGISTER = "register"
    IMMEDIATE = "immediate"
    MEMORY = "memory"


class Operand(NamedTuple):
    """One operand. `size` in bytes; names of registers in small letters, "" for none.

    REGISTER: `register`. IMMEDIATE: `value`, signed as written. MEMORY: segment, base, index,
    scale and `value`, the displacement.
    """

    kind: OperandKind
    size: int
    is_read: bool
    is_written: bool
    register: str = ""
    value: int = 0
    segment: str = ""
    base: str = ""
    index: str = ""  # type: ignore[assignment]  # the name of tuple's method, too
    scale: int = 1


class Decoded(NamedTuple):
    """One instruction. `mnemonic` is without prefixes; `repeat` is "rep", "repne" or "".

    `address_bits`: the width of its addresses, 16, 32 or 64.
    """

    address: int
    size: int
    mnemonic: str
    text: str
    operands: tuple[Operand, ...]
    repeat: str
    is_locked: bool
    address_bits: int


@lru_cache(maxsize=1024)
def decode(code: bytes, address: int, mode: CpuMode) -> Decoded | None:
    """The instruction that `code` begins with; None if it is no instruction or cut off."""
    for found in engine(mode, True).disasm(code[:MAX_INSTRUCTION_BYTES], address, 1):
        return _decoded(found, code, mode)
    return None


def _decoded(found: Any, code: bytes, mode: CpuMode) -> Decoded:
    prefixes = _prefixes(code[: found.size])
    words = found.mnemonic.split()
    is_string = words[0] in ("rep", "repe", "repz", "repne", "repnz") or words[-1] != words[0]
    repeat = ""
    if is_string and _REPNE in prefixes:
        repeat = "repne"
    elif is_string and _REP in prefixes:
        repeat = "rep"
    return Decoded(
        found.address,
        found.size,
        words[-1],
        f"{found.mnemonic} {found.op_str}".strip(),
        tuple(_operand(found, one) for one in found.operands),
        repeat,
        _LOCK in prefixes,
        8 * found.addr_size if found.addr_size else mode.bits,
    )


def _prefixes(code: bytes) -> frozenset[int]:
    """The bytes before the opcode that are REP, REPNE or LOCK."""
    found = set()
    for byte in code:
        if byte in (_REP, _REPNE, _LOCK):
            found.add(byte)
        elif byte not in (0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65, 0x66, 0x67):
            break
    return frozenset(found)


def _operand(found: Any, one: Any) -> Operand:
    from capstone import x86

    is_read, is_written = bool(one.access & _READ), bool(one.access & _WRITE)
    name = found.reg_name
    if one.type == x86.X86_OP_REG:
        return Operand(OperandKind.REGISTER, one.size, is_read, is_written, name(one.reg))
    if one.type == x86.X86_OP_IMM:
        return Operand(OperandKind.IMMEDIATE, one.size, True, False, value=one.imm)
    memory = one.mem
    return Operand(
        OperandKind.MEMORY,
        one.size,
        is_read,
        is_written,
        value=memory.disp,
        segment=name(memory.segment) or "",
        base=name(memory.base) or "",
        index=name(memory.index) or "",
        scale=memory.scale,
    )
