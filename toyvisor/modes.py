"""The three processor modes a guest program can start in, and bits of the registers around them."""

from __future__ import annotations

from enum import StrEnum

#: Control-register and EFER bits (Intel SDM vol. 3, 2.5 and 2.2.1).
CR0_PE = 1 << 0
CR0_PG = 1 << 31
EFER_LMA = 1 << 10
#: Bits of RFLAGS (Intel SDM vol. 1, 3.4.3).
RFLAGS_TF, RFLAGS_IF, RFLAGS_RF = 1 << 8, 1 << 9, 1 << 16


class CpuMode(StrEnum):
    """Operating mode of the vCPU at its first instruction (Intel SDM vol. 3, 2.2)."""

    REAL = "real"
    PROTECTED = "protected"
    LONG = "long"

    @property
    def bits(self) -> int:
        """Default operand and address size of code in this mode: 16, 32 or 64."""
        return {CpuMode.REAL: 16, CpuMode.PROTECTED: 32, CpuMode.LONG: 64}[self]
