"""Short forms for the assembler's tests."""

from __future__ import annotations

import pytest

from toyvisor.errors import SourceError
from toyvisor.guest.assembler import assemble_text
from toyvisor.modes import CpuMode

MODES = {16: CpuMode.REAL, 32: CpuMode.PROTECTED, 64: CpuMode.LONG}


def code(text: str, bits: int = 64, origin: int = 0, **symbols: int) -> str:
    """The assembled bytes in hex."""
    assembly = assemble_text(text, mode=MODES[bits], origin=origin, symbols=symbols)
    return assembly.image.hex()


def refused(text: str, bits: int = 64, origin: int = 0) -> SourceError:
    """The error assembling ends with."""
    with pytest.raises(SourceError) as caught:
        assemble_text(text, mode=MODES[bits], origin=origin, file="t.s")
    return caught.value
