"""The host's kernel for a guest on Linux's KVM: time is real, and there are two threads.

The toy's host has one processor, and everybody on it takes turns in a fixed order. Linux's KVM runs
the guest on a processor of its own, so here is a second thread for all others: QEMU's
main loop, vhost, the network's clock. What they share with the vCPU's thread belongs to whoever
holds `lock`; the vCPU's thread lets it go while the guest runs. In QEMU that is the big lock
(bql_lock; docs/devel/multiple-iothreads.rst).
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

from toyvisor.errors import UsageError
from toyvisor.host.kernel import Kernel
from toyvisor.host.real_eventfd import RealEventFd, RealEventFds
from toyvisor.trace.ledger import Ledger

#: Units of the machine's time in a second: guest instructions of the toy, whose PIT ticks every
#: four (kvm/i8254_registers.py).
UNITS_PER_SECOND = 4 * 1_193_182
#: How long a guest runs before somebody looks whether it sleeps for good, in seconds; before he
#: looks again, which is longer than the PIT's longest period, 55 ms; and how long that becomes
#: as it doubles with each look.
FIRST_LOOK, NEXT_LOOK, LONGEST_LOOK = 0.005, 0.08, 0.32


class RealVcpu(Protocol):
    """A vCPU that runs on a processor of its own."""

    @property
    def is_in_guest(self) -> bool:
        """Whether it runs at this moment."""
        ...

    @property
    def returns(self) -> int:
        """How often it came out by itself, not because somebody looked."""
        ...

    def look(self) -> None:
        """Have it see whether the guest sleeps for good."""
        ...

    def kick(self) -> None:
        """Out of the guest, for good."""
        ...


class SignalPipe:
    """Where a byte comes in for each signal, with its number (signal.set_wakeup_fd)."""

    has_waiters = True

    __slots__ = ("_ends", "numbers")

    def __init__(self) -> None:
        self._ends: tuple[int, ...] = os.pipe()
        for end in self._ends:
            os.set_blocking(end, False)
        #: the signals that have come
        self.numbers = b""

    @property
    def write_end(self) -> int:
        """For set_wakeup_fd."""
        return self._ends[1]

    def fileno(self) -> int:
        """The read end."""
        return self._ends[0]

    def wake_up(self) -> None:
        """Take the bytes."""
        self.numbers += os.read(self._ends[0], 256)

    def close(self) -> None:
        """Close both ends. Twice is once."""
        ends, self._ends = self._ends, ()
        for end in ends:
            os.close(end)


class RealTimeKernel(Kernel):
    """Scheduler, timers and real files of one machine, in real time."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(ledger)
        #: Reentrant, as such a lock knows whose it is: only its owner can let it go.
        self.lock = threading.RLock()
        self._eventfds = RealEventFds()
        self._doorbell = self._eventfds.create("doorbell")
        self._signals = SignalPipe()
        for file in (self._eventfds, self._signals):
            self.poller.add(file)
        self._start: float | None = None
        self._is_running = self._is_over = self._is_closed = False
        self._failure: BaseException | None = None
        #: how often the vCPU had come out when somebody looked at it last, and when he looks again
        self._seen = -1
        self._patience = FIRST_LOOK
        self._next_look = 0.0

    def eventfd2(self, name: str) -> RealEventFd:
        """eventfd2(2): one of the real kernel's."""
        return self._eventfds.create(name)

    def now(self) -> int:
        """The machine's time: how long it has run."""
        if self._start is None:
            return 0
        return int((time.monotonic() - self._start) * UNITS_PER_SECOND)

    @property
    def awaits_input(self) -> bool:
        """Whether somebody waits for a real file that is no eventfd."""
        own = (self._eventfds, self._signals)
        return any(file.has_waiters for file in self.poller.files if file not in own)

    @property
    def is_idle(self) -> bool:
        """Whether nobody has anything to do, and nothing is to come from outside."""
        return not (self.has_runnable or self.awaits_input or self.timers.next is not None)

    # The vCPU's thread --------------------------------------------------------------------

    def enter_guest(self) -> None:
        """The vCPU's thread goes into the guest: the others may have what it had."""
        if self._is_running:
            self.lock.release()

    def leave_guest(self) -> None:
        """It is back, and waits for its turn."""
        if self._is_running:
            self.lock.acquire()

    def _wake(self) -> None:
        """The vCPU's thread has work for another one."""
        self._doorbell.signal()

    @contextmanager
    def running(self, vcpu: RealVcpu, seconds: float | None, sig_ipi: int) -> Iterator[None]:
        """Around a run of `vcpu`, which ends after `seconds` at the latest (None: never).

        Raises UsageError outside of the main thread, the only one that Python lets signals
        get out of a system call.
        """
        if threading.current_thread() is not threading.main_thread():
            raise UsageError("a guest on Linux's KVM runs in the main thread only")
        before = signal.signal(sig_ipi, lambda _number, _frame: None)
        wakeup = signal.set_wakeup_fd(self._signals.write_end, warn_on_full_buffer=False)
        self._start = time.monotonic() - self.now() / UNITS_PER_SECOND
        self._failure = None
        others = threading.Thread(
            target=self._run_beside, args=(vcpu, seconds, sig_ipi), name="host", daemon=True
        )
        self.lock.acquire()
        self._is_running, self._is_over = True, False
        try:
            others.start()
            yield
        finally:
            self._is_running, self._is_over = False, True
            with suppress(RuntimeError):  # a second Ctrl-C came while it was somebody else's
                self.lock.release()
            try:
                self._doorbell.signal()
                if others.ident is not None:
                    others.join()
            finally:
                signal.set_wakeup_fd(wakeup)
                signal.signal(sig_ipi, before if before is not None else signal.SIG_DFL)
        if self._failure is not None:
            raise self._failure

    # The other thread -----------------------------------------------------------------------

    def _run_beside(self, vcpu: RealVcpu, seconds: float | None, sig_ipi: int) -> None:
        """All others, until the run is over."""
        try:
            deadline = None if seconds is None else time.monotonic() + seconds
            timeout = 0.0
            while not self._is_over:
                ready = self.poller.ready(timeout)
                with self.lock:
                    if self._is_over:
                        return
                    for file in ready:
                        file.wake_up()
                    self.run_others()
                    if deadline is not None and time.monotonic() >= deadline:
                        vcpu.kick()
                        return
                    if self._signals.numbers.strip(bytes([sig_ipi])):
                        vcpu.look()  # Python handles it once the thread is out of the kernel
                    self._signals.numbers = b""
                    timeout = self._timeout(self._look_at(vcpu), deadline)
        except BaseException as failure:
            self._failure = failure
            vcpu.kick()

    def run_others(self) -> bool:
        """Let the others do what is due, and what there is to do."""
        self._doorbell.read()
        if self._ledger.trace.enabled:
            self._ledger.trace.now = self.now()
        self.timers.run_due(self.now())
        self._eventfds.wake_up()
        return super().run_others()

    def _timeout(self, patience: float, deadline: float | None) -> float:
        """Seconds until the next timer, the deadline, or a look at the vCPU."""
        if self.has_runnable:
            return 0.0
        left = [patience]
        if deadline is not None:
            left.append(deadline - time.monotonic())
        if self.timers.next is not None:
            left.append((self.timers.next - self.now()) / UNITS_PER_SECOND)
        return max(0.0, min(left))

    def _look_at(self, vcpu: RealVcpu) -> float:
        """If it has been in the guest since the last time, and that is long: look.

        Returns how long to wait for the next. (The look itself wakes us: its signal has a byte
        in the pipe, as any other.)
        """
        now = time.monotonic()
        if not vcpu.is_in_guest or vcpu.returns != self._seen:
            self._seen = vcpu.returns
            self._patience = FIRST_LOOK
            self._next_look = now + FIRST_LOOK
        elif now >= self._next_look:
            vcpu.look()
            self._patience = min(max(NEXT_LOOK, 2 * self._patience), LONGEST_LOOK)
            self._next_look = now + self._patience
        return self._next_look - now

    def close(self) -> None:
        """Close the eventfds, and the pipe. Twice is once."""
        if not self._is_closed:
            self._is_closed = True
            self._eventfds.close()
            self._signals.close()
