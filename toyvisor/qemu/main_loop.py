"""QEMU's main loop: the thread that waits for files and runs what they bring.

QEMU: util/main-loop.c, main_loop_wait(); util/async.c for bottom halves and the notifier. An
ioeventfd's kick, a frame on the tap and a key on the terminal all end here, beside the
vCPU thread, which goes on running the guest.
"""

from __future__ import annotations

from collections.abc import Callable

from toyvisor.host.eventfd import EventFd
from toyvisor.host.scheduler import Scheduler
from toyvisor.host.syscalls import event_notifier_set, event_notifier_test_and_clear, ppoll
from toyvisor.host.waiters import PolledFile
from toyvisor.trace.events import Thread
from toyvisor.trace.ledger import Ledger

Handler = Callable[[], None]


class MainLoop:
    """The main loop, a `HostThread` of the scheduler."""

    thread = Thread.MAIN_LOOP
    name = "qemu-system-x86"  # comm has 15 characters

    __slots__ = ("_bottom_halves", "_handlers", "_ledger", "_scheduler", "_waits", "notifier")

    def __init__(
        self,
        ledger: Ledger,
        scheduler: Scheduler,
        eventfd2: Callable[[str], EventFd] = EventFd,
    ) -> None:
        self._ledger = ledger
        self._scheduler = scheduler
        self._handlers: dict[PolledFile, Handler] = {}
        self._bottom_halves: dict[Handler, None] = {}
        self._waits = False
        #: Gets the loop out of ppoll() when another thread has work for it (aio_notify).
        self.notifier = eventfd2("aio-context")
        scheduler.add(self)
        self._poll(self.notifier, self._clear_notifier)

    def start(self) -> None:
        """The machine is built, the guest is about to run: the loop goes to sleep in ppoll().

        From here on it takes a system call to get it to look at something new.
        """
        self._waits = True

    def set_fd_handler(self, file: PolledFile, handler: Handler | None) -> None:
        """Call `handler` whenever `file` can be read; None ends it (qemu_set_fd_handler)."""
        if handler is not None:
            self._poll(file, handler)
            self._notify()
            if file.readable:
                self._wake()
        elif self._handlers.pop(file, None) is not None:
            file.remove_waiter(self._wake)

    def schedule_bh(self, callback: Handler) -> None:
        """Call `callback` once, in the loop's next turn (qemu_bh_schedule). Twice is once."""
        if callback not in self._bottom_halves:
            self._bottom_halves[callback] = None
            self._notify()
            self._wake()

    @property
    def runnable(self) -> bool:
        """Whether ppoll() would return at once."""
        return bool(self._bottom_halves) or any(file.readable for file in self._handlers)

    def run(self) -> None:
        """One main_loop_wait(): poll, then the handlers in order, then the bottom halves."""
        for file in ppoll(self._ledger, tuple(self._handlers)):
            handler = self._handlers.get(file)
            if handler is not None:  # else an earlier one took it away
                handler()
        # What bottom halves schedule comes in the next turn (aio_bh_poll).
        callbacks, self._bottom_halves = self._bottom_halves, {}
        for callback in callbacks:
            callback()

    def _poll(self, file: PolledFile, handler: Handler) -> None:
        self._handlers[file] = handler
        file.add_waiter(self._wake)

    def _wake(self) -> None:
        self._scheduler.wake(self)

    def _notify(self) -> None:
        """aio_notify(): a system call if the loop is asleep in ppoll(), else nothing."""
        asleep = self._waits and self._scheduler.current is not self
        if asleep and not self.notifier.readable:
            event_notifier_set(self._ledger, self.notifier)

    def _clear_notifier(self) -> None:
        event_notifier_test_and_clear(self._ledger, self.notifier)
