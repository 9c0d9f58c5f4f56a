"""Exits that KVM finishes by itself, as the trace has them.

The plain way of such an exit is a look at a bus and back into the guest. Only while somebody
traces does it go through here, which says what the plain way does.
"""

from __future__ import annotations

from collections.abc import Callable

from toyvisor.exit_reasons import ExitReason
from toyvisor.kvm.io_bus import KvmIoBus
from toyvisor.trace.events import KVM_MMIO, KVM_PIO, VM_ENTRY, VM_EXIT, Trace

_IO = int(ExitReason.IO_INSTRUCTION)
_EPT = int(ExitReason.EPT_MISCONFIG)


class TracedBuses:
    """KVM's buses, asked as the plain ones are, with the events of what they finish.

    `moment` says where the guest stands, and whether an event is injected before it goes on:
    then whoever injects it tells the entry.
    """

    def __init__(
        self,
        mmio_bus: KvmIoBus,
        pio_bus: KvmIoBus,
        trace: Trace,
        moment: Callable[[], tuple[int, bool]],
    ) -> None:
        self._mmio_bus = mmio_bus
        self._pio_bus = pio_bus
        self._trace = trace
        self._moment = moment

    def mmio_read(self, gpa: int, size: int) -> int | None:
        """A load."""
        if not self._mmio_bus.has(gpa):
            return None
        mark = self._begin(_EPT, gpa, size)
        value = self._mmio_bus.read(gpa, size)
        self._trace.emit(KVM_MMIO, "read", size, gpa, value or 0)
        self._end(mark, done=value is not None)
        return value

    def mmio_write(self, gpa: int, size: int, value: int) -> bool:
        """A store."""
        if not self._mmio_bus.has(gpa):
            return False
        mark = self._begin(_EPT, gpa, size)
        self._trace.emit(KVM_MMIO, "write", size, gpa, value)
        return self._end(mark, done=self._mmio_bus.write(gpa, size, value))

    def pio_read(self, port: int, size: int) -> int | None:
        """IN."""
        if not self._pio_bus.has(port):
            return None
        mark = self._begin(_IO, port, size)
        value = self._pio_bus.read(port, size)
        self._trace.emit(KVM_PIO, "read", port, size, 1, value or 0)
        self._end(mark, done=value is not None)
        return value

    def pio_write(self, port: int, size: int, value: int) -> bool:
        """OUT."""
        if not self._pio_bus.has(port):
            return False
        mark = self._begin(_IO, port, size)
        self._trace.emit(KVM_PIO, "write", port, size, 1, value)
        return self._end(mark, done=self._pio_bus.write(port, size, value))

    def _begin(self, reason: int, address: int, size: int) -> int:
        self._trace.emit(VM_EXIT, reason, self._moment()[0], address, size)
        return len(self._trace.records) - 1

    def _end(self, mark: int, *, done: bool) -> bool:
        if not done:  # not KVM's after all: whoever takes it tells it in his own words
            del self._trace.records[mark:]
        elif not self._moment()[1]:
            self._trace.emit(VM_ENTRY)
        return done
