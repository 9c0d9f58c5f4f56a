"""The x87 and SSE registers, to look at.

What KVM_GET_FPU gives (`struct kvm_fpu`, arch/x86/include/uapi/asm/kvm.h), with the tag word in
full and the last instruction's places in two parts each, as FNSAVE stores them (Intel SDM
vol. 1, 8.1.10).
"""

from __future__ import annotations

from typing import NamedTuple

from toyvisor.cpu.registers import Registers

# uc_x86_reg
_ST0, _XMM0 = 114, 122
_FSW, _FCW, _TAGS, _MXCSR = 31, 246, 247, 249
_FIP, _FCS, _FDP, _FDS, _FOP = 254, 255, 256, 257, 258

_ST_SIZE, _XMM_SIZE = 10, 16


class FpuState(NamedTuple):
    """`st`: from the top of the stack down, 10 bytes each. `xmm`: 8, or in 64-bit code 16."""

    st: tuple[bytes, ...]
    fcw: int
    fsw: int
    tags: int
    fcs: int
    fip: int
    fds: int
    fdp: int
    fop: int
    xmm: tuple[bytes, ...]
    mxcsr: int


def read_fpu(registers: Registers, bits: int) -> FpuState:
    """All of them, from an engine that began with code of `bits` width."""
    special = registers.read_special
    return FpuState(
        st=tuple(registers.read_bytes(_ST0 + n, _ST_SIZE) for n in range(8)),
        fcw=special(_FCW),
        fsw=special(_FSW),
        tags=special(_TAGS),
        fcs=special(_FCS),
        fip=special(_FIP),
        fds=special(_FDS),
        fdp=special(_FDP),
        fop=special(_FOP),
        xmm=tuple(
            registers.read_bytes(_XMM0 + n, _XMM_SIZE) for n in range(16 if bits == 64 else 8)
        ),
        mxcsr=special(_MXCSR),
    )
