"""Instructions Keystone does not know or gets wrong in some mode, encoded by hand.

Each form says its operand size; the prefix follows from it and from the width of the code:
66 for the other of 16 and 32 bits, REX.W (48) for 64 (Intel SDM vol. 2, 2.1.1 and 2.2.1).
"""

from __future__ import annotations

from dataclasses import dataclass

from toyvisor.guest import registers, string_instructions
from toyvisor.guest.expressions import EvaluationError
from toyvisor.guest.operands import Immediate, Operand, Register


@dataclass(frozen=True, slots=True)
class _Form:
    """Opcode, operand size in bits (None: the size the mode has), and the modes that have it."""

    opcode: bytes
    size: int | None = None
    modes: tuple[int, ...] = (16, 32, 64)
    promoted: bool = False
    """In 64-bit code the operand is 64 bits wide without REX.W (pushf, ret)."""


def _form(
    opcode: str, size: int | None = None, modes: tuple[int, ...] = (16, 32, 64), *,
    promoted: bool = False,
) -> _Form:  # fmt: skip
    return _Form(bytes.fromhex(opcode), size, modes, promoted)


_STRINGS = {"movs": 0xA4, "cmps": 0xA6, "stos": 0xAA, "lods": 0xAC, "scas": 0xAE}
_PORT_STRINGS = {"ins": 0x6C, "outs": 0x6E}
_LEGACY = (16, 32)

_FORMS: dict[str, _Form] = {
    "cbw": _form("98", 16), "cwde": _form("98", 32), "cdqe": _form("98", 64, (64,)),
    "cwd": _form("99", 16), "cdq": _form("99", 32), "cqo": _form("99", 64, (64,)),
    "pushf": _form("9c"), "pushfd": _form("9c", 32, _LEGACY), "pushfw": _form("9c", 16),
    "pushfq": _form("9c", 64, (64,), promoted=True),
    "popf": _form("9d"), "popfd": _form("9d", 32, _LEGACY), "popfw": _form("9d", 16),
    "popfq": _form("9d", 64, (64,), promoted=True),
    "pusha": _form("60", None, _LEGACY), "pushaw": _form("60", 16, _LEGACY),
    "pushad": _form("60", 32, _LEGACY), "popa": _form("61", None, _LEGACY),
    "popaw": _form("61", 16, _LEGACY), "popad": _form("61", 32, _LEGACY),
    "iret": _form("cf", None, _LEGACY), "iretw": _form("cf", 16), "iretd": _form("cf", 32),
    "iretq": _form("cf", 64, (64,)),
    "ret": _form("c3"), "retn": _form("c3"), "retf": _form("cb"), "lret": _form("cb"),
    "retfq": _form("cb", 64, (64,)), "lretq": _form("cb", 64, (64,)),
    "sysretl": _form("0f07", None, (64,)), "sysretq": _form("0f07", 64, (64,)),
    "sysexit": _form("0f35"), "sysexitq": _form("0f35", 64, (64,)), "sysenter": _form("0f34"),
    "leave": _form("c9"), "into": _form("ce", None, _LEGACY), "int3": _form("cc"),
    "int1": _form("f1"), "icebp": _form("f1"), "salc": _form("d6", None, _LEGACY),
    "aaa": _form("37", None, _LEGACY), "aas": _form("3f", None, _LEGACY),
    "daa": _form("27", None, _LEGACY), "das": _form("2f", None, _LEGACY),
    "endbr64": _form("f30f1efa"), "endbr32": _form("f30f1efb"), "xlat": _form("d7"),
    "xlatb": _form("d7"), "wait": _form("9b"), "fwait": _form("9b"), "rsm": _form("0faa"),
    "ud1": _form("0fb9"), "clac": _form("0f01ca"), "stac": _form("0f01cb"),
    "serialize": _form("0f01e8"), "rdtscp": _form("0f01f9"), "wbnoinvd": _form("f30f09"),
    "vmcall": _form("0f01c1"), "vmmcall": _form("0f01d9"), "xgetbv": _form("0f01d0"),
    "xsetbv": _form("0f01d1"), "swapgs": _form("0f01f8", None, (64,)),
    "syscall": _form("0f05"),
}  # fmt: skip
_FORMS |= {
    f"{name}{suffix}": _Form(bytes([opcode + (size > 8)]), size if size > 8 else None,
                             (64,) if size == 64 else (16, 32, 64))
    for table, sizes in ((_STRINGS, (8, 16, 32, 64)), (_PORT_STRINGS, (8, 16, 32)))
    for name, opcode in table.items()
    for suffix, size in zip("bwdq", sizes, strict=False)
}  # fmt: skip

STRING_INSTRUCTIONS = frozenset(
    f"{name}{s}" for table in (_STRINGS, _PORT_STRINGS) for name in table for s in "bwdq"
)

_AMBIGUOUS_IN_LONG_MODE = {
    "iret": "iretq (or iretd, for a 32-bit frame)",
    "sysret": "sysretq (or sysretl, to 32-bit code)",
}


