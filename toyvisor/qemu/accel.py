"""The accelerator: whose KVM runs the guest, and the host that goes with it.

QEMU: `-accel`, accel/accel-system.c. The toy KVM comes with a host whose threads take turns in
the guest's own time, so that all runs are alike; Linux's with real threads and real time.
Everything else of QEMU is the same for both.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol

from toyvisor.host.kernel import Kernel
from toyvisor.trace.ledger import Ledger

if TYPE_CHECKING:
    from toyvisor.kvm.file_descriptors import VcpuFd, VmFd

DEFAULT_BUDGET = 10_000_000
DEFAULT_SECONDS = 10.0


class AccelName(StrEnum):
    """`--accel`."""

    TOY = "toy"  # this project's KVM, over Unicorn
    KVM = "kvm"  # Linux's


class Limits(NamedTuple):
    """How long a guest may run: where its instructions are counted, and where only time is."""

    instructions: int = DEFAULT_BUDGET
    seconds: float | None = DEFAULT_SECONDS


class Accel(Protocol):
    """One machine's accelerator."""

    @property
    def name(self) -> AccelName:
        """Whose KVM it is."""
        ...

    @property
    def kernel(self) -> Kernel:
        """The host around it."""
        ...

    @property
    def vm(self) -> VmFd:
        """The virtual machine."""
        ...

    def create_vcpu(self) -> VcpuFd:
        """The one vCPU."""
        ...

    def running(self, limits: Limits) -> AbstractContextManager[None]:
        """Around its run."""
        ...

    @property
    def kvm_stats(self) -> dict[str, int] | None:
        """What KVM has counted by itself; None where it is the ledger that counts."""
        ...


class ToyAccel:
    """The toy KVM, in the toy host."""

    name = AccelName.TOY
    kvm_stats = None

    def __init__(self, ledger: Ledger) -> None:
        from toyvisor.kvm.vm import Kvm

        self.kernel = Kernel(ledger)
        self.vm = Kvm(ledger, self.kernel).create_vm()

    def create_vcpu(self) -> VcpuFd:
        """The one vCPU."""
        self._vcpu = self.vm.create_vcpu()
        return self._vcpu

    @contextmanager
    def running(self, limits: Limits) -> Iterator[None]:
        """Its time is counted in guest instructions."""
        self._vcpu.deadline = limits.instructions
        yield


class LinuxAccel:
    """Linux's KVM, in the real host. Raises MachineError where there is none."""

    name = AccelName.KVM

    def __init__(self, ledger: Ledger) -> None:
        from toyvisor.host.real_time import RealTimeKernel
        from toyvisor.kvm.linux import LinuxKvm

        kernel = RealTimeKernel(ledger)
        self.kernel = kernel
        try:
            self.vm = LinuxKvm(ledger, kernel).create_vm()
        except BaseException:
            kernel.close()
            raise

    def create_vcpu(self) -> VcpuFd:
        """The one vCPU."""
        self._vcpu = self.vm.create_vcpu()
        return self._vcpu

    @contextmanager
    def running(self, limits: Limits) -> Iterator[None]:
        """Its time is real."""
        from toyvisor.kvm.linux_vcpu import SIG_IPI

        seconds = limits.seconds
        if seconds is not None:
            self._vcpu.time_is_up = (
                f"the guest was still running after {seconds:g} seconds{slow_kvm()}"
            )
        self._vcpu.resume()
        with self.kernel.running(self._vcpu, seconds, SIG_IPI):
            yield

    @property
    def kvm_stats(self) -> dict[str, int] | None:
        """What Linux's KVM has counted, if this kernel tells."""
        stats = self._vcpu.stats
        return stats.counted() if stats is not None else None


def slow_kvm() -> str:
    """What to add where a guest took too long."""
    from toyvisor.kvm.linux import is_software, module_name

    return f" (of {module_name()}, a software KVM)" if is_software() else ""


def create_accel(name: AccelName, ledger: Ledger) -> Accel:
    """The accelerator of that name."""
    return ToyAccel(ledger) if name is AccelName.TOY else LinuxAccel(ledger)
