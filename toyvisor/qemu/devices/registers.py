"""A device's register map as data: documentation, traces and tests are made from it."""

from __future__ import annotations

from typing import NamedTuple


class Bits(NamedTuple):
    """A bit or a field of bits in a register."""

    name: str
    low: int
    meaning: str
    width: int = 1

    @property
    def mask(self) -> int:
        """The field's bits, in place."""
        return ((1 << self.width) - 1) << self.low


class Register(NamedTuple):
    """One register, or a buffer of `width` bytes. `access` is R, W or RW."""

    offset: int
    name: str
    access: str
    width: int
    meaning: str
    bits: tuple[Bits, ...] = ()
    reset: int = 0
