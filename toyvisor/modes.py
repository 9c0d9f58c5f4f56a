"""The three processor modes a guest program can start in."""

from __future__ import annotations

from enum import StrEnum


class CpuMode(StrEnum):
    """Operating mode of the vCPU at its first instruction (Intel SDM vol. 3, 2.2)."""

    REAL = "real"
    PROTECTED = "protected"
    LONG = "long"

    @property
    def bits(self) -> int:
        """Default operand and address size of code in this mode: 16, 32 or 64."""
        return {CpuMode.REAL: 16, CpuMode.PROTECTED: 32, CpuMode.LONG: 64}[self]
