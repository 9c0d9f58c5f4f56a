"""The numbers of exits by their names; a number that has none stays one."""

from __future__ import annotations

from toyvisor.exit_reasons import ExitReason, KvmExit


def vmx_reason_name(number: int) -> str:
    """`EPT_VIOLATION` (Intel SDM vol. 3, appendix C)."""
    return ExitReason(number).name if number in ExitReason.__members__.values() else str(number)


def kvm_exit_name(number: int) -> str:
    """`KVM_EXIT_MMIO` (<linux/kvm.h>)."""
    known = number in KvmExit.__members__.values()
    return f"KVM_EXIT_{KvmExit(number).name}" if known else f"KVM_EXIT {number}"
