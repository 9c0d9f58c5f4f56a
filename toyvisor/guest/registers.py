"""The names of the x86 registers: sizes, and which of them can address memory."""

from __future__ import annotations

_LEGACY = ("ax", "bx", "cx", "dx", "si", "di", "bp", "sp")
_NUMBERED = tuple(f"r{n}" for n in range(8, 16))

BYTE_HIGH = frozenset({"ah", "bh", "ch", "dh"})
"""Byte registers that no instruction with a REX prefix can name (Intel SDM vol. 2, 2.2.1.2)."""

BYTE_REX = frozenset({"sil", "dil", "bpl", "spl", *(f"{r}b" for r in _NUMBERED)})

SIZES: dict[str, int] = {
    **dict.fromkeys(("al", "bl", "cl", "dl", *BYTE_HIGH, *BYTE_REX), 1),
    **dict.fromkeys((*_LEGACY, *(f"{r}w" for r in _NUMBERED)), 2),
    **dict.fromkeys((*(f"e{r}" for r in _LEGACY), *(f"{r}d" for r in _NUMBERED)), 4),
    **dict.fromkeys((*(f"r{r}" for r in _LEGACY), *_NUMBERED), 8),
}
"""General registers and their width in bytes."""

SEGMENTS = ("es", "cs", "ss", "ds", "fs", "gs")
CONTROL = tuple(f"cr{n}" for n in range(16))
DEBUG = tuple(f"dr{n}" for n in range(16))
VECTOR = {
    **{f"mm{n}": 8 for n in range(8)},
    **{f"xmm{n}": 16 for n in range(32)},
    **{f"ymm{n}": 32 for n in range(32)},
    **{f"zmm{n}": 64 for n in range(32)},
}
X87 = ("st", *(f"st{n}" for n in range(8)))
INSTRUCTION_POINTERS = ("ip", "eip", "rip")

LONG_MODE_ONLY = frozenset(
    {name for name, size in SIZES.items() if size == 8 or name[1:2].isdigit()} | BYTE_REX
) | {f"xmm{n}" for n in range(8, 32)}

ALL: frozenset[str] = frozenset(
    {*SIZES, *SEGMENTS, *CONTROL, *DEBUG, *VECTOR, *X87, *INSTRUCTION_POINTERS}
)
ADDRESSING_16 = frozenset({"bx", "bp", "si", "di"})

_OPERATORS = ("ptr", "offset", "short", "near", "far", "rel", "rep", "repe", "repne", "lock")
SIZE_KEYWORDS = {
    "byte": 1, "word": 2, "dword": 4, "fword": 6, "pword": 6, "qword": 8, "tbyte": 10,
    "tword": 10, "xword": 10, "xmmword": 16, "oword": 16, "ymmword": 32, "yword": 32,
    "zmmword": 64, "zword": 64,
}  # fmt: skip
SIZE_NAMES = {
    1: "byte", 2: "word", 4: "dword", 6: "fword", 8: "qword", 10: "xword", 16: "xmmword",
    32: "ymmword", 64: "zmmword",
}  # fmt: skip

RESERVED = ALL | set(_OPERATORS) | set(SIZE_KEYWORDS)
"""Names that a label or constant may not have: they mean something else in an operand."""
