"""The one thread that a debug session lives on.

A session runs guests in greenlets, and a greenlet can't leave the thread that made it. So one
thread makes the session, moves it, looks at it and closes it; the screen, on its own thread,
hands over jobs and is called back with what came out. The screen never waits.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from toyvisor.debug.session import Session

#: Takes the result, or what was raised instead. Called on the session's thread.
Reply = Callable[[Any, BaseException | None], None]
Work = Callable[["Session"], Any]


class _Job(NamedTuple):
    number: int
    work: Work
    reply: Reply


class SessionThread:
    """Makes a session on a thread of its own, and does jobs with it, one after the other.

    `started` is told of the session, or of what making it raised; then the thread is over.
    """

    def __init__(self, make_session: Callable[[], Session], started: Reply) -> None:
        self._make_session = make_session
        self._started = started
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._live, name="session", daemon=True)
        self._given = 0
        #: Jobs up to this number stop their guest.
        self._stopped = 0
        #: Guest instructions executed, as the running guest last told.
        self.instructions = 0

    def start(self) -> None:
        """Make the session."""
        self._thread.start()

    def do(self, work: Work, reply: Reply) -> None:
        """Have `work` done when the jobs before it are; then `reply` is told."""
        self._given += 1
        self._jobs.put(_Job(self._given, work, reply))

    def stop_guest(self) -> None:
        """Stop the guest of all jobs given so far, where it is. Jobs given later run."""
        self._stopped = self._given

    def close(self, seconds: float = 5.0) -> None:
        """End the session and the thread; waits for it no longer than `seconds`."""
        self._stopped = sys.maxsize
        self._jobs.put(None)
        if self._thread.is_alive():
            self._thread.join(seconds)

    # On the session's thread ---------------------------------------------------------------

    def _live(self) -> None:
        try:
            session = self._make_session()
        except BaseException as error:
            self._started(None, error)
            return
        try:
            self._started(session, None)
            while (job := self._jobs.get()) is not None:
                self._perform(job, session)
        finally:
            session.close()

    def _perform(self, job: _Job, session: Session) -> None:
        def should_stop() -> bool:
            self.instructions = session.machine.vcpu.time
            return job.number <= self._stopped

        session.should_stop = should_stop
        try:
            result = job.work(session)
        except BaseException as error:  # whoever asked shows it: this thread lives on
            job.reply(None, error)
        else:
            job.reply(result, None)