def encode_fixed(
    mnemonic: str, operands: tuple[Operand, ...], bits: int, column: int
) -> bytes | None:
    """The bytes of an instruction this table knows, else None. Raises EvaluationError."""
    if operands and mnemonic in STRING_INSTRUCTIONS and not _is_vector(operands):
        return string_instructions.segment_prefix(mnemonic, operands, bits) + _plain(mnemonic, bits)
    if operands:
        known = _with_operand(mnemonic, operands, bits)
        if known is None and mnemonic in _FORMS and not _is_vector(operands):
            raise EvaluationError(f"{mnemonic} does not take these operands", operands[0].column)
        return known
    if bits == 64 and mnemonic in _AMBIGUOUS_IN_LONG_MODE:
        raise EvaluationError(
            f"{mnemonic} would be the 32-bit form in 64-bit code", column,
            f"write {_AMBIGUOUS_IN_LONG_MODE[mnemonic]}",
        )  # fmt: skip
    form = _FORMS.get(mnemonic)
    if form is not None and bits not in form.modes:
        raise EvaluationError(f"{mnemonic} does not exist in {bits}-bit code", column)
    return None if form is None else _plain(mnemonic, bits)


def _plain(mnemonic: str, bits: int) -> bytes:
    form = _FORMS[mnemonic]
    return _size_prefix(form, bits) + form.opcode


def _is_vector(operands: tuple[Operand, ...]) -> bool:
    """`movsd xmm0, xmm1` shares its name with the string instruction."""
    return any(isinstance(o, Register) and o.name in registers.VECTOR for o in operands)


def _size_prefix(form: _Form, bits: int) -> bytes:
    if form.size is None or form.promoted:
        return b""
    return prefix_for(form.size, bits)


def prefix_for(size: int, bits: int) -> bytes:
    """The prefix that makes operands `size` bits wide in `bits`-wide code."""
    if size == 64:
        return b"\x48"
    default = 16 if bits == 16 else 32
    return b"" if size == default else b"\x66"


_PUSH_SEGMENT = {"es": "06", "cs": "0e", "ss": "16", "ds": "1e", "fs": "0fa0", "gs": "0fa8"}
_POP_SEGMENT = {"es": "07", "ss": "17", "ds": "1f", "fs": "0fa1", "gs": "0fa9"}


def _with_operand(mnemonic: str, operands: tuple[Operand, ...], bits: int) -> bytes | None:
    if len(operands) != 1:
        return None
    match mnemonic, operands[0]:
        case "push", Immediate() as immediate:
            return _push(immediate, bits)
        case (("push" | "pop"), Register(name, column)) if name in registers.SEGMENTS:
            return _segment(mnemonic, name, column, bits)
        case (
            ("ret" | "retn" | "retf" | "lret" | "retfq" | "lretq"),
            Immediate(number, column),
        ):
            if mnemonic.endswith("q") and bits != 64:
                raise EvaluationError(f"{mnemonic} does not exist in {bits}-bit code", column)
            if not 0 <= number < 1 << 16:
                raise EvaluationError(f"{number} does not fit in 16 bits", column)
            opcode = {"ret": "c2", "retn": "c2", "retfq": "48ca", "lretq": "48ca"}
            return bytes.fromhex(opcode.get(mnemonic, "ca")) + number.to_bytes(2, "little")
        case "int", Immediate(3, _):
            return b"\xcc"
        case "rdpid", Register(name, _) if registers.SIZES.get(name) == max(bits // 8, 4):
            number = _number(name)
            rex = b"\x41" if number > 7 else b""
            return b"\xf3" + rex + bytes([0x0F, 0xC7, 0xF8 + number % 8])
    return None


def _number(name: str) -> int:
    """The number of a 32- or 64-bit register in a ModRM byte."""
    digits = "".join(c for c in name if c.isdigit())
    if digits:
        return int(digits)
    return ("ax", "cx", "dx", "bx", "sp", "bp", "si", "di").index(name[1:])


def _push(immediate: Immediate, bits: int) -> bytes:
    size = immediate.size or bits // 8
    if size not in (2, 4, 8) or (size == 8 and bits != 64):
        raise EvaluationError(f"cannot push {size} bytes in {bits}-bit code", immediate.column)
    if bits == 64 and size == 4:
        size = 8  # NASM's `push dword 5` pushes the number, sign-extended to 64 bits
    width = 8 * size
    number = immediate.number
    fits = -(1 << (width - 1)) <= number < 1 << width
    number = (number + (1 << (width - 1))) % (1 << width) - (1 << (width - 1))
    if not fits or not -(1 << 31) <= number < 1 << 31:
        raise EvaluationError(
            f"{immediate.number:#x} does not fit in {'a signed 32' if size == 8 else width}"
            f"{'-bit number' if size == 8 else ' bits'}",
            immediate.column,
            "load it into a register and push that" if size == 8 else None,
        )
    prefix = b"" if size == 8 else prefix_for(width, bits)
    if -128 <= number < 128:
        return prefix + b"\x6a" + number.to_bytes(1, "little", signed=True)
    return prefix + b"\x68" + number.to_bytes(min(size, 4), "little", signed=True)


def _segment(mnemonic: str, name: str, column: int, bits: int) -> bytes:
    table = _PUSH_SEGMENT if mnemonic == "push" else _POP_SEGMENT
    if name not in table:
        raise EvaluationError(
            f"{mnemonic} {name} does not exist", column, "load cs with a far jump or retf"
        )
    if bits == 64 and name not in ("fs", "gs"):
        raise EvaluationError(f"{mnemonic} {name} does not exist in 64-bit code", column)
    return bytes.fromhex(table[name])
