"""Looking at a machine under the debugger: everything as it was at the moment where we stand."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from toyvisor.debug.counters import Counters
from toyvisor.debug.event_log import EventLog
from toyvisor.debug.moment import Moment
from toyvisor.debug.places import Places
from toyvisor.debug.timeline import Timeline
from toyvisor.exit_reasons import ExitReason
from toyvisor.guest.listing import ListingLine
from toyvisor.guest.program import Program
from toyvisor.kvm.api import KvmRegs, KvmSregs
from toyvisor.kvm.vcpu import Vcpu
from toyvisor.memory import GuestMemoryError
from toyvisor.qemu.machine import Machine
from toyvisor.qemu.vcpu_thread import Ending

if TYPE_CHECKING:
    from toyvisor.debug.expressions import Expression, Names


class Looking:
    """What can be seen at one place of a recorded run. Changes nothing."""

    def __init__(self, program: Program, timeline: Timeline) -> None:
        self.program = program
        self.places = Places(program.assembly, program.path.name)
        self._timeline = timeline

    # Where we stand -----------------------------------------------------------------------

    @property
    def machine(self) -> Machine:
        """The machine as it was at `moment`. To look at, not to touch."""
        return self._timeline.machine

    @property
    def vcpu(self) -> Vcpu:
        """Its vCPU, with the processor that only the toy KVM has."""
        vcpu = self.machine.vcpu
        assert isinstance(vcpu, Vcpu)
        return vcpu

    @property
    def moment(self) -> Moment:
        """Where we stand."""
        return self._timeline.moment

    @property
    def start(self) -> Moment:
        """Where the recording begins: the guest is about to execute its first instruction."""
        return self._timeline.start

    @property
    def frontier(self) -> Moment:
        """How far the run is recorded."""
        return self._timeline.frontier

    @property
    def ending(self) -> Ending | None:
        """How the run ends, once the recording has got there."""
        return self._timeline.ending

    @property
    def at_start(self) -> bool:
        """There is nothing before this moment."""
        return self._timeline.at_start

    @property
    def at_end(self) -> bool:
        """The run is over."""
        return self._timeline.at_end

    @property
    def events(self) -> EventLog:
        """The recorded stream."""
        return self._timeline.events

    # What is there ------------------------------------------------------------------------

    def evaluate(self, text: str) -> int:
        """What an expression is now. Raises ExpressionError."""
        return self.parse(text).evaluate(self.names())

    def registers(self) -> KvmRegs:
        """The general registers."""
        return self.machine.vcpu.get_regs()

    def sregs(self) -> KvmSregs:
        """Segment and control registers."""
        return self.machine.vcpu.get_sregs()

    def linear_rip(self) -> int:
        """The linear address of the present instruction."""
        return self.machine.vcpu.linear_rip()

    def read_memory(self, address: int, length: int, *, linear: bool = False) -> bytes:
        """Bytes of RAM, by guest-physical or linear address. Raises GuestMemoryError."""
        if not linear:
            return bytes(self.machine.vm.memory.view(address, length))
        found = self.vcpu.cpu.view.read(address, length)
        if len(found) < length:
            raise GuestMemoryError(address + len(found), length - len(found))
        return found

    def instruction_address(self) -> int:
        """The linear address of the instruction that comes next, or whose exit is under way.

        Inside an exit that HLT made, RIP is behind it already (SDM vol. 3, 28.1): HLT, then.
        """
        rip, moment, exits = self.linear_rip(), self.moment, self.events.exits
        if moment.between:
            return rip
        passed = bisect_left(exits, moment.events)
        if passed and self.events[exits[passed - 1]].fields["reason"] == ExitReason.HLT:
            return rip - 1  # it has one byte
        return rip

    def line(self) -> ListingLine | None:
        """The source line of the present instruction."""
        return self.line_at(self.instruction_address())

    def line_at(self, address: int) -> ListingLine | None:
        """The source line that made the byte at an address."""
        return self.places.line_at(address)

    def resolve(self, place: str) -> int:
        """The address of a place. Raises InputError."""
        return self.places.resolve(place)

    def counters(self) -> Counters:
        """All that has been counted up to this moment."""
        moment = self.moment
        if moment.between:
            return Counters.of(self.machine.ledger)
        return self._timeline.counters(moment)

    def console(self) -> bytes:
        """What the guest has printed."""
        return bytes(self.machine.console.output)

    def sent_packets(self) -> list[bytes]:
        """The frames that have left the machine."""
        return list(self.machine.net.sent)

    # Expressions --------------------------------------------------------------------------

    def parse(self, text: str) -> Expression:
        """An expression. Raises ExpressionError."""
        from toyvisor.debug.expressions import parse

        return parse(text)

    def condition(self, text: str | None) -> Expression | None:
        """The same, if there is one, with names that there are. Raises ExpressionError."""
        if text is None:
            return None
        expression = self.parse(text)
        expression.check(self.names())
        return expression

    def names(self) -> Names:
        """What names stand for at this moment, and at any later one."""
        from toyvisor.debug.names import SessionNames

        return SessionNames(self)
