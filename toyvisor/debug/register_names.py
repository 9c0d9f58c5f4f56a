"""The registers by every name that an instruction may use for a part of them, and the flags.

Source: Intel SDM vol. 1, 3.4.1 (general registers), 3.4.3 (RFLAGS).
"""

from __future__ import annotations

from typing import NamedTuple

from toyvisor.guest.registers import BYTE_HIGH, SEGMENTS, SIZES

#: RFLAGS: bit, width in bits.
FLAGS = {
    "cf": (0, 1), "pf": (2, 1), "af": (4, 1), "zf": (6, 1), "sf": (7, 1), "tf": (8, 1),
    "if": (9, 1), "df": (10, 1), "of": (11, 1), "iopl": (12, 2), "nt": (14, 1), "rf": (16, 1),
    "vm": (17, 1), "ac": (18, 1), "vif": (19, 1), "vip": (20, 1), "id": (21, 1),
}  # fmt: skip
#: Read as a whole only. Of `struct kvm_sregs`.
SYSTEM = (*SEGMENTS, "cr0", "cr2", "cr3", "cr4", "cr8", "efer")


class RegisterPart(NamedTuple):
    """Some bits of a register: `register` is the name of the whole."""

    register: str
    shift: int
    bits: int

    @property
    def mask(self) -> int:
        """Its bits, at the place of the lowest."""
        return (1 << self.bits) - 1

    def of(self, whole: int) -> int:
        """The part's value."""
        return whole >> self.shift & self.mask

    def put_into(self, whole: int, value: int) -> int:
        """The whole register, with another value in this part.

        A 32-bit part clears the upper half, as an instruction does (Intel SDM vol. 1, 3.4.1.1).
        """
        if self.bits == 32:
            return value & self.mask
        return whole & ~(self.mask << self.shift) | (value & self.mask) << self.shift


def _whole(name: str) -> str:
    """The 64-bit register that a part belongs to: `r8d` to `r8`, `ah` and `eax` to `rax`."""
    if name[1].isdigit():
        return name.rstrip("bwd")
    if name in BYTE_HIGH or name in ("al", "bl", "cl", "dl"):
        return f"r{name[0]}x"
    if SIZES[name] == 1:  # sil, dil, bpl, spl
        return f"r{name[:2]}"
    return f"r{name[-2:]}"


PARTS: dict[str, RegisterPart] = {
    **{
        name: RegisterPart(_whole(name), 8 if name in BYTE_HIGH else 0, 8 * size)
        for name, size in SIZES.items()
    },
    **{name: RegisterPart(name, 0, 16) for name in SEGMENTS},
    **{name: RegisterPart(name, 0, 64) for name in SYSTEM if name not in SEGMENTS},
    **{name: RegisterPart("rip", 0, bits) for name, bits in (("rip", 64), ("eip", 32), ("ip", 16))},
    **{
        name: RegisterPart("rflags", 0, bits)
        for name, bits in (("rflags", 64), ("eflags", 32), ("flags", 16))
    },
    **{name: RegisterPart("rflags", bit, width) for name, (bit, width) in FLAGS.items()},
}
"""Every name of a register, a part of one, or a flag. In small letters."""
