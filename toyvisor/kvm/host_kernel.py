"""What KVM needs of the rest of the host's kernel: threads that run, timers that expire.

KVM is a module of the kernel it runs in. Here the two are rooms side by side, so KVM says
what it wants, and whoever makes the VM hands it over.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class HostTimers(Protocol):
    """The kernel's timers, in guest time."""

    next: int | None
    on_change: Callable[[], None] | None

    def run_due(self, now: int) -> int:
        """Call what is due."""
        ...


class HostKernel(Protocol):
    """The kernel around KVM."""

    @property
    def timers(self) -> HostTimers:
        """Its timers."""
        ...

    @property
    def has_runnable(self) -> bool:
        """Whether another thread than the vCPU's could run now."""
        ...

    def run_others_and_poll(self) -> bool:
        """schedule(): let them run. True if some still could, or real files can bring more."""
        ...

    def wait_for_input(self, interrupted: Callable[[], bool]) -> bool:
        """Sleep until something comes from outside; False if nothing ever can, or a signal."""
        ...


class NoTimers:
    """No timer, ever."""

    __slots__ = ("next", "on_change")

    def __init__(self) -> None:
        self.next: int | None = None
        self.on_change: Callable[[], None] | None = None

    def run_due(self, now: int) -> int:
        """Nothing is due."""
        return 0


class BareKernel:
    """A kernel that does nothing but run one vCPU."""

    __slots__ = ("timers",)

    has_runnable = False

    def __init__(self) -> None:
        self.timers: HostTimers = NoTimers()

    def run_others_and_poll(self) -> bool:
        """There are none."""
        return False

    def wait_for_input(self, interrupted: Callable[[], bool]) -> bool:
        """Nothing can come."""
        return False
