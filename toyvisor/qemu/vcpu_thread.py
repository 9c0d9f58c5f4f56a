"""QEMU's vCPU thread: the KVM_RUN loop.

QEMU: accel/kvm/kvm-all.c, kvm_cpu_exec().
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from toyvisor.kvm.api import (
    KVM_EXIT_IO_OUT,
    MMIO_DATA_OFFSET,
    Hypercall,
    InternalError,
    KvmExit,
)
from toyvisor.kvm.vcpu import Vcpu
from toyvisor.qemu.address_space import AddressSpace


class Outcome(StrEnum):
    """How a run ended."""

    HALTED = "halted"
    SHUTDOWN = "shutdown"
    INTERNAL_ERROR = "internal-error"
    BUDGET = "budget"


class Ending(NamedTuple):
    """How a run ended, and in one sentence why."""

    outcome: Outcome
    explanation: str


def kvm_cpu_exec(vcpu: Vcpu, memory: AddressSpace, ports: AddressSpace) -> Ending:
    """Run the guest until it ends or its time is up (`vcpu.deadline`)."""
    run = vcpu.kvm_run
    mmio, io = run.mmio, run.io
    while True:
        vcpu.run()  # ioctl(KVM_RUN): into the guest, back at the next exit
        match run.fields.exit_reason:
            case KvmExit.MMIO:
                if mmio.is_write:
                    memory.write(mmio.phys_addr, run.mapping, MMIO_DATA_OFFSET, mmio.len)
                else:
                    memory.read(mmio.phys_addr, run.mapping, MMIO_DATA_OFFSET, mmio.len)
            case KvmExit.IO:
                access = ports.write if io.direction == KVM_EXIT_IO_OUT else ports.read
                for element in range(io.count):
                    offset = io.data_offset + element * io.size
                    access(io.port, run.mapping, offset, io.size)
            case KvmExit.HYPERCALL:
                _handle_hypercall(vcpu)
            case KvmExit.HLT:
                return Ending(Outcome.HALTED, "the guest executed HLT")
            case KvmExit.SHUTDOWN:
                return Ending(Outcome.SHUTDOWN, vcpu.explanation)
            case KvmExit.INTR:
                return Ending(
                    Outcome.BUDGET,
                    f"the guest was still running after {vcpu.deadline:,} instructions",
                )
            case KvmExit.INTERNAL_ERROR:
                suberror = InternalError(run.internal.suberror)
                what = f"KVM_INTERNAL_ERROR_{suberror.name}: {vcpu.explanation}"
                return Ending(Outcome.INTERNAL_ERROR, what)
            case reason:
                raise AssertionError(f"KVM_EXIT {reason} is not handled")


def _handle_hypercall(vcpu: Vcpu) -> None:
    """KVM_HC_MAP_GPA_RANGE asks userspace to share or hide pages: nothing to do here."""
    hypercall = vcpu.kvm_run.hypercall
    assert hypercall.nr == Hypercall.MAP_GPA_RANGE
    hypercall.ret = 0
