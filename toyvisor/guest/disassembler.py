"""Bytes back to instructions, and what an instruction does to memory. Over Capstone, lazily."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from toyvisor.modes import CpuMode

MAX_INSTRUCTION_BYTES = 15


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction at guest address `address`; a byte that is none is `.byte 0x..`."""

    address: int
    data: bytes
    mnemonic: str
    operands: str

    @property
    def size(self) -> int:
        """Its length in bytes."""
        return len(self.data)

    @property
    def text(self) -> str:
        """Mnemonic and operands as they are written."""
        return f"{self.mnemonic} {self.operands}".strip()


@cache
def engine(mode: CpuMode, detail: bool) -> Any:
    """Capstone for one mode; with `detail`, its instructions have their operands."""
    import capstone

    modes = {
        CpuMode.REAL: capstone.CS_MODE_16,
        CpuMode.PROTECTED: capstone.CS_MODE_32,
        CpuMode.LONG: capstone.CS_MODE_64,
    }
    engine = capstone.Cs(capstone.CS_ARCH_X86, modes[mode])
    engine.detail = detail
    return engine


def disassemble(code: bytes, address: int, mode: CpuMode) -> list[Instruction]:
    """All of `code` as instructions; what cannot be decoded appears byte by byte."""
    code = bytes(code)
    found: list[Instruction] = []
    position = 0
    while position < len(code):
        for start, size, mnemonic, operands in engine(mode, False).disasm_lite(
            code[position:], address + position
        ):
            offset = start - address
            found.append(
                _instruction(start, code[offset : offset + size], mnemonic, operands, mode)
            )
            position = offset + size
        if position < len(code):
            found.append(_undecodable(address + position, code[position]))
            position += 1
    return found


def instruction_lengths(code: bytes, address: int, mode: CpuMode) -> list[int]:
    """Lengths in bytes of the instructions that `code` begins with, up to what is none."""
    return [size for _, size, _, _ in engine(mode, False).disasm_lite(bytes(code), address)]


def decode_one(code: bytes, address: int, mode: CpuMode) -> Instruction | None:
    """The instruction `code` begins with; None if it is no instruction or cut off."""
    window = bytes(code[:MAX_INSTRUCTION_BYTES])
    for start, size, mnemonic, operands in engine(mode, False).disasm_lite(window, address, 1):
        return _instruction(start, window[:size], mnemonic, operands, mode)
    return None


_NAMES_16 = {"cwde": "cbw", "cdq": "cwd", "pushal": "pushad", "popal": "popad"}


def _instruction(
    address: int, data: bytes, mnemonic: str, operands: str, mode: CpuMode
) -> Instruction:
    if mode is CpuMode.REAL and data in (b"\x98", b"\x99"):  # Capstone takes them for 32-bit
        mnemonic = _NAMES_16.get(mnemonic, mnemonic)
    return Instruction(address, data, mnemonic, operands)


def _undecodable(address: int, byte: int) -> Instruction:
    return Instruction(address, bytes([byte]), ".byte", f"{byte:#04x}")


# Instructions whose memory operand Capstone gives no size, or a wrong one (bytes).
_SIZES = {
    "fxsave": 512, "fxrstor": 512, "fxsave64": 512, "fxrstor64": 512, "xsave": 576, "xrstor": 576,
    "clflush": 0, "clflushopt": 0, "clwb": 0, "invlpg": 0, "lea": 0, "nop": 0, "prefetcht0": 0,
    "prefetcht1": 0, "prefetcht2": 0, "prefetchnta": 0, "prefetchw": 0, "prefetch": 0,
    "cmpxchg8b": 8, "cmpxchg16b": 16,
}  # fmt: skip


@lru_cache(maxsize=4096)
def memory_access_size(code: bytes, address: int, mode: CpuMode) -> int:
    """Width in bytes of one element of the instruction's memory operand, explicit or implied.

    `mov qword` 8, `movups` 16, `movzx eax, byte ptr` 1, `movsb` 1, `push` in 64-bit code 8,
    `fxsave` 512; 0 if it touches no memory (`lea`, `nop`, `add eax, ebx`).
    """
    import capstone
    from capstone import x86

    window = bytes(code[:MAX_INSTRUCTION_BYTES])
    for one in engine(mode, True).disasm(window, address, 1):
        name = one.mnemonic.split()[-1]
        if name in _SIZES:
            return _SIZES[name]
        if name in ("lgdt", "lidt", "sgdt", "sidt"):
            return 10 if mode is CpuMode.LONG else 6
        sizes = [op.size for op in one.operands if op.type == x86.X86_OP_MEM]
        if sizes:
            return int(sizes[0])
        return _stack_width(one, mode, capstone)
    return 0


def _stack_width(one: Any, mode: CpuMode, capstone: Any) -> int:
    """push, pop, call and ret reach memory through the stack pointer."""
    name = one.mnemonic.split()[-1]
    stack = ("push", "pop", "call", "ret", "iret", "enter", "leave", "int")
    if not name.startswith(stack) and name not in ("lcall", "xlatb"):
        return 0
    if name == "xlatb":
        return 1
    prefixed = 0x66 in one.prefix
    if mode is CpuMode.LONG:
        return 2 if prefixed else 8
    return {False: mode.bits // 8, True: 6 - mode.bits // 8}[prefixed]
