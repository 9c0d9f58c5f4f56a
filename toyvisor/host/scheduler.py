"""The host's scheduler: which of QEMU's and the kernel's threads has the processor.

Linux: kernel/sched/core.c. The host has one processor and runs its threads in turns, in a fixed
order, so that the same run has the same trace. The vCPU thread is the one that runs
when nobody else does: it calls `run_others` where it gives way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from toyvisor.trace.events import SCHED_SWITCH, Thread
from toyvisor.trace.ledger import Ledger

#: What QEMU calls the thread of its first vCPU (qemu_thread_create, "CPU %d/KVM").
VCPU_COMM = "CPU 0/KVM"


class HostThread(Protocol):
    """A thread beside the vCPU's: an event handler that does one turn at a time."""

    @property
    def thread(self) -> Thread:
        """Which one it is in the trace."""
        ...

    @property
    def name(self) -> str:
        """Its name as `ps` shows it (comm)."""
        ...

    @property
    def runnable(self) -> bool:
        """Whether it has something to do; asked only after it was woken."""
        ...

    def run(self) -> None:
        """Do one turn."""
        ...


class Scheduler:
    """Turns for all threads that are awake. Counts context switches, and is the only one to."""

    #: A call of run_others() gives each thread this many turns at most.
    MAX_ROUNDS = 64

    __slots__ = ("_awake", "_ledger", "_threads", "current", "on_wake")

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._threads: list[HostThread] = []
        #: woken, and not yet found to have nothing to do
        self._awake: set[HostThread] = set()
        #: who has the processor; None is the vCPU thread
        self.current: HostThread | None = None
        #: called when a thread is woken while the vCPU runs: its time slice is to end
        self.on_wake: Callable[[], None] | None = None

    def add(self, thread: HostThread) -> None:
        """A new thread, asleep. Its turn comes after those of the threads before it."""
        self._threads.append(thread)

    def wake(self, thread: HostThread) -> None:
        """Let a thread look for work at its next turn (wake_up_process). Twice is once."""
        if thread in self._awake:
            return
        self._awake.add(thread)
        if self.current is None and self.on_wake is not None:
            self.on_wake()

    @property
    def has_runnable(self) -> bool:
        """Whether a thread is awake and has something to do."""
        return bool(self._awake) and any(thread.runnable for thread in self._awake)

    def run_others(self) -> bool:
        """Give turns to all threads that want them, until none does.

        True if there are still some after `MAX_ROUNDS` turns each: the vCPU runs a while
        before it asks again, as two threads that always wake each other must not stop it.
        """
        try:
            for _ in range(self.MAX_ROUNDS):
                if not self._awake or not self._run_round():
                    return False
            return self.has_runnable
        finally:
            if self.current is not None:
                self._switch_to(None)

    def _run_round(self) -> bool:
        """One turn for each that is awake; whether anybody had one."""
        had_turn = False
        for thread in self._threads:
            if thread not in self._awake:
                continue
            # Gone to sleep before it looks: what comes in while it works wakes it again.
            self._awake.discard(thread)
            if not thread.runnable:
                continue
            if self.current is not thread:
                self._switch_to(thread)
            had_turn = True
            thread.run()
            if thread.runnable:
                self._awake.add(thread)
        return had_turn

    def _switch_to(self, following: HostThread | None) -> None:
        """schedule(): the trace has the event in the thread that leaves, as in Linux."""
        ledger, trace = self._ledger, self._ledger.trace
        ledger.context_switches += 1
        if trace.enabled:
            trace.emit(SCHED_SWITCH, _comm(self.current), _comm(following))
        self.current = following
        trace.thread = int(Thread.VCPU if following is None else following.thread)


def _comm(thread: HostThread | None) -> str:
    return VCPU_COMM if thread is None else thread.name
