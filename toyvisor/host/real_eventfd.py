"""Eventfds of the real kernel, which Linux's KVM can signal and be signalled by.

A waiter of the toy's eventfd is called by whoever signals. Here that may be KVM, in the kernel, so
somebody has to ask: all eventfds hang on one epoll, edge-triggered, since a waiter may leave the
counter as it is (vhost does), and each signal is to be heard once.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable

from toyvisor.host.eventfd import EventFd


class RealEventFd(EventFd):
    """eventfd2(0, EFD_NONBLOCK | EFD_CLOEXEC)."""

    __slots__ = ("_fd", "_forget")

    def __init__(self, name: str, forget: Callable[[int], None] = lambda _fd: None) -> None:
        super().__init__(name)
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._forget = forget

    def fileno(self) -> int:
        """The file descriptor."""
        return self._fd

    def signal(self) -> None:
        """Add 1 (eventfd_signal); whoever waits is called by `RealEventFds.wake_up`."""
        self.signals += 1
        os.eventfd_write(self._fd, 1)

    def read(self) -> int:
        """Take the counter, and leave 0."""
        try:
            return os.eventfd_read(self._fd)
        except BlockingIOError:
            return 0

    @property
    def readable(self) -> bool:
        """Whether poll(2) says POLLIN."""
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        return bool(poll.poll(0))

    def close(self) -> None:
        """Close the file descriptor. Twice is once."""
        if self._fd >= 0:
            self._forget(self._fd)
            os.close(self._fd)
            self._fd = -1


class RealEventFds:
    """All eventfds of a machine, as one file to ask about (`RealFile`)."""

    #: There may always be somebody.
    has_waiters = True

    __slots__ = ("_epoll", "_eventfds")

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._eventfds: dict[int, RealEventFd] = {}

    def create(self, name: str) -> RealEventFd:
        """A new one."""
        eventfd = RealEventFd(name, self._forget)
        self._eventfds[eventfd.fileno()] = eventfd
        self._epoll.register(eventfd.fileno(), select.EPOLLIN | select.EPOLLET)
        return eventfd

    def fileno(self) -> int:
        """The epoll's own descriptor: readable if one of them was signalled."""
        return self._epoll.fileno()

    def wake_up(self) -> None:
        """Call the waiters of each that was signalled since the last time."""
        for descriptor, _ in self._epoll.poll(0):
            eventfd = self._eventfds.get(descriptor)
            if eventfd is not None:  # else an earlier one's waiter has closed it
                eventfd.wake_up()

    def _forget(self, descriptor: int) -> None:
        self._epoll.unregister(descriptor)
        del self._eventfds[descriptor]

    def close(self) -> None:
        """Close them all."""
        for eventfd in list(self._eventfds.values()):
            eventfd.close()
        self._epoll.close()
