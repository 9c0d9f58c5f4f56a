"""`/dev/kvm` and a virtual machine: memory slots, kernel devices, vCPUs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from toyvisor.errors import UsageError
from toyvisor.kvm.api import KVM_API_VERSION
from toyvisor.kvm.host_kernel import BareKernel, HostKernel
from toyvisor.kvm.io_bus import KvmIoBus
from toyvisor.kvm.vcpu import Vcpu
from toyvisor.memory import PAGE_SIZE, GuestMemory
from toyvisor.trace.events import KVM_SET_IRQ
from toyvisor.trace.ledger import Ledger

if TYPE_CHECKING:
    from toyvisor.kvm.eventfd import EventFd, IoEventFds, IrqFds
    from toyvisor.kvm.i8254 import Pit
    from toyvisor.kvm.i8259 import PicPair

_PIT_IRQ = 0


class Kvm:
    """The toy's `/dev/kvm`."""

    def __init__(self, ledger: Ledger, host: HostKernel | None = None) -> None:
        self._ledger = ledger
        self._host = host if host is not None else BareKernel()

    def get_api_version(self) -> int:
        """KVM_GET_API_VERSION."""
        return KVM_API_VERSION

    def create_vm(self) -> Vm:
        """KVM_CREATE_VM."""
        return Vm(self._ledger, self._host)


