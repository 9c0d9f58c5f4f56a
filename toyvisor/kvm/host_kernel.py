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

    @property
    def awaits_input(self) -> bool:
        """Whether something can come from outside, in real time."""
        ...

    def wait_for_input(self, timeout: float | None, interrupted: Callable[[], bool]) -> float:
        """Sleep until it comes, or a signal; how many seconds that was, at most `timeout`.

        `interrupted` says whether the signal has come before.
        """
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
    awaits_input = False

    def __init__(self) -> None:
        self.timers: HostTimers = NoTimers()

    def run_others_and_poll(self) -> bool:
        """There are none."""
        return False

    def wait_for_input(self, timeout: float | None, interrupted: Callable[[], bool]) -> float:
        """Nothing can come."""
        return 0.0
