"""Devices that live in the kernel: KVM asks here before it returns to userspace.

Linux: struct kvm_io_bus, virt/kvm/kvm_main.c. An exit that ends here is a lightweight
exit: the guest goes on without QEMU having run at all.
"""

from __future__ import annotations

from typing import Protocol

#: The widest access there is: what a device of length 0, which takes any width, may be asked.
_WIDEST = 8


class KvmIoDevice(Protocol):
    """struct kvm_io_device_ops: None or False means "not mine after all"."""

    def accepts(self, address: int, size: int, value: int | None) -> bool:
        """Whether write() would take a store of `value`, or read() a load (None)."""
        ...

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
        """kvm_io_bus_register_dev(). Length 0: accesses of any width that begin at `address`."""
        entry = (address, address + (length or _WIDEST), device)
        last = address + max(length, 1) - 1
        for granule in range(address >> self._bits, (last >> self._bits) + 1):
            self._devices.setdefault(granule, []).append(entry)

    def unregister(self, device: KvmIoDevice) -> None:
        """kvm_io_bus_unregister_dev(): all of its ranges. Nothing happens if it has none."""
        for granule, entries in list(self._devices.items()):
            kept = [entry for entry in entries if entry[2] is not device]
            if kept:
                self._devices[granule] = kept
            else:
                del self._devices[granule]

    def has(self, address: int) -> bool:
        """Whether a device is there, or near."""
        return address >> self._bits in self._devices

    def accepts(self, address: int, size: int, value: int | None) -> bool:
        """Whether a device would take a store of `value`, or a load (None)."""
        return any(
            start <= address and address + size <= end and device.accepts(address, size, value)
            for start, end, device in self._devices.get(address >> self._bits, ())
        )

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
