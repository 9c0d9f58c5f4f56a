"""A file's wait queue: who wants to hear that there is something to read.

Linux: include/linux/wait.h. Whoever polls a file leaves an entry here; the file calls each one
whenever something arrives, and they find out by themselves what it was.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

Waiter = Callable[[], None]


class PolledFile(Protocol):
    """A file that can be waited for."""

    name: str

    @property
    def readable(self) -> bool:
        """Whether poll(2) would say POLLIN."""
        ...

    def add_waiter(self, waiter: Waiter) -> None:
        """Call `waiter` whenever something arrives."""
        ...

    def remove_waiter(self, waiter: Waiter) -> None:
        """Call it no more. Nothing happens if it was not there."""
        ...


class WaitQueue:
    """The part of a file that remembers its waiters."""

    __slots__ = ("_waiters",)

    def __init__(self) -> None:
        # A tuple: one that is called may come and go without disturbing the round.
        self._waiters: tuple[Waiter, ...] = ()

    def add_waiter(self, waiter: Waiter) -> None:
        """Call `waiter` whenever something arrives (add_wait_queue). Twice is once."""
        if waiter not in self._waiters:
            self._waiters = (*self._waiters, waiter)

    def remove_waiter(self, waiter: Waiter) -> None:
        """Call it no more (remove_wait_queue). Nothing happens if it was not there."""
        self._waiters = tuple(other for other in self._waiters if other != waiter)

    @property
    def has_waiters(self) -> bool:
        """Whether anybody waits (waitqueue_active)."""
        return bool(self._waiters)

    def wake_up(self) -> None:
        """Call all waiters, first come first served."""
        for waiter in self._waiters:
            waiter()
