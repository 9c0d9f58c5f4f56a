"""Why an exit happened: the numbers of the processor, and those of KVM.

ExitReason: Intel SDM vol. 3, appendix C; Linux: arch/x86/include/uapi/asm/vmx.h.
KvmExit: Linux, include/uapi/linux/kvm.h.
"""

from __future__ import annotations

from enum import IntEnum


class ExitReason(IntEnum):
    """VMX basic exit reasons, the ones this processor produces."""

    EXCEPTION_NMI = 0
    EXTERNAL_INTERRUPT = 1
    TRIPLE_FAULT = 2
    INTERRUPT_WINDOW = 7
    NMI_WINDOW = 8
    TASK_SWITCH = 9
    CPUID = 10
    HLT = 12
    VMCALL = 18
    IO_INSTRUCTION = 30
    EPT_VIOLATION = 48
    EPT_MISCONFIG = 49
    PREEMPTION_TIMER = 52


class KvmExit(IntEnum):
    """KVM_EXIT_*: why ioctl(KVM_RUN) returned."""

    UNKNOWN = 0
    EXCEPTION = 1
    IO = 2
    HYPERCALL = 3
    DEBUG = 4
    HLT = 5
    MMIO = 6
    IRQ_WINDOW_OPEN = 7
    SHUTDOWN = 8
    FAIL_ENTRY = 9
    INTR = 10
    INTERNAL_ERROR = 17
    SYSTEM_EVENT = 24
