"""Writing a capture while the guest sends, and keeping old files safe."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from itertools import count
from types import TracebackType
from typing import Any, BinaryIO

from toyvisor.errors import InputError
from toyvisor.host.frames import MAX_FRAME


class PcapWriter:
    """The far end of a tap: every frame that arrives goes into a classic pcap file.

    The file is made under another name beside the wanted one, which proves before the run
    that it can be written; `close()` moves it there and `discard()` forgets it, so that a
    run that fails costs nobody the capture of the run before.

    Packet n has the time n microseconds: two equal runs give equal files.
    """

    __slots__ = ("_file", "_target", "_temporary", "_writer", "count", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self.count = 0
        try:
            self._target = os.path.realpath(path)  # a link stays a link
            self._file, self._temporary = _open(path, self._target)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise InputError(f"{path}: cannot be written: {reason}") from None
        from dpkt import pcap  # imported late: it costs more than a whole small run

        self._writer: Any = pcap.Writer(self._file, snaplen=MAX_FRAME, linktype=pcap.DLT_EN10MB)

    def receive(self, frame: bytes) -> None:
        """Append one frame."""
        try:
            self._writer.writepkt_time(frame, self.count / 1_000_000)
        except OSError as error:
            raise self._failed(error) from None
        self.count += 1

    def close(self) -> None:
        """The run went well: the capture takes its place. Once more: nothing."""
        try:
            self._file.close()
            if self._temporary is not None:
                os.replace(self._temporary, self._target)
        except OSError as error:
            raise self._failed(error) from None
        self._temporary = None

    def discard(self) -> None:
        """The run failed: leave what was there. After close(): nothing."""
        with suppress(OSError):  # what could not be flushed is not wanted
            self._file.close()
        if self._temporary is not None:
            with suppress(OSError):
                os.unlink(self._temporary)
            self._temporary = None

    def _failed(self, error: OSError) -> InputError:
        self.discard()
        return InputError(f"{self.path}: cannot be written: {error.strerror or error}")

    def __enter__(self) -> PcapWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:
            self.discard()


def _open(path: str, target: str) -> tuple[BinaryIO, str | None]:
    """Open a file to become `target`: the open file, and its present name if it has another."""
    try:
        old = os.stat(path)
    except FileNotFoundError:
        if path.endswith(os.sep):
            raise InputError(f"{path} names a directory; a file name is needed") from None
        return _open_new(os.path.dirname(target), 0o666)
    if stat.S_ISDIR(old.st_mode):
        raise InputError(f"{path} is a directory; a file name is needed")
    if not stat.S_ISREG(old.st_mode):
        # /dev/null, /dev/stdout, a pipe: nothing to keep safe, and nothing to replace. A pipe
        # that nobody reads would block the open for good; like this it is an error.
        descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        os.set_blocking(descriptor, True)
        return os.fdopen(descriptor, "wb"), None
    if not os.access(path, os.W_OK):
        raise InputError(f"{path}: cannot be written: it is read-only")
    mode = stat.S_IMODE(old.st_mode)
    file, name = _open_new(os.path.dirname(target), mode)
    with suppress(OSError):
        os.fchmod(file.fileno(), mode)  # past the umask
    return file, name


def _open_new(directory: str, mode: int) -> tuple[BinaryIO, str]:
    for number in count():
        name = os.path.join(directory, f".toyvisor-{os.getpid()}-{number}.pcap")
        with suppress(FileExistsError):
            descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
            return os.fdopen(descriptor, "wb"), name
    raise AssertionError("count() has no end")
