"""What the serial port gets to read: bytes given before the run, or a live file."""

from __future__ import annotations

import os

from toyvisor.errors import InputError
from toyvisor.host.poll import can_read
from toyvisor.host.waiters import WaitQueue


class InputBytes(WaitQueue):
    """What somebody is going to type, known before the run: the same in every run.

    After the last byte the line is silent, as a terminal at which nobody sits.
    """

    LIMIT = 1 << 20

    __slots__ = ("_data", "_place", "name")

    def __init__(self, data: bytes, name: str = "input") -> None:
        super().__init__()
        if len(data) > self.LIMIT:
            raise InputError(
                f"{len(data)} bytes of input for the console, more than {self.LIMIT >> 20} MiB"
            )
        self.name = name
        self._data = data
        self._place = 0

    def recv(self, size: int) -> bytes | None:
        """The next `size` bytes or fewer; None once there are no more (`CharInput`)."""
        part = self._data[self._place : self._place + size]
        self._place += len(part)
        return part or None

    @property
    def readable(self) -> bool:
        """Whether there is still something to come."""
        return self._place < len(self._data)


class InputFile(WaitQueue):
    """A file of the real host, such as standard input: a terminal, a pipe, a file.

    It is asked before it is read, and left in blocking mode: a shell's terminal is not ours
    to change. A `Poller` finds out when there is something.
    """

    __slots__ = ("_descriptor", "name")

    def __init__(self, descriptor: int, name: str = "stdin") -> None:
        super().__init__()
        self.name = name
        self._descriptor = descriptor

    def recv(self, size: int) -> bytes | None:
        """Up to `size` bytes, none at the end, None if there are none yet. Raises OSError."""
        return os.read(self._descriptor, size) if self.readable else None

    @property
    def readable(self) -> bool:
        """Whether there is something to read, or the end has come."""
        return can_read(self._descriptor)

    def fileno(self) -> int:
        """The real file descriptor, for a `Poller`."""
        return self._descriptor
