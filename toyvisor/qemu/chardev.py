"""What lies between a file and a character device in QEMU: chardev/char-fd.c, char-fe.c.

Bytes wait in the host's file until the device, the front end, has room for them. Only then
does the main loop look at the file.
"""

from __future__ import annotations

from collections.abc import Callable
from errno import EAGAIN
from typing import Protocol

from toyvisor.host.syscalls import CharInput, read_char
from toyvisor.qemu.main_loop import MainLoop
from toyvisor.trace.ledger import Ledger

#: bytes of one read (QEMU, include/chardev/char.h: CHR_READ_BUF_LEN)
READ_BUF_LEN = 4096


class FrontEnd(Protocol):
    """A device with a character line (QEMU: CharBackend's handlers)."""

    #: The device calls it when it has room again.
    accept_input: Callable[[], None] | None

    def can_receive(self) -> int:
        """How many bytes the device would take now."""
        ...

    def receive(self, data: bytes) -> None:
        """So many bytes, or fewer."""
        ...


class FdChardev:
    """The input side of one character device, read from `file` by the main loop."""

    __slots__ = ("_buffer", "_file", "_ledger", "_main_loop", "at_end", "front_end", "polling")

    def __init__(
        self, ledger: Ledger, file: CharInput, main_loop: MainLoop, front_end: FrontEnd
    ) -> None:
        self._ledger = ledger
        self._file = file
        self._main_loop = main_loop
        self._buffer = memoryview(bytearray(READ_BUF_LEN))
        self.front_end = front_end
        front_end.accept_input = self.accept_input
        #: the file has ended: nothing more will come
        self.at_end = False
        #: whether the main loop waits for the file
        self.polling = False
        self.accept_input()

    def accept_input(self) -> None:
        """The device has room: let the main loop wait for the file (qemu_chr_fe_accept_input).

        QEMU wakes its loop every time; here it costs something only after the loop had
        given up on the file.
        """
        if not self.polling and not self.at_end:
            self._poll(True)

    def _read(self) -> None:
        """The file can be read: as much as the device takes (fd_chr_read)."""
        room = min(self.front_end.can_receive(), READ_BUF_LEN)
        if room:
            length = read_char(self._ledger, self._file, self._buffer[:room])
            if length > 0:
                self.front_end.receive(bytes(self._buffer[:length]))
            elif length != -EAGAIN:  # the end, or a terminal that is gone
                self.at_end = True
        if self.at_end or not self.front_end.can_receive():
            self._poll(False)

    def _poll(self, on: bool) -> None:
        self.polling = on
        self._main_loop.set_fd_handler(self._file, self._read if on else None)
