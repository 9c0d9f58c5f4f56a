"""The debug console: a port that prints (QEMU: hw/char/debugcon.c; Bochs: port E9 hack)."""

from __future__ import annotations

from toyvisor.host.syscalls import CharFile, write
from toyvisor.qemu.device import DeviceContext

PORT = 0xE9


class DebugConsole:
    """One port: a byte written is printed, a read says that somebody is there."""

    __slots__ = ("_byte", "_console", "_ledger", "name")

    def __init__(self, context: DeviceContext, console: CharFile) -> None:
        self.name = context.irq.device
        self._console = console
        self._ledger = context.ledger
        self._byte = bytearray(1)

    def read(self, offset: int, size: int) -> int:
        """The port's own number, by which Bochs's guests find it; no port stands above it."""
        return PORT if size == 1 else PORT | ((1 << 8 * size) - 1 & ~0xFF)

    def write(self, offset: int, size: int, value: int) -> None:
        """Print one byte; the others of a wider access meet ports where nothing is."""
        self._byte[0] = value & 0xFF
        write(self._ledger, self._console, self._byte)
