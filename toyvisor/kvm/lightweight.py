"""Exits that KVM finishes by itself, as the trace has them.

The plain way of such an exit is a look at a bus and back into the guest. Only while somebody
traces does it go through here, which says what the plain way does.
"""

from __future__ import annotations

from collections.abc import Callable

from toyvisor.exit_reasons import ExitReason
from toyvisor.kvm.io_bus import KvmIoBus
from toyvisor.kvm.vcpu_trace import VcpuTrace
from toyvisor.trace.events import KVM_MMIO, KVM_PIO, VM_EXIT

_IO = int(ExitReason.IO_INSTRUCTION)
_EPT = int(ExitReason.EPT_MISCONFIG)


class TracedBuses:
    """KVM's buses, asked as the plain ones are, with the events of what they finish.

    `told` knows where the guest stands; `tell_entry` that it goes on, once it does.
    """

    def __init__(
        self,
        mmio_bus: KvmIoBus,
        pio_bus: KvmIoBus,
        told: VcpuTrace,
        tell_entry: Callable[[], None],
    ) -> None:
        self._mmio_bus = mmio_bus
        self._pio_bus = pio_bus
        self._trace = told.trace
        self._told = told
        self._end = tell_entry

    def mmio_read(self, gpa: int, size: int) -> int | None:
        """A load."""
        if not self._mmio_bus.accepts(gpa, size, None):
            return None
        self._begin(_EPT, gpa, size)
        value = self._mmio_bus.read(gpa, size)
        self._trace.emit(KVM_MMIO, "read", size, gpa, value or 0)
        self._end()
        return value

    def mmio_write(self, gpa: int, size: int, value: int) -> bool:
        """A store."""
        if not self._mmio_bus.accepts(gpa, size, value):
            return False
        self._begin(_EPT, gpa, size)
        self._trace.emit(KVM_MMIO, "write", size, gpa, value)
        self._mmio_bus.write(gpa, size, value)
        self._end()
        return True

    def pio_read(self, port: int, size: int) -> int | None:
        """IN."""
        if not self._pio_bus.accepts(port, size, None):
            return None
        self._begin(_IO, port, size)
        value = self._pio_bus.read(port, size)
        self._trace.emit(KVM_PIO, "read", port, size, 1, value or 0)
        self._end()
        return value

    def pio_write(self, port: int, size: int, value: int) -> bool:
        """OUT."""
        if not self._pio_bus.accepts(port, size, value):
            return False
        self._begin(_IO, port, size)
        self._trace.emit(KVM_PIO, "write", port, size, 1, value)
        self._pio_bus.write(port, size, value)
        self._end()
        return True

    def _begin(self, reason: int, address: int, size: int) -> None:
        self._trace.emit(VM_EXIT, reason, self._told.rip, address, size)
