"""Which registers there are, told to gdb in its target description's XML.

One of three, by the mode that the guest begins in, which none of our guests goes beyond. QEMU gives
all its x86 guests the 64-bit one, and gdb then takes no other architecture; so 16-bit code
can't be disassembled there.

Sources: the gdb manual, appendix "Target Descriptions", and its section "i386 Features" for
what gdb insists on; bits of flags from the Intel SDM vol. 1, 3.4.3 and vol. 3, 2.5.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from toyvisor.modes import CpuMode

#: A field of flags by name: its bit, or its first and last.
_Bits = Mapping[str, int | tuple[int, int]]

_EFLAGS: _Bits = {
    "CF": 0, "": 1, "PF": 2, "AF": 4, "ZF": 6, "SF": 7, "TF": 8, "IF": 9, "DF": 10, "OF": 11,
    "IOPL": (12, 13), "NT": 14, "RF": 16, "VM": 17, "AC": 18, "VIF": 19, "VIP": 20, "ID": 21,
}  # fmt: skip
_CR0 = {"PE": 0, "MP": 1, "EM": 2, "TS": 3, "ET": 4, "NE": 5, "WP": 16, "AM": 18, "NW": 29,
        "CD": 30, "PG": 31}  # fmt: skip
_CR4 = {"VME": 0, "PVI": 1, "TSD": 2, "DE": 3, "PSE": 4, "PAE": 5, "MCE": 6, "PGE": 7, "PCE": 8,
        "OSFXSR": 9, "OSXMMEXCPT": 10, "FSGSBASE": 16, "OSXSAVE": 18, "SMEP": 20,
        "SMAP": 21}  # fmt: skip
_EFER = {"SCE": 0, "LME": 8, "LMA": 10, "NXE": 11}
_MXCSR = {"IE": 0, "DE": 1, "ZE": 2, "OE": 3, "UE": 4, "PE": 5, "DAZ": 6, "IM": 7, "DM": 8,
          "ZM": 9, "OM": 10, "UM": 11, "PM": 12, "FZ": 15}  # fmt: skip
_VECTORS = {"v4f": ("ieee_single", 4), "v2d": ("ieee_double", 2), "v16i8": ("int8", 16),
            "v8i16": ("int16", 8), "v4i32": ("int32", 4), "v2i64": ("int64", 2)}  # fmt: skip
_VEC128 = {"v4_float": "v4f", "v2_double": "v2d", "v16_int8": "v16i8", "v8_int16": "v8i16",
           "v4_int32": "v4i32", "v2_int64": "v2i64", "uint128": "uint128"}  # fmt: skip

_GENERAL = ("ax", "bx", "cx", "dx", "si", "di", "bp", "sp")
_GENERAL_32 = ("ax", "cx", "dx", "bx", "sp", "bp", "si", "di")
_SEGMENTS = ("cs", "ss", "ds", "es", "fs", "gs")
_FPU = ("fctrl", "fstat", "ftag", "fiseg", "fioff", "foseg", "fooff", "fop")


class Register(NamedTuple):
    """One register as gdb knows it. `type` is gdb's, `group` only where it is not the usual."""

    name: str
    bits: int
    type: str
    group: str | None = None

    @property
    def size(self) -> int:
        """Bytes in a `g` packet."""
        return self.bits // 8


class Feature(NamedTuple):
    """Registers that belong together, and the types they need."""

    name: str
    types: tuple[str, ...]
    registers: tuple[Register, ...]


class TargetDescription(NamedTuple):
    """All registers of a guest. Their order is that of the `g` packet."""

    architecture: str
    features: tuple[Feature, ...]

    @property
    def registers(self) -> tuple[Register, ...]:
        """By the numbers of the `p` and `P` packets."""
        return tuple(register for feature in self.features for register in feature.registers)

    def xml(self) -> str:
        """The document that gdb asks for as target.xml."""
        lines = [
            '<?xml version="1.0"?>',
            '<!DOCTYPE target SYSTEM "gdb-target.dtd">',
            "<target>",
            f"<architecture>{self.architecture}</architecture>",
            "<osabi>none</osabi>",  # else gdb takes its own host's, and warns for an i8086
        ]
        for feature in self.features:
            lines += [f'<feature name="{feature.name}">', *feature.types]
            lines += map(_reg, feature.registers)
            lines.append("</feature>")
        return "\n".join([*lines, "</target>", ""])