class Vm:
    """A virtual machine's file descriptor."""

    def __init__(self, ledger: Ledger, host: HostKernel) -> None:
        self.ledger = ledger
        self._host = host
        #: What the EPT maps: guest-physical address to the very bytes userspace gave.
        self.memory = GuestMemory()
        self.pio_bus = KvmIoBus(granule_bits=0)
        self.mmio_bus = KvmIoBus(granule_bits=12)
        #: KVM_CAP_EXIT_HYPERCALL: a bit for each hypercall number that userspace wants
        self.exit_hypercalls = 0
        self._vcpus: list[Vcpu] = []
        #: The two 8259s; None until they are created.
        self.irqchip: PicPair | None = None
        #: The 8254; None until it is created.
        self.pit: Pit | None = None
        self._ioeventfds: IoEventFds | None = None
        self._irqfds: IrqFds | None = None

    def set_user_memory_region(
        self, slot: int, guest_phys_addr: int, userspace: memoryview
    ) -> None:
        """KVM_SET_USER_MEMORY_REGION: `userspace` appears in the guest at that address.

        Raises UsageError for what Linux answers EINVAL or EEXIST: not page-aligned,
        overlapping another slot, or after a vCPU has been created (the toy's restriction).
        """
        size = len(userspace)
        if guest_phys_addr % PAGE_SIZE or size % PAGE_SIZE or not size:
            raise UsageError(f"memory slot {slot}: address and size must be whole pages")
        for start, end, _ in self.memory.blocks:
            if guest_phys_addr < end and start < guest_phys_addr + size:
                raise UsageError(f"memory slot {slot} overlaps {start:#x}-{end - 1:#x}")
        if self._vcpus:
            raise UsageError("memory slots are set before the first vCPU is created")
        self.memory.add(guest_phys_addr, userspace)

    # Interrupts and eventfds ----------------------------------------------------------------

    def create_irqchip(self) -> PicPair:
        """KVM_CREATE_IRQCHIP: the interrupt controllers, here the two 8259s of a PC.

        Before the first vCPU, as in Linux (EINVAL), and once (EEXIST).
        """
        if self._vcpus or self.irqchip is not None:
            raise UsageError("the interrupt controllers are created once, before the first vCPU")
        from toyvisor.kvm.i8259 import PicPair
        from toyvisor.kvm.i8259_registers import PORT_RANGES

        self.irqchip = PicPair(self._intr_changed, self.ledger.trace)
        for port, count in PORT_RANGES:
            self.pio_bus.register(port, count, self.irqchip)
        return self.irqchip

    def create_pit2(self) -> Pit:
        """KVM_CREATE_PIT2: the interval timer at its ports, and on IRQ 0."""
        irqchip = self.irqchip
        if irqchip is None or self.pit is not None or self._vcpus:
            raise UsageError("the PIT is created once, after the interrupt controllers")
        from toyvisor.kvm.i8254 import Pit
        from toyvisor.kvm.i8254_registers import PORT_RANGES

        self.pit = pit = Pit(lambda level: self.set_irq(_PIT_IRQ, level), self._time)
        irqchip.register_irq_ack_notifier(_PIT_IRQ, pit.ack_irq)
        irqchip.register_irq_mask_notifier(_PIT_IRQ, pit.mask_changed)
        for port, count in PORT_RANGES:
            self.pio_bus.register(port, count, pit)
        return pit

    def irq_line(self, gsi: int, level: int) -> None:
        """KVM_IRQ_LINE: userspace drives a line of the interrupt controllers."""
        if self.irqchip is None:
            raise UsageError("there is no interrupt controller in the kernel")
        _check_gsi(gsi)
        self.set_irq(gsi, level)

    def set_irq(self, gsi: int, level: int) -> None:
        """kvm_set_irq(): a line changes, whoever drives it."""
        if self.ledger.trace.enabled:
            self.ledger.trace.emit(KVM_SET_IRQ, gsi, level, 0)
        assert self.irqchip is not None
        self.irqchip.set_irq(gsi, level)

    def irqfd(self, eventfd: EventFd, gsi: int, *, deassign: bool = False) -> None:
        """KVM_IRQFD: each signal of `eventfd` is an interrupt on `gsi`."""
        if self.irqchip is None:
            raise UsageError("an irqfd needs the interrupt controllers in the kernel")
        _check_gsi(gsi)
        if self._irqfds is None:
            from toyvisor.kvm.eventfd import IrqFds

            self._irqfds = IrqFds(self.set_irq, self.ledger.trace)
        (self._irqfds.deassign if deassign else self._irqfds.assign)(eventfd, gsi)

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
        """KVM_IOEVENTFD: a fitting store signals `eventfd`, and the guest goes on at once."""
        if self._ioeventfds is None:
            from toyvisor.kvm.eventfd import IoEventFds

            self._ioeventfds = IoEventFds(self.mmio_bus, self.pio_bus, self.ledger.trace)
        ioeventfds = self._ioeventfds
        change = ioeventfds.deassign if deassign else ioeventfds.assign
        change(eventfd, address, length, datamatch, pio=pio)

    def _intr_changed(self, level: int) -> None:
        for vcpu in self._vcpus:
            vcpu.events.set_intr(level)

    def _time(self) -> int:
        return self._vcpus[0].timing.now if self._vcpus else 0

    def create_vcpu(self, vcpu_id: int = 0) -> Vcpu:
        """KVM_CREATE_VCPU."""
        if self._vcpus:
            raise UsageError("the toy KVM has one vCPU")
        vcpu = Vcpu(vcpu_id, self.memory, self.ledger, self.pio_bus, self.mmio_bus, self._host)
        vcpu.events.irqchip = self.irqchip
        if self.pit is not None:
            vcpu.timing.pit = self.pit
            self.pit.on_change = vcpu.timing.set_limit
        vcpu.exit_hypercalls = self.exit_hypercalls
        self._vcpus.append(vcpu)
        return vcpu

    def close(self) -> None:
        """Close the file descriptors: the vCPUs end."""
        if self._irqfds is not None:
            self._irqfds.release()
        for vcpu in self._vcpus:
            vcpu.close()


def _check_gsi(gsi: int) -> None:
    """The 8259s have 16 lines; there is no I/O APIC with more."""
    if not 0 <= gsi < 16:
        raise UsageError(f"there is no interrupt line {gsi}: 0 to 15 are")
