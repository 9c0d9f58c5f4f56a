"""What userspace holds of KVM: the file descriptors of a VM and of a vCPU, and their ioctls.

The toy KVM (vm.py, vcpu.py) and Linux's (linux.py, linux_vcpu.py) both have these, so that one
QEMU drives either. Linux: Documentation/virt/kvm/api.rst.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from toyvisor.kvm.api import KvmRegs, KvmRun, KvmSregs
from toyvisor.memory import GuestMemory

if TYPE_CHECKING:
    from toyvisor.kvm.eventfd import EventFd


class PicRegisters(Protocol):
    """One 8259, to be looked at."""

    @property
    def irr(self) -> int:
        """Requested."""
        ...

    @property
    def imr(self) -> int:
        """Masked."""
        ...

    @property
    def elcr(self) -> int:
        """Level-triggered."""
        ...

    @property
    def irq_states(self) -> int:
        """The levels of the lines."""
        ...


class IrqchipFd(Protocol):
    """The interrupt controllers, to be looked at."""

    @property
    def pics(self) -> Sequence[PicRegisters]:
        """Master and slave."""
        ...

    def why_not(self, irq: int) -> str | None:
        """Why a request does not reach the processor, in words; None if it does."""
        ...

    def irq_of(self, vector: int) -> int | None:
        """The line whose interrupts come as `vector`, if there is one."""
        ...


class PitFd(Protocol):
    """The interval timer, to be looked at."""

    @property
    def is_running(self) -> bool:
        """Whether it will interrupt again."""
        ...


class VcpuFd(Protocol):
    """A vCPU."""

    @property
    def kvm_run(self) -> KvmRun:
        """What KVM and userspace share."""
        ...

    def run(self) -> None:
        """KVM_RUN: run the guest until userspace is needed; `kvm_run` says what for."""
        ...

    def get_regs(self) -> KvmRegs:
        """KVM_GET_REGS."""
        ...

    def set_regs(self, regs: KvmRegs) -> None:
        """KVM_SET_REGS."""
        ...

    def get_sregs(self) -> KvmSregs:
        """KVM_GET_SREGS."""
        ...

    def set_sregs(self, sregs: KvmSregs) -> None:
        """KVM_SET_SREGS."""
        ...

    def set_guest_debug(self, *, single_step: bool) -> None:
        """KVM_SET_GUEST_DEBUG: run() returns KVM_EXIT_DEBUG behind each instruction, or not."""
        ...

    def complete(self) -> bool:
        """Finish an instruction whose exit has been answered, if that is a thing by itself.

        True if that was a step.
        """
        ...

    # How long it may run

    def kick(self) -> None:
        """Out of the guest, for good: run() returns KVM_EXIT_INTR from now on."""
        ...

    @property
    def time(self) -> int:
        """The machine's time, in the units of the host's timers."""
        ...

    @property
    def time_is_up(self) -> str:
        """What to say of a guest that did not end: "the guest was still running after ..."."""
        ...

    @property
    def slice_is_over(self) -> bool:
        """After KVM_EXIT_INTR: whether only its turn is over, and it may go on."""
        ...

    def begin_slice(self, instructions: int | None) -> None:
        """Let it run so long before others have the processor; None: as long as it likes."""
        ...

    def shorten_slice(self, instructions: int) -> None:
        """As begin_slice(), if it may run as long as it likes."""
        ...

    # What its run came to, for people

    @property
    def asleep(self) -> bool:
        """It sleeps in HLT for good: nothing can wake it, and run() gave up."""
        ...

    @property
    def explanation(self) -> str:
        """Why KVM_EXIT_SHUTDOWN or KVM_EXIT_INTERNAL_ERROR, or why it sleeps for good."""
        ...

    @property
    def instructions(self) -> int | None:
        """Guest instructions executed; None where nobody counts them."""
        ...

    @property
    def is_in_guest(self) -> bool:
        """Whether it runs at this moment, beside whoever asks."""
        ...

    def linear_rip(self) -> int:
        """The linear address of the present instruction, while it does not run."""
        ...

    @property
    def ran_on(self) -> bool:
        """Whether the guest is known to have come to it without a jump."""
        ...

    def last_branch_from(self) -> int | None:
        """The linear address of the instruction that led there, if that is known."""
        ...

    @property
    def interrupted_at(self) -> int | None:
        """RIP where the last interrupt came in, if there was one and that is known."""
        ...

    @property
    def vectors(self) -> int:
        """The vectors of all interrupts so far, a bit for each; 0 if they are not known."""
        ...


class VmFd(Protocol):
    """A virtual machine."""

    @property
    def memory(self) -> GuestMemory:
        """Its memory slots."""
        ...

    @property
    def irqchip(self) -> IrqchipFd | None:
        """The two 8259s; None until they are created."""
        ...

    @property
    def pit(self) -> PitFd | None:
        """The 8254; None until it is created."""
        ...

    def set_user_memory_region(
        self, slot: int, guest_phys_addr: int, userspace: memoryview
    ) -> None:
        """KVM_SET_USER_MEMORY_REGION."""
        ...

    def create_irqchip(self) -> IrqchipFd:
        """KVM_CREATE_IRQCHIP."""
        ...

    def create_pit2(self) -> PitFd:
        """KVM_CREATE_PIT2."""
        ...

    def irq_line(self, gsi: int, level: int) -> None:
        """KVM_IRQ_LINE."""
        ...

    def irqfd(self, eventfd: EventFd, gsi: int, *, deassign: bool = False) -> None:
        """KVM_IRQFD."""
        ...

    def ioeventfd(
        self,
        eventfd: EventFd,
        address: int,
        length: int,
        datamatch: int | None = None,
        *,
        pio: bool = False,
        deassign: bool = False,
    ) -> None:
        """KVM_IOEVENTFD."""
        ...

    def create_vcpu(self, vcpu_id: int = 0) -> VcpuFd:
        """KVM_CREATE_VCPU."""
        ...

    def close(self) -> None:
        """Close the file descriptors: the VM is gone."""
        ...
