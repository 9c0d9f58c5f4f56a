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
    """The ports, or the guest-physical addresses, that belong to kernel devices."""

    __slots__ = ("_ranges",)

    def __init__(self) -> None:
        self._ranges: list[tuple[int, int, KvmIoDevice]] = []

    def register(self, address: int, length: int, device: KvmIoDevice) -> None:
        """kvm_io_bus_register_dev()."""
        self._ranges.append((address, address + length, device))

    def read(self, address: int, size: int) -> int | None:
        """Ask the devices in turn; None if nobody answers."""
        for start, end, device in self._ranges:
            if start <= address and address + size <= end:
                value = device.read(address, size)
                if value is not None:
                    return value
        return None

    def write(self, address: int, size: int, value: int) -> bool:
        """Offer a store to the devices in turn."""
        return any(
            start <= address and address + size <= end and device.write(address, size, value)
            for start, end, device in self._ranges
        )
