"""Who answers at an address: the guest-physical address space, and that of the ports.

QEMU: AddressSpace and MemoryRegion (system/memory.c, system/physmem.c). One class serves
both: an access is looked up, taken out of `kvm_run` (the copy from KVM to QEMU, or the
other way for a load), and handed to the region's read or write.
"""

from __future__ import annotations

from typing import Any

from toyvisor.errors import GuestError
from toyvisor.qemu.device import GuestErrorLog, MemoryRegionOps
from toyvisor.trace.exit_records import REGION_READ, REGION_WRITE
from toyvisor.trace.ledger import Ledger


class MemoryRegion:
    """Registers at `base` of an address space."""

    __slots__ = ("base", "ops", "size")

    def __init__(self, base: int, size: int, ops: MemoryRegionOps) -> None:
        self.base = base
        self.size = size
        self.ops = ops


class AddressSpace:
    """Regions by address. `granule` is the unit of look-up: 4096 for memory, 1 for ports."""

    __slots__ = ("_errors", "_granule_bits", "_ledger", "_regions", "_trace", "name", "regions")

    def __init__(self, name: str, granule: int, ledger: Ledger, errors: GuestErrorLog) -> None:
        self.name = name
        self.regions: list[MemoryRegion] = []
        self._granule_bits = granule.bit_length() - 1
        self._regions: dict[int, MemoryRegion] = {}
        self._ledger = ledger
        self._trace = ledger.trace
        self._errors = errors

    def map(self, base: int, size: int, ops: MemoryRegionOps) -> None:
        """memory_region_add_subregion(): `ops` answers from `base` on."""
        region = MemoryRegion(base, size, ops)
        self.regions.append(region)
        bits = self._granule_bits
        for granule in range(base >> bits, (base + size - 1 >> bits) + 1):
            if granule in self._regions:
                raise ValueError(f"{ops.name} overlaps {self._regions[granule].ops.name}")
            self._regions[granule] = region

    def write(self, address: int, buffer: Any, offset: int, size: int) -> None:
        """address_space_write(): the guest stored the `size` bytes at `buffer[offset:]`."""
        ledger = self._ledger
        value = ledger.load(ledger.kvm_to_qemu, buffer, offset, size)
        region = self._regions.get(address >> self._granule_bits)
        if region is None:
            if self._trace.enabled:
                self._trace.emit(
                    REGION_WRITE, "unassigned", address, value, size, ledger.kvm_to_qemu.name
                )
            self._unassigned(address, size, f"stored {value:#x} ({size} bytes) to", "dropped")
            return
        if self._trace.enabled:
            trace = self._trace
            trace.append(
                (trace.now, trace.thread, REGION_WRITE.name, region.ops.name, address - region.base,
                 value, size, ledger.kvm_to_qemu.name)
            )  # fmt: skip
        if size & (size - 1):
            self._write_parts(region, address - region.base, size, value)
        else:
            region.ops.write(address - region.base, size, value)

    def read(self, address: int, buffer: Any, offset: int, size: int) -> None:
        """address_space_read(): put what the guest loads into `buffer[offset:]`."""
        region = self._regions.get(address >> self._granule_bits)
        if region is None:
            self._unassigned(address, size, f"loaded {size} bytes from", "answered with all ones")
            value = (1 << 8 * size) - 1
        elif size & (size - 1):
            value = self._read_parts(region, address - region.base, size)
        else:
            value = region.ops.read(address - region.base, size)
        ledger = self._ledger
        ledger.store(ledger.qemu_to_kvm, buffer, offset, value, size)
        if self._trace.enabled:
            name, base = (region.ops.name, region.base) if region else ("unassigned", 0)
            self._trace.emit(
                REGION_READ, name, address - base, value, size, ledger.qemu_to_kvm.name
            )

    # An access that a page's end cut in two has 3, 5, 6 or 7 bytes: devices see powers of
    # two (physmem.c, memory_access_size()).

    def _write_parts(self, region: MemoryRegion, offset: int, size: int, value: int) -> None:
        while size:
            part = 1 << (size.bit_length() - 1)
            region.ops.write(offset, part, value & (1 << 8 * part) - 1)
            offset, size, value = offset + part, size - part, value >> 8 * part

    def _read_parts(self, region: MemoryRegion, offset: int, size: int) -> int:
        value = shift = 0
        while size:
            part = 1 << (size.bit_length() - 1)
            value |= region.ops.read(offset, part) << shift
            offset, size, shift = offset + part, size - part, shift + 8 * part
        return value

    def _unassigned(self, address: int, size: int, did: str, answer: str) -> None:
        where = "port" if self._granule_bits == 0 else "guest-physical address"
        self._errors.report(
            self.name,
            GuestError(
                f"the guest {did} {where} {address:#x}, where there is no RAM and no device",
                rule="machine.unassigned",
                hint=f"on a PC such an access is {answer}",
            ),
        )
