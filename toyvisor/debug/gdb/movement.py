"""Moving as gdb has it: stepping, continuing, and both backwards.

gdb looks at a watchpoint behind the store when it goes forward, and before it when it goes back,
so that the value is the other one in both directions. A run that is over is shown as the end of the
history, not as the end of the program: one can go back from there.
"""

from __future__ import annotations

from dataclasses import dataclass

from toyvisor.debug.gdb.traps import HARDWARE, WRITE, Trap, Traps
from toyvisor.debug.moment import Stop, StopReason
from toyvisor.debug.session import Session

SIGINT, SIGTRAP = 2, 5

_BORDERS = {
    StopReason.START: b"replaylog:begin;",
    StopReason.END: b"replaylog:end;",
    StopReason.FULL: b"replaylog:end;",
}


@dataclass(slots=True)
class Halt:
    """Why the guest stands still: a signal, and the reason as a stop reply has it.

    `remark` is for the person, where gdb has no word for it.
    """

    signal: int = SIGTRAP
    reason: bytes = b""
    remark: str = ""


class Movement:
    """Moves a session for gdb. `tells_breakpoints`: gdb wants to know what kind was met."""

    def __init__(self, session: Session, traps: Traps) -> None:
        self._session = session
        self._traps = traps
        self.tells_breakpoints = False

    def step(self) -> Halt:
        """One instruction.

        Who executes the last one has made a step. That there are no more is said at the next:
        gdb 13 steps over a breakpoint before it continues, and if history ends with that step,
        it never moves again.
        """
        before, was_over = self._traps.watched(), self._session.at_end
        stop, trap = self._session.step(), self._traps.changed(before)
        if stop.reason is StopReason.END and not was_over and trap is None:
            return Halt(remark=stop.text)
        return self._halt(stop, trap)

    def step_range(self, start: int, end: int) -> Halt:
        """Instruction by instruction as long as RIP is from `start` to before `end`."""
        session = self._session
        while True:
            halt = self.step()
            has_news = halt.reason or session.stop.reason is not StopReason.STEP
            if has_news or self._traps.here() or not start <= session.registers().rip < end:
                return halt
            if session.should_stop is not None and session.should_stop():
                return Halt(SIGINT)

    def run(self) -> Halt:
        """To the next breakpoint or watchpoint, or the end."""
        stop = self._session.run()
        return self._halt(stop, self._traps.of(stop.breakpoint))

    def step_back(self) -> Halt:
        """One instruction."""
        before = self._traps.watched()
        return self._halt(self._session.step_back(), self._traps.changed(before))

    def run_back(self) -> Halt:
        """To the last breakpoint before here, before the last change of something watched."""
        session, traps = self._session, self._traps
        before = traps.watched()
        if before:
            # What changed last is not seen from here: run_back() looks at moments before.
            here = session.moment
            stop = session.step_back()
            trap = traps.changed(before) or traps.here()
            if trap is not None or stop.reason is not StopReason.STEP:
                return self._halt(stop, trap)
            session.go_to(here)
        stop = session.run_back()
        trap = traps.of(stop.breakpoint)
        if trap is None or trap.type != WRITE:
            return self._halt(stop, trap)
        at_the_same_place = traps.here()
        if at_the_same_place is not None:
            return self._halt(stop, at_the_same_place)
        session.step_back()
        return self._halt(stop, trap)

    def _halt(self, stop: Stop, trap: Trap | None) -> Halt:
        if stop.reason is StopReason.INTERRUPTED:
            return Halt(SIGINT)
        if stop.reason in _BORDERS and (trap is None or trap.type != WRITE):
            remark = "" if stop.reason is StopReason.START else stop.text
            return Halt(SIGTRAP, _BORDERS[stop.reason], remark)
        if trap is None:
            return Halt()
        if trap.type == WRITE:
            return Halt(SIGTRAP, b"watch:%x;" % trap.address)
        if not self.tells_breakpoints:
            return Halt()
        return Halt(SIGTRAP, b"hwbreak:;" if trap.type == HARDWARE else b"swbreak:;")
