"""The ledger: vmexits and copies, counted where they happen and nowhere else.

A copy is counted by the functions of this module that move the bytes, an exit by the
world switch, a return to userspace by KVM. Nobody else may count; so a figure in the
experiment is a result, never an assertion.
"""

from __future__ import annotations

from struct import Struct
from typing import Any

from toyvisor.trace.events import COPY, Trace

WritableBuffer = Any  # bytearray, mmap, writable memoryview: takes slice assignment
ReadableBuffer = Any

_FORMS = {1: Struct("<B"), 2: Struct("<H"), 4: Struct("<I"), 8: Struct("<Q")}
_PACK = [_FORMS[size].pack_into if size in _FORMS else None for size in range(9)]
_UNPACK = [_FORMS[size].unpack_from if size in _FORMS else None for size in range(9)]


class Hop:
    """One place where bytes pass from one owner's memory to another's."""

    __slots__ = ("bytes", "count", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.count = 0
        self.bytes = 0

    def __repr__(self) -> str:
        return f"<{self.name}: {self.count} copies, {self.bytes} bytes>"


class Ledger:
    """All counters of one run."""

    __slots__ = (
        "context_switches",
        "exits",
        "guest_to_host",
        "guest_to_kvm",
        "hops",
        "host_to_guest",
        "host_to_qemu",
        "injected",
        "kvm_to_guest",
        "kvm_to_qemu",
        "qemu_to_guest",
        "qemu_to_host",
        "qemu_to_kvm",
        "qemu_to_qemu",
        "ring_bytes",
        "ring_reads",
        "ring_writes",
        "suppressed",
        "syscalls",
        "trace",
        "userspace",
    )

    def __init__(self, trace: Trace | None = None) -> None:
        self.trace = trace if trace is not None else Trace()
        #: vmexits, every one, by VMX basic exit reason; counted by the world switch
        self.exits = [0] * 80
        #: returns of ioctl(KVM_RUN), by KVM_EXIT_* number; counted by Vcpu.run()
        self.userspace = [0] * 48
        #: interrupts KVM injected, and used-buffer notifications that were suppressed
        self.injected = 0
        self.suppressed = 0
        #: times that another of the host's threads got the processor; counted by its scheduler
        self.context_switches = 0
        #: system calls QEMU made, by name (KVM_RUN is in `userspace`)
        self.syscalls: dict[str, int] = {}
        #: loads and stores on virtqueues in shared memory: no copy of data, yet not free
        self.ring_reads = 0
        self.ring_writes = 0
        self.ring_bytes = 0
        self.guest_to_kvm = Hop("guest->kvm")
        self.kvm_to_qemu = Hop("kvm->qemu")
        self.qemu_to_host = Hop("qemu->host")
        self.host_to_qemu = Hop("host->qemu")
        self.qemu_to_kvm = Hop("qemu->kvm")
        self.kvm_to_guest = Hop("kvm->guest")
        # Receiving: QEMU's buffer to a device's own, or into guest RAM. vhost: no QEMU between.
        self.qemu_to_qemu = Hop("qemu->qemu")
        self.qemu_to_guest = Hop("qemu->guest")
        self.guest_to_host = Hop("guest->host")
        self.host_to_guest = Hop("host->guest")
        self.hops = (
            self.guest_to_kvm,
            self.kvm_to_qemu,
            self.qemu_to_host,
            self.host_to_qemu,
            self.qemu_to_kvm,
            self.kvm_to_guest,
            self.qemu_to_qemu,
            self.qemu_to_guest,
            self.guest_to_host,
            self.host_to_guest,
        )

    # The functions that move bytes -------------------------------------------------

    def copy(
        self, hop: Hop, destination: WritableBuffer, start: int, source: ReadableBuffer
    ) -> None:
        """memcpy: the whole of `source` to `destination[start:]`."""
        length = len(source)
        destination[start : start + length] = source
        hop.count += 1
        hop.bytes += length
        if self.trace.enabled:
            self.trace.emit(COPY, hop.name, length)

    # store() and load() leave no trace event of their own: they are a step of every exit,
    # whose record (trace/exit_records.py) stands for them too.

    def store(
        self, hop: Hop, destination: WritableBuffer, start: int, value: int, size: int
    ) -> None:
        """Copy a register's low `size` bytes (1 to 8) into memory, little endian."""
        pack = _PACK[size]
        if pack is not None:
            pack(destination, start, value)
        else:  # an access that a page's end cut in two
            destination[start : start + size] = value.to_bytes(size, "little")
        hop.count += 1
        hop.bytes += size

    def load(self, hop: Hop, source: ReadableBuffer, start: int, size: int) -> int:
        """Copy `size` bytes of memory (1 to 8), little endian, into a register."""
        hop.count += 1
        hop.bytes += size
        unpack = _UNPACK[size]
        if unpack is not None:
            value: int = unpack(source, start)[0]
            return value
        return int.from_bytes(source[start : start + size], "little")

    # Reading the result ------------------------------------------------------------

    @property
    def copies(self) -> int:
        """Copies over all hops."""
        return sum(hop.count for hop in self.hops)

    @property
    def bytes_copied(self) -> int:
        """Bytes over all hops."""
        return sum(hop.bytes for hop in self.hops)

    @property
    def total_exits(self) -> int:
        """Vmexits of every kind."""
        return sum(self.exits)

    @property
    def userspace_exits(self) -> int:
        """Vmexits that went all the way to QEMU: returns of ioctl(KVM_RUN)."""
        return sum(self.userspace)

    @property
    def lightweight_exits(self) -> int:
        """Vmexits that KVM finished by itself."""
        return self.total_exits - self.userspace_exits
