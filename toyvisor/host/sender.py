"""Somebody at the far end of a tap who sends frames in.

A `Sender` keeps to a clock whatever the guest does, as a busy network does; a `Requester` waits
for an answer before it asks again, as a client does. Their time is the machine's (one unit
is one guest instruction), so that every run sees the same frames at the same instruction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from toyvisor.errors import UsageError
from toyvisor.host.tap import Tap
from toyvisor.host.timers import Timers

#: time units between two arrivals, if nobody says
DEFAULT_INTERVAL = 10_000


class Sender:
    """Sends `frames` in order: `burst` at a time, at `interval`, 2 * `interval` and so on.

    `sent` and `dropped` count what the tap took and what found its queue full.
    """

    __slots__ = ("_burst", "_frames", "_interval", "_next", "_tap", "_timers", "dropped", "sent")

    def __init__(
        self,
        tap: Tap,
        frames: Sequence[bytes],
        timers: Timers,
        *,
        burst: int = 1,
        interval: int = DEFAULT_INTERVAL,
    ) -> None:
        _check("burst", burst)
        _check("interval", interval)
        self._tap = tap
        self._frames = frames
        self._timers = timers
        self._burst = burst
        self._interval = interval
        self._next = 0
        self.sent = 0
        self.dropped = 0
        self._wait()

    @property
    def done(self) -> bool:
        """Whether all frames have been sent; the last may still wait in the tap."""
        return self.sent + self.dropped == len(self._frames)

    def _wait(self) -> None:
        if not self.done:
            self._next += self._interval
            self._timers.add(self._next, self._send_burst)

    def _send_burst(self) -> None:
        first = self.sent + self.dropped
        for frame in self._frames[first : first + self._burst]:
            if self._tap.deliver(frame):
                self.sent += 1
            else:
                self.dropped += 1
        self._wait()


class Requester:
    """Sends one of `frames`, waits for an answer, thinks for `interval`, sends the next.

    Any frame that comes back is the answer. A request that finds the tap's queue full is sent
    again after another `interval`. `sent` and `answered` count requests and answers.
    """

    __slots__ = ("_frames", "_interval", "_now", "_tap", "_timers", "answered", "sent")

    def __init__(
        self,
        tap: Tap,
        frames: Sequence[bytes],
        timers: Timers,
        now: Callable[[], int],
        *,
        interval: int = DEFAULT_INTERVAL,
    ) -> None:
        _check("interval", interval)
        self._tap = tap
        self._frames = frames
        self._timers = timers
        self._now = now
        self._interval = interval
        self.sent = 0
        self.answered = 0
        tap.connect(self)
        self._think()

    @property
    def done(self) -> bool:
        """Whether the last request has its answer."""
        return self.answered == len(self._frames)

    def receive(self, frame: bytes) -> None:
        """The guest sends something: the answer, if one is awaited (`FarEnd`)."""
        if self.answered < self.sent:
            self.answered += 1
            self._think()

    def _think(self) -> None:
        if not self.done:
            self._timers.add(self._now() + self._interval, self._send)

    def _send(self) -> None:
        if self._tap.deliver(self._frames[self.sent]):
            self.sent += 1
        else:
            self._think()


def _check(name: str, value: int) -> None:
    if value < 1:
        raise UsageError(f"{name} is {value}: frames can't come without end at one moment")
