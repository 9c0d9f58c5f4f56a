"""What a device is to the rest of QEMU.

A device sees reads and writes of its own registers, its interrupt line, guest memory
through DMA views, and its host backend. No more: not the vCPU, not KVM, not Unicorn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from toyvisor.errors import GuestError
from toyvisor.memory import GuestMemory
from toyvisor.trace.events import GUEST_ERROR, IRQ_LINE, Trace
from toyvisor.trace.ledger import Ledger

if TYPE_CHECKING:
    from toyvisor.qemu.main_loop import MainLoop


class MemoryRegionOps(Protocol):
    """Registers in an address space (QEMU: MemoryRegionOps, include/exec/memory.h)."""

    name: str

    def read(self, offset: int, size: int) -> int:
        """The guest loads `size` bytes (1, 2, 4 or 8) at `offset` of the region."""
        ...

    def write(self, offset: int, size: int, value: int) -> None:
        """The guest stores the `size`-byte `value` at `offset` of the region."""
        ...


class IrqLine:
    """A device's interrupt output (QEMU: qemu_irq). Nothing is wired to it by default."""

    __slots__ = ("device", "level", "trace", "wire")

    def __init__(self, device: str, trace: Trace) -> None:
        self.device = device
        self.trace = trace
        self.level = 0
        #: Where it leads: told each new level.
        self.wire: Callable[[int], None] | None = None

    def set(self, level: int) -> None:
        """Drive the line; only a change is an event."""
        if level != self.level:
            self.level = level
            if self.trace.enabled:
                self.trace.emit(IRQ_LINE, self.device, level)
            if self.wire is not None:
                self.wire(level)


class GuestErrorLog:
    """What the guest did wrong, as `qemu -d guest_errors` would log it; bounded."""

    LIMIT = 64

    __slots__ = ("count", "entries", "instruction_pointer", "rips", "trace")

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.entries: list[tuple[str, GuestError]] = []
        #: Where the guest stood at each entry, if a machine told us how to find out.
        self.rips: list[int | None] = []
        self.instruction_pointer: Callable[[], int | None] | None = None
        self.count = 0

    def report(self, device: str, error: GuestError) -> None:
        """Record one breach of a rule by the guest."""
        self.count += 1
        if len(self.entries) < self.LIMIT:
            self.entries.append((device, error))
            where = self.instruction_pointer
            self.rips.append(where() if where is not None else None)
        if self.trace.enabled:
            self.trace.emit(GUEST_ERROR, device, error.rule, error.message)


class DeviceContext:
    """Everything a device may reach; handed to its constructor by the machine.

    Without a `main_loop` (a device alone on a bench) work that is put off stays undone.
    """

    __slots__ = ("errors", "irq", "ledger", "main_loop", "memory", "trace")

    def __init__(
        self,
        name: str,
        *,
        memory: GuestMemory,
        ledger: Ledger,
        errors: GuestErrorLog,
        main_loop: MainLoop | None = None,
    ) -> None:
        self.memory = memory
        self.ledger = ledger
        self.trace = ledger.trace
        self.errors = errors
        self.main_loop = main_loop
        self.irq = IrqLine(name, self.trace)
