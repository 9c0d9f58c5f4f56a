"""A port of a kernel device, as data: documentation is made from it."""

from __future__ import annotations

from typing import NamedTuple


class PortBits(NamedTuple):
    """A bit or a field of bits of what is written or read."""

    name: str
    mask: int
    meaning: str


class PortRegister(NamedTuple):
    """One register behind a port; a port may have several. `access` is R, W or RW."""

    port: int
    name: str
    access: str
    meaning: str
    bits: tuple[PortBits, ...] = ()
