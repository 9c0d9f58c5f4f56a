"""How long a vCPU may run, and what time it is for it.

Its run ends at its deadline or at the end of its time slice (userspace's business), and is
interrupted when a timer of the kernel's expires: the PIT, or one of the host's. All of them
go into the one limit that the processor's clock watches, the VMX preemption timer.

Time is counted in guest instructions; while the guest sleeps in HLT it passes without any.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from toyvisor.cpu.clock import FOREVER
from toyvisor.cpu.world_switch import Cpu
from toyvisor.kvm.host_kernel import HostTimers

if TYPE_CHECKING:
    from toyvisor.kvm.i8254 import Pit


class VcpuTime:
    """Deadline, slice and timers of one vCPU. None: there is no such end."""

    __slots__ = ("_cpu", "_deadline", "_slice_end", "_step_end", "_timers", "pit")

    def __init__(self, timers: HostTimers) -> None:
        self._timers = timers
        timers.on_change = self.set_limit
        self._cpu: Cpu | None = None
        self._deadline = FOREVER
        self._slice_end: int | None = None
        self._step_end: int | None = None
        self.pit: Pit | None = None

    def attach(self, cpu: Cpu) -> None:
        """The vCPU has got its processor."""
        self._cpu = cpu
        self.set_limit()

    @property
    def now(self) -> int:
        """Guest time."""
        return self._cpu.time() if self._cpu is not None else 0

    @property
    def deadline(self) -> int:
        """In guest instructions."""
        return self._deadline

    @deadline.setter
    def deadline(self, instructions: int) -> None:
        self._deadline = instructions
        self.set_limit()

    @property
    def slice_end(self) -> int | None:
        """In guest instructions."""
        return self._slice_end

    @slice_end.setter
    def slice_end(self, instructions: int | None) -> None:
        self._slice_end = instructions
        self.set_limit()

    def begin_step(self) -> None:
        """Stop behind the next instruction (KVM_GUESTDBG_SINGLESTEP)."""
        assert self._cpu is not None
        self._step_end = self._cpu.now() + 1
        self.set_limit()

    def cancel_step(self) -> None:
        """Run on after all."""
        self._step_end = None
        self.set_limit()

    def end_step(self) -> bool:
        """The processor has stopped at its limit: whether a step was to end there."""
        assert self._cpu is not None
        end = self._step_end
        if end is None or self._cpu.now() < end or end > self._deadline:
            return False
        self._step_end = None
        self.set_limit()
        return True

    @property
    def slice_is_over(self) -> bool:
        """When the limit is reached: whether it is the slice's end only."""
        return self._slice_end is not None and self._slice_end < self._deadline

    def set_limit(self) -> None:
        """Tell the processor when to stop, at the latest."""
        if self._cpu is None:
            return
        clock = self._cpu.clock
        limit = self._deadline
        if self._slice_end is not None:
            limit = min(limit, self._slice_end)
        if self._step_end is not None:
            limit = min(limit, self._step_end)
        expiry = self.next_expiry
        clock.limit = limit if expiry is None else min(limit, expiry - clock.idle)

    @property
    def next_expiry(self) -> int | None:
        """When the next timer of the kernel's expires, in guest time."""
        of_host = self._timers.next
        of_pit = self.pit.next_expiry if self.pit is not None else None
        if of_host is None or of_pit is None:
            return of_pit if of_host is None else of_host
        return min(of_host, of_pit)

    @property
    def only_the_pit_is_left(self) -> bool:
        """Whether the PIT's is the only timer there is."""
        return self._timers.next is None

    def run_due(self, time: int) -> bool:
        """Let expire what is due by `time`; whether there was anything."""
        ran = bool(self._timers.run_due(time))
        if self.pit is not None and self.pit.run_due(time):
            ran = True
        self.set_limit()
        return ran

    def limit_reached(self) -> bool:
        """The processor has stopped at its limit: whether it was for a timer."""
        assert self._cpu is not None
        clock = self._cpu.clock
        # A slice may end a little early; what it was to end for is due all the same.
        return self.run_due(max(self.now, clock.limit + clock.idle))

    def sleep_until(self, when: int) -> None:
        """Time passes while the guest sleeps."""
        assert self._cpu is not None
        self._cpu.clock.idle += max(0, when - self.now)
        self.run_due(when)

    def sleep_for(self, seconds: float) -> None:
        """The same, in real time."""
        self.sleep_until(self.now + round(seconds * _instructions_per_second()))

    def seconds_until(self, when: int | None) -> float | None:
        """How much real time there is until then, if there is an end."""
        return None if when is None else max(0, when - self.now) / _instructions_per_second()


def _instructions_per_second() -> int:
    """What the PIT's clock makes of guest time."""
    from toyvisor.kvm.i8254_registers import INSTRUCTIONS_PER_TICK, TICK_RATE

    return TICK_RATE * INSTRUCTIONS_PER_TICK
