"""Devices that live in the kernel: KVM asks here before it returns to userspace.

Linux: struct kvm_io_bus, virt/kvm/kvm_main.c. An exit that ends here is a lightweight
exit: the guest goes on without QEMU having run at all.
"""

from __future__ import annotations

from typing import Protocol


class KvmIoDevice(Protocol):
    """struct kvm_io_device_ops: None or False means "not mine after all"."""

    def read(self, address: int, size: int) -> int | None:
        """The guest loads."""
        ...

    def write(self, address: int, size: int, value: int) -> bool:
        """The guest stores."""
        ...


class KvmIoBus:
    """The ports, or the guest-physical addresses, that belong to kernel devices.

    `granule_bits` is the unit of look-up: 12 for memory (pages), 0 for ports.
    """

    __slots__ = ("_bits", "_devices")

    def __init__(self, granule_bits: int) -> None:
        self._bits = granule_bits
        self._devices: dict[int, list[tuple[int, int, KvmIoDevice]]] = {}

    def register(self, address: int, length: int, device: KvmIoDevice) -> None:
        """kvm_io_bus_register_dev()."""
        for granule in range(address >> self._bits, (address + length - 1 >> self._bits) + 1):
            self._devices.setdefault(granule, []).append((address, address + length, device))

    def read(self, address: int, size: int) -> int | None:
        """Ask the devices in turn; None if nobody answers."""
        for start, end, device in self._devices.get(address >> self._bits, ()):
            if start <= address and address + size <= end:
                value = device.read(address, size)
                if value is not None:
                    return value
        return None

    def write(self, address: int, size: int, value: int) -> bool:
        """Offer a store to the devices in turn."""
        for start, end, device in self._devices.get(address >> self._bits, ()):
            if start <= address and address + size <= end and device.write(address, size, value):
                return True
        return False