def describe(mode: CpuMode) -> TargetDescription:
    """The description of a guest that begins in this mode."""
    is_long = mode is CpuMode.LONG
    architecture = {CpuMode.REAL: "i8086", CpuMode.PROTECTED: "i386"}.get(mode, "i386:x86-64")
    features = [_core(is_long), _sse(16 if is_long else 8)]
    if is_long:
        bases = (Register("fs_base", 64, "int64"), Register("gs_base", 64, "int64"))
        features.append(Feature("org.gnu.gdb.i386.segments", (), bases))
    return TargetDescription(architecture, (*features, _system(is_long)))


def _core(is_long: bool) -> Feature:
    """What gdb calls i386.core, in its order, which for 32 bits is the instructions' own."""
    bits = 64 if is_long else 32
    letter = "r" if is_long else "e"
    names = [letter + name for name in (_GENERAL if is_long else _GENERAL_32)]
    if is_long:
        names += [f"r{number}" for number in range(8, 16)]
    general = [
        Register(name, bits, "data_ptr" if name[1:] in ("sp", "bp") else f"int{bits}")
        for name in names
    ]
    registers = (
        *general,
        Register(f"{letter}ip", bits, "code_ptr"),
        Register("eflags", 32, "x86_eflags"),
        *(Register(name, 32, "int32") for name in _SEGMENTS),
        *(Register(f"st{number}", 80, "i387_ext") for number in range(8)),
        *(Register(name, 32, "int", "float") for name in _FPU),
    )
    return Feature("org.gnu.gdb.i386.core", (_flags("x86_eflags", 4, _EFLAGS),), registers)


def _sse(count: int) -> Feature:
    types = [f'<vector id="{name}" type="{of}" count="{n}"/>' for name, (of, n) in _VECTORS.items()]
    fields = "".join(f'<field name="{name}" type="{of}"/>' for name, of in _VEC128.items())
    types.append(f'<union id="vec128">{fields}</union>')
    types.append(_flags("x86_mxcsr", 4, _MXCSR))
    registers = [Register(f"xmm{number}", 128, "vec128") for number in range(count)]
    registers.append(Register("mxcsr", 32, "x86_mxcsr", "vector"))
    return Feature("org.gnu.gdb.i386.sse", tuple(types), tuple(registers))


def _system(is_long: bool) -> Feature:
    """Control registers: gdb knows nothing of them, and shows what it is told."""
    bits = 64 if is_long else 32
    size = bits // 8
    types = [_flags("x86_cr0", size, _CR0), _flags("x86_cr4", size, _CR4)]
    registers = [
        Register("cr0", bits, "x86_cr0", "system"),
        Register("cr2", bits, f"int{bits}", "system"),
        Register("cr3", bits, f"int{bits}", "system"),
        Register("cr4", bits, "x86_cr4", "system"),
    ]
    if is_long:
        types.append(_flags("x86_efer", size, _EFER))
        registers.append(Register("cr8", bits, "int64", "system"))
        registers.append(Register("efer", bits, "x86_efer", "system"))
    return Feature("toyvisor.system", tuple(types), tuple(registers))


def _flags(name: str, size: int, fields: _Bits) -> str:
    parts = []
    for field, place in fields.items():
        first, last = (place, place) if isinstance(place, int) else place
        parts.append(f'<field name="{field}" start="{first}" end="{last}"/>')
    return f'<flags id="{name}" size="{size}">{"".join(parts)}</flags>'


def _reg(register: Register) -> str:
    group = f' group="{register.group}"' if register.group else ""
    return f'<reg name="{register.name}" bitsize="{register.bits}" type="{register.type}"{group}/>'
