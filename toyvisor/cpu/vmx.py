"""Why the processor left the guest: VMX basic exit reasons.

Intel SDM vol. 3, appendix C; Linux: arch/x86/include/uapi/asm/vmx.h.
"""

from __future__ import annotations

from enum import IntEnum


class ExitReason(IntEnum):
    """VMX basic exit reasons, the ones this processor produces."""

    EXCEPTION_NMI = 0
    EXTERNAL_INTERRUPT = 1
    TRIPLE_FAULT = 2
    CPUID = 10
    HLT = 12
    VMCALL = 18
    IO_INSTRUCTION = 30
    EPT_VIOLATION = 48
    EPT_MISCONFIG = 49
    PREEMPTION_TIMER = 52
