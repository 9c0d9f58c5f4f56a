"""A function that can be stopped in the middle, and goes on where it stood.

It runs in a greenlet of its own. Whoever is called by it, however deep, the guest's greenlet
and Unicorn's callbacks among them, may pause it: then resume() returns to whoever called that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from greenlet import getcurrent, greenlet


class Pausable:
    """Runs `function`. To be created, resumed and dropped in one thread."""

    __slots__ = ("_outside", "_run", "_where")

    def __init__(self, function: Callable[[], None]) -> None:
        self._run: greenlet = greenlet(function)
        self._outside: greenlet = getcurrent()
        self._where: greenlet = self._run

    def resume(self) -> bool:
        """Go on until the next pause; False if the function has come to its end.

        Raises what the function raises.
        """
        self._outside = getcurrent()
        self._run.parent = self._outside
        paused: Any = self._where.switch()
        return bool(paused)

    def pause(self) -> None:
        """Called from inside: stop here until the next resume()."""
        self._where = getcurrent()
        self._outside.switch(True)
