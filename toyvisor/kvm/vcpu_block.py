"""A vCPU asleep in HLT, with the interrupt controllers in the kernel.

Linux: virt/kvm/kvm_main.c, kvm_vcpu_block(). The host's other threads run, or, if none can, time
passes until the next timer. The toy can tell when no interrupt will ever come.
"""

from __future__ import annotations

from toyvisor.cpu.world_switch import Cpu
from toyvisor.kvm.event_injection import EventInjection
from toyvisor.kvm.exceptions import explain_sleep
from toyvisor.kvm.host_kernel import HostKernel
from toyvisor.kvm.vcpu_time import VcpuTime


class VcpuBlock:
    """Sleeps for one vCPU."""

    __slots__ = ("_events", "_host", "_timing")

    def __init__(self, host: HostKernel, timing: VcpuTime, events: EventInjection) -> None:
        self._host = host
        self._timing = timing
        self._events = events

    def block(self, cpu: Cpu) -> bool:
        """Sleep until an interrupt can wake the guest. False: none ever will."""
        while not self._events.can_wake():
            if not self._wait(cpu):
                return False
        return True

    def why(self, cpu: Cpu) -> str:
        """Why a guest that block() gave up sleeps for good."""
        return explain_sleep(
            interrupts_are_on=cpu.interrupts_are_on,
            came_too_early=self._events.interrupted_at == cpu.registers.rip() - 1,
        )

    def _wait(self, cpu: Cpu) -> bool:
        """The others run; if nobody can, time passes until the next timer. False: no more."""
        host, timing = self._host, self._timing
        if timing.deadline == 0:  # kicked out
            return False
        if host.has_runnable:
            if not host.run_others_and_poll():
                timing.slice_end = None  # whom it was for has had the processor now
            return True
        if not cpu.interrupts_are_on:
            return False
        when = timing.next_expiry
        if host.awaits_input:
            seconds = timing.seconds_until(when)
            slept = host.wait_for_input(seconds, lambda: timing.deadline == 0)
            timing.sleep_for(slept)
            return True
        if when is None:
            return False
        timing.sleep_until(when)
        # A PIT whose interrupts don't get through will never wake a guest that sleeps.
        return self._events.requested or host.has_runnable or not timing.only_the_pit_is_left
