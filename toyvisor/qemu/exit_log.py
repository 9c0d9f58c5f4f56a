"""Every return of KVM_RUN, written down: to hold two runs of one guest against each other.

What userspace sees of an exit is all in `kvm_run`: the reason, the address or port, the width,
how many at once, the direction, and the data. Both KVMs lay it out alike, so their logs compare.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from toyvisor.kvm.api import KVM_EXIT_IO_OUT, KvmExit, KvmRun
from toyvisor.kvm.file_descriptors import VcpuFd


class ExitEntry(NamedTuple):
    """One exit. `data` is what the guest stored, or what it got for a load."""

    reason: KvmExit | int
    direction: str = ""  # read or write
    address: int = 0  # guest-physical, or a port
    size: int = 0  # bytes
    elements: int = 1  # of a string instruction
    data: bytes = b""

    def __str__(self) -> str:
        name = self.reason.name if isinstance(self.reason, KvmExit) else str(self.reason)
        if not self.direction:
            return name
        width = f"{self.size}" if self.elements == 1 else f"{self.elements} x {self.size}"
        return f"{name} {self.direction} {self.address:#x}, {width} bytes: {self.data.hex()}"


class LoggedVcpu:
    """A vCPU whose exits are written down, up to `limit` of them; else it is what it was."""

    def __init__(self, vcpu: VcpuFd, limit: int = 1_000_000) -> None:
        self._vcpu = vcpu
        self._limit = limit
        self._pending: ExitEntry | None = None
        self._entries: list[ExitEntry] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._vcpu, name)

    def run(self) -> None:
        """KVM_RUN: first the answer to the last exit, afterwards the new one."""
        self._complete()
        self._vcpu.run()
        self._log_exit()

    @property
    def entries(self) -> list[ExitEntry]:
        """All exits so far. Only when the run is over."""
        self._complete()
        return self._entries

    def _log_exit(self) -> None:
        if len(self._entries) < self._limit:
            self._pending = _read(self._vcpu.kvm_run)

    def _complete(self) -> None:
        """What QEMU has answered to a load is in kvm_run by now."""
        pending, self._pending = self._pending, None
        if pending is not None:
            if pending.direction == "read":
                pending = pending._replace(data=_data(self._vcpu.kvm_run, pending.reason))
            self._entries.append(pending)


def _read(run: KvmRun) -> ExitEntry | None:
    """The exit as it is; None for one that is nothing the guest did (a signal)."""
    reason = run.exit_reason
    match reason:
        case KvmExit.MMIO:
            mmio = run.mmio
            way = "write" if mmio.is_write else "read"
            return ExitEntry(
                KvmExit.MMIO, way, mmio.phys_addr, mmio.len, data=_data(run, KvmExit.MMIO)
            )
        case KvmExit.IO:
            io = run.io
            way = "write" if io.direction == KVM_EXIT_IO_OUT else "read"
            return ExitEntry(KvmExit.IO, way, io.port, io.size, io.count, _data(run, KvmExit.IO))
        case KvmExit.INTR:
            return None
        case _ if reason in KvmExit.__members__.values():
            return ExitEntry(KvmExit(reason))
        case _:
            return ExitEntry(reason)


def _data(run: KvmRun, reason: int) -> bytes:
    if reason == KvmExit.MMIO:
        return bytes(run.mmio.data[: run.mmio.len])
    io = run.io
    start: int = io.data_offset
    return bytes(run.mapping[start : start + io.size * io.count])
