"""Waiting for files that somebody else writes to, in real time.

All else in the host happens in the machine's own time and is the same in every run. A real tap
or terminal is not: whether a frame has come in can only be asked of the real kernel. The
`Poller` asks, and calls the waiters of each file that can be read, as the kernel's own
wait queues would; from there on it goes the way of every other file.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol


class RealFile(Protocol):
    """A file of the real kernel (TunTap, InputFile); also a `WaitQueue`."""

    def fileno(self) -> int:
        """The real file descriptor."""
        ...

    @property
    def has_waiters(self) -> bool:
        """Whether anybody waits; if not, there is no use in asking."""
        ...

    def wake_up(self) -> None:
        """Call those who wait."""
        ...


def can_read(descriptor: int) -> bool:
    """Whether read(2) would return at once: data, the end of the file, or an error."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


class Poller:
    """The real files of one machine."""

    __slots__ = ("files",)

    def __init__(self, *files: RealFile) -> None:
        self.files = list(files)

    def add(self, file: RealFile) -> None:
        """One more to ask."""
        self.files.append(file)

    @property
    def has_waiters(self) -> bool:
        """Whether input from outside could wake anybody at all."""
        return any(file.has_waiters for file in self.files)

    def wait_for_input(
        self,
        timeout: float | None = None,
        interrupted: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Sleep until a file can be read, and call its waiters; whether there was one.

        `timeout` in seconds; 0 only asks, None sleeps for as long as it takes. It returns
        early, and False, when a signal has been handled, or when `interrupted` says that
        one was before. If nobody waits for any file it returns False at once: nothing
        could ever come.
        """
        found = self.ready(timeout, interrupted)
        for file in found:
            file.wake_up()
        return bool(found)

    def ready(
        self,
        timeout: float | None = None,
        interrupted: Callable[[], bool] = lambda: False,
    ) -> list[RealFile]:
        """The same without calling anybody: the files that can be read."""
        files = {file.fileno(): file for file in self.files if file.has_waiters}
        if not files:
            return []
        poll = select.poll()
        for descriptor in files:
            poll.register(descriptor, select.POLLIN)
        if timeout == 0:
            ready = poll.poll(0)
        else:
            with _woken_by_signals(poll):
                if interrupted():
                    return []
                ready = poll.poll(None if timeout is None else timeout * 1000)
        return [files[descriptor] for descriptor, _ in ready if descriptor in files]


@contextmanager
def _woken_by_signals(poll: select.poll) -> Iterator[None]:
    """Let a signal end poll(), which Python would otherwise begin again (PEP 475).

    The old trick of a pipe to oneself: the signal's byte is there however shortly before
    poll() it came, so that none is missed.
    """
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    try:
        before = signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    except ValueError:  # not the main thread: no signal comes here
        before = None
    poll.register(read_end, select.POLLIN)
    try:
        yield
    finally:
        if before is not None:
            signal.set_wakeup_fd(before)
        os.close(read_end)
        os.close(write_end)
