"""VMCALL: what the guest asks of the hypervisor, and what KVM answers by itself.

Linux: arch/x86/kvm/x86.c, kvm_emulate_hypercall();
Documentation/virt/kvm/x86/hypercalls.rst.
"""

from __future__ import annotations

from typing import NamedTuple

from toyvisor.cpu.registers import SEGMENTS
from toyvisor.cpu.world_switch import Cpu
from toyvisor.kvm.api import KVM_ENOSYS, KVM_EPERM, Hypercall

_ARGUMENTS = ("rax", "rbx", "rcx", "rdx", "rsi")


class HypercallRequest(NamedTuple):
    """Number and arguments, cut to the width of the guest's code."""

    nr: int
    args: tuple[int, ...]
    bits: int
    is_privileged: bool

    @property
    def mask(self) -> int:
        """The bits of a register that count."""
        return (1 << (64 if self.bits == 64 else 32)) - 1

    @property
    def answer(self) -> int:
        """KVM's own, signed."""
        if not self.is_privileged:
            return -KVM_EPERM
        return 0 if self.nr == Hypercall.VAPIC_POLL_IRQ else -KVM_ENOSYS

    def goes_to_userspace(self, exit_hypercalls: int) -> bool:
        """Whether userspace wants it (KVM_CAP_EXIT_HYPERCALL: a bit for each number)."""
        wanted = self.nr == Hypercall.MAP_GPA_RANGE and exit_hypercalls >> self.nr & 1
        return bool(wanted) and self.is_privileged


def read_hypercall(cpu: Cpu) -> HypercallRequest:
    """The one that the guest makes now."""
    bits = cpu.view.code_bits()
    mask = (1 << (64 if bits == 64 else 32)) - 1
    nr, *args = (cpu.registers.read(name) & mask for name in _ARGUMENTS)
    level = cpu.registers.read_special(SEGMENTS["cs"]) & 3
    return HypercallRequest(nr, tuple(args), bits, level == 0 or bits == 16)
