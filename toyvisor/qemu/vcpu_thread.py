"""QEMU's vCPU thread: the KVM_RUN loop.

QEMU: accel/kvm/kvm-all.c, kvm_cpu_exec().
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from toyvisor.host.kernel import Kernel
from toyvisor.kvm.api import (
    KVM_EXIT_IO_OUT,
    MMIO_DATA_OFFSET,
    Hypercall,
    InternalError,
    KvmExit,
)
from toyvisor.qemu.address_space import AddressSpace

if TYPE_CHECKING:
    from toyvisor.kvm.file_descriptors import VcpuFd


class Outcome(StrEnum):
    """How a run ended."""

    HALTED = "halted"
    SHUTDOWN = "shutdown"
    INTERNAL_ERROR = "internal-error"
    BUDGET = "budget"
    INTERRUPTED = "interrupted"


class Ending(NamedTuple):
    """How a run ended, and in one sentence why."""

    outcome: Outcome
    explanation: str


#: How most guests end: there is nothing to explain.
JUST_HLT = "the guest executed HLT"
#: Guest instructions that a vCPU may run on while another thread wants the processor.
TIME_SLICE = 1_000


def kvm_cpu_exec(vcpu: VcpuFd, memory: AddressSpace, ports: AddressSpace, kernel: Kernel) -> Ending:
    """Run the guest until it ends or its time is up."""
    run = vcpu.kvm_run
    mmio, io = run.mmio, run.io
    _give_way(vcpu, kernel)
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
            case KvmExit.INTR if vcpu.slice_is_over:
                _give_way(vcpu, kernel)
            case reason:
                return _ending(vcpu, reason)


def _ending(vcpu: VcpuFd, reason: int) -> Ending:
    """An exit that the guest does not come back from."""
    match reason:
        case KvmExit.HLT:
            return Ending(Outcome.HALTED, JUST_HLT)
        case KvmExit.SHUTDOWN:
            return Ending(Outcome.SHUTDOWN, vcpu.explanation)
        case KvmExit.INTR if vcpu.asleep:
            return Ending(Outcome.HALTED, vcpu.explanation)
        case KvmExit.INTR:
            return Ending(Outcome.BUDGET, vcpu.time_is_up)
        case KvmExit.INTERNAL_ERROR:
            suberror = vcpu.kvm_run.internal.suberror
            known = suberror in InternalError.__members__.values()
            name = InternalError(suberror).name if known else suberror
            what = f"KVM_INTERNAL_ERROR_{name}: {vcpu.explanation}"
            return Ending(Outcome.INTERNAL_ERROR, what)
    return Ending(Outcome.INTERNAL_ERROR, vcpu.explanation)


def _give_way(vcpu: VcpuFd, kernel: Kernel) -> None:
    """The time slice is over: the other threads run until they have nothing to do.

    Without work for another thread there are no slices, as in a kernel without a tick.
    """
    vcpu.begin_slice(TIME_SLICE if kernel.run_others_and_poll() else None)


def _handle_hypercall(vcpu: VcpuFd) -> None:
    """KVM_HC_MAP_GPA_RANGE asks userspace to share or hide pages: nothing to do here."""
    hypercall = vcpu.kvm_run.hypercall
    assert hypercall.nr == Hypercall.MAP_GPA_RANGE
    hypercall.ret = 0
