"""The symbol file, as gdb can read it from us: a file system with one file.

gdb asks which program runs (qXfer:exec-file) and then opens that file on the target's side, so
that it knows labels and source lines without being given a file.

Source: the gdb manual, appendix "GDB Remote Serial Protocol", section "Host I/O Packets";
appendix "File-I/O Remote Protocol Extension" for struct stat and errno.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from struct import pack

from toyvisor.debug.gdb.fields import MalformedPacket, data, number, numbers
from toyvisor.debug.gdb.packets import PACKET_SIZE
from toyvisor.debug.gdb.symbol_file import symbol_file
from toyvisor.guest.program import Program

_ENOENT, _EBADF, _EACCES = 2, 9, 13
_O_RDONLY = 0
_DESCRIPTOR = 3
_S_IFREG_READABLE = 0o100444
#: What a byte of data may take in a packet: two bytes, if it has to be escaped.
_MOST_READ = PACKET_SIZE // 2 - 32


class HostFiles:
    """Answers vFile packets."""

    def __init__(self, program: Program) -> None:
        self._program = program
        #: Its path on the target's side. There is no such file anywhere else.
        self.path = f"/toyvisor/{program.name}.elf"
        self._is_open = False
        self._operations: dict[bytes, Callable[[bytes], bytes]] = {
            b"setfs": lambda _: b"F0",
            b"open": self._open,
            b"close": self._close,
            b"pread": self._pread,
            b"fstat": self._fstat,
        }

    def answer(self, text: bytes) -> bytes:
        """The answer to what follows `vFile:`."""
        operation, _, parameters = text.partition(b":")
        handler = self._operations.get(operation)
        return b"" if handler is None else handler(parameters)

    @cached_property
    def _content(self) -> bytes:
        return symbol_file(self._program)

    def _open(self, parameters: bytes) -> bytes:
        parts = parameters.split(b",")
        if len(parts) != 3:
            raise MalformedPacket(parameters)
        if data(parts[0]) != self.path.encode("utf-8", "surrogateescape"):
            return _failed(_ENOENT)
        if number(parts[1]) != _O_RDONLY:
            return _failed(_EACCES)
        self._is_open = True
        return b"F%x" % _DESCRIPTOR

    def _close(self, parameters: bytes) -> bytes:
        if not self._has(number(parameters)):
            return _failed(_EBADF)
        self._is_open = False
        return b"F0"

    def _pread(self, parameters: bytes) -> bytes:
        descriptor, count, offset = numbers(parameters, 3)
        if not self._has(descriptor):
            return _failed(_EBADF)
        part = self._content[offset : offset + min(count, _MOST_READ)]
        return b"F%x;" % len(part) + part

    def _fstat(self, parameters: bytes) -> bytes:
        """dev, ino, mode, nlink, uid, gid, rdev, size, blksize, blocks, three times; big-endian."""
        if not self._has(number(parameters)):
            return _failed(_EBADF)
        size = len(self._content)
        blocks = -(-size // 512)
        stat = pack(">7I3Q3I", 0, 0, _S_IFREG_READABLE, 1, 0, 0, 0, size, 512, blocks, 0, 0, 0)
        return b"F%x;" % len(stat) + stat

    def _has(self, descriptor: int) -> bool:
        return self._is_open and descriptor == _DESCRIPTOR


def _failed(errno: int) -> bytes:
    return b"F-1,%x" % errno
