"""Timers of the host's kernel (Linux: kernel/time/hrtimer.c).

Time is the machine's: one unit is one guest instruction. Who keeps the time asks for `next`,
lets the guest run up to there, and calls `run_due`.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable


class Timer:
    """A handle: what `Timers.add` gives and `Timers.cancel` takes."""

    __slots__ = ("callback", "number", "when")

    def __init__(self, when: int, number: int, callback: Callable[[], None]) -> None:
        self.when = when
        self.number = number
        self.callback = callback

    def __lt__(self, other: Timer) -> bool:
        return (self.when, self.number) < (other.when, other.number)


class Timers:
    """The timers of one machine, in the order of their time; of equal ones, as they came."""

    __slots__ = ("_added", "_now", "_queue", "_serving", "next", "on_change")

    def __init__(self) -> None:
        # A sorted list: a machine has a handful of timers, and a cancelled one must not stay.
        self._queue: list[Timer] = []
        self._added = 0
        #: inside run_due(): its time, and that of the timer whose callback runs
        self._now = self._serving = -1
        #: the time of the first timer; None while there is none
        self.next: int | None = None
        #: called when `next` has changed
        self.on_change: Callable[[], None] | None = None

    def add(self, when: int, callback: Callable[[], None]) -> Timer:
        """Call `callback` once, when the time is `when` or later (hrtimer_start).

        A callback that asks for a time not after its own gets the next moment instead
        (`now` + 1), so that no timer can keep run_due() for ever.
        """
        if when <= self._serving:
            when = self._now + 1
        timer = Timer(when, self._added, callback)
        self._added += 1
        insort(self._queue, timer)
        self._look()
        return timer

    def cancel(self, timer: Timer) -> bool:
        """Forget a timer (hrtimer_cancel). False if it was over or cancelled already."""
        place = bisect_left(self._queue, timer)
        if place == len(self._queue) or self._queue[place] is not timer:
            return False
        del self._queue[place]
        self._look()
        return True

    def run_due(self, now: int) -> int:
        """Call all whose time has come by `now`, also those added meanwhile; how many."""
        queue = self._queue
        called = 0
        self._now = now
        try:
            while queue and queue[0].when <= now:
                timer = queue.pop(0)
                self._serving = timer.when
                called += 1
                timer.callback()
        finally:
            self._now = self._serving = -1
            self._look()
        return called

    def _look(self) -> None:
        """Bring `next` up to date; run_due() says it once, at its end."""
        if self._serving >= 0:
            return
        first = self._queue[0].when if self._queue else None
        if first != self.next:
            self.next = first
            if self.on_change is not None:
                self.on_change()
