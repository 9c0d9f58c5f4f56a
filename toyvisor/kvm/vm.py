"""`/dev/kvm` and a virtual machine: memory slots, kernel devices, vCPUs."""

from __future__ import annotations

from toyvisor.errors import UsageError
from toyvisor.kvm.io_bus import KvmIoBus
from toyvisor.kvm.vcpu import Vcpu
from toyvisor.memory import PAGE_SIZE, GuestMemory
from toyvisor.trace.ledger import Ledger

KVM_API_VERSION = 12


class Kvm:
    """The toy's `/dev/kvm`."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def get_api_version(self) -> int:
        """KVM_GET_API_VERSION."""
        return KVM_API_VERSION

    def create_vm(self) -> Vm:
        """KVM_CREATE_VM."""
        return Vm(self._ledger)


class Vm:
    """A virtual machine's file descriptor."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        #: What the EPT maps: guest-physical address to the very bytes userspace gave.
        self.memory = GuestMemory()
        self.pio_bus = KvmIoBus(granule_bits=0)
        self.mmio_bus = KvmIoBus(granule_bits=12)
        #: KVM_CAP_EXIT_HYPERCALL: a bit for each hypercall number that userspace wants
        self.exit_hypercalls = 0
        self._vcpus: list[Vcpu] = []

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

    def create_vcpu(self, vcpu_id: int = 0) -> Vcpu:
        """KVM_CREATE_VCPU."""
        if self._vcpus:
            raise UsageError("the toy KVM has one vCPU")
        vcpu = Vcpu(vcpu_id, self.memory, self.ledger, self.pio_bus, self.mmio_bus)
        vcpu.exit_hypercalls = self.exit_hypercalls
        self._vcpus.append(vcpu)
        return vcpu

    def close(self) -> None:
        """Close the file descriptors: the vCPUs end."""
        for vcpu in self._vcpus:
            vcpu.close()
