"""Stopping the guest between two instructions, where an interrupt can be delivered.

KVM enters a guest with an instruction completed (an MMIO exit's load or store, an OUT) and an
interrupt to inject. A processor takes it before the next instruction. Unicorn stops between
blocks only, and an exit happens in the middle of an instruction in the middle of a block. So:

- The block is refused that would come next. That is enough if the instruction in hand ends
  its block, as branches and rounds of a repeated string instruction do.
- IN and OUT: an I/O breakpoint on the port (SDM vol. 3, 18.2.4) traps behind the instruction.
- Loads and stores: Unicorn is told to stop. It gives the instruction up and goes back to its
  start; it is then run once more, alone (by the trap flag), and the accesses it has made are
  answered from memory_exits' log instead of exiting again.
"""

from __future__ import annotations

from ctypes import c_void_p

from toyvisor.cpu.clock import Clock
from toyvisor.cpu.exit_door import BETWEEN, IN_MEMORY_ACCESS, ExitDoor
from toyvisor.cpu.guest_view import GuestView
from toyvisor.cpu.memory_exits import MemoryExits
from toyvisor.cpu.processor_state import HF_IOBPT, ProcessorState
from toyvisor.cpu.registers import DEBUG, Registers
from toyvisor.cpu.unicorn_abi import library
from toyvisor.modes import RFLAGS_TF

_G0, _RW0_IO = 1 << 1, 2 << 16  # DR7: enable, break on I/O
_PREFIXES = frozenset((0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65, 0x66, 0x67, 0xF0, 0xF2, 0xF3))
#: (opcode, the three bits of ModRM that tell the operation).
_CMPXCHG8B = (0xC7, 1)
_X87_IN_C = frozenset(
    {(0xD9, 4), (0xD9, 6), (0xDB, 5), (0xDB, 7), (0xDD, 4), (0xDD, 6), (0xDF, 4), (0xDF, 6)}
)
_SETCC = 9  # 0F 9x
_BOUND, _ENTER, _FXSAVE_GROUP, _MASKMOVQ = 0x62, 0xC8, 0xAE, 0xF7
_INS = (0x6C, 0x6D)
_ROTATES = frozenset((0xC0, 0xC1, 0xD0, 0xD1, 0xD2, 0xD3))


class InstructionBoundary:
    """One processor's way to the next place between two instructions."""

    __slots__ = ("_clock", "_debug", "_door", "_engine", "_generation", "_memory_exits",
                 "_registers", "_state", "_verdicts", "_view", "armed", "at_port", "guest_traps",
                 "stepping")  # fmt: skip

    def __init__(
        self,
        engine: c_void_p,
        registers: Registers,
        state: ProcessorState,
        view: GuestView,
        clock: Clock,
        door: ExitDoor,
        memory_exits: MemoryExits,
    ) -> None:
        self._engine = engine
        self._registers = registers
        self._state = state
        self._view = view
        self._clock = clock
        self._door = door
        self._memory_exits = memory_exits
        #: Somebody wants the guest to stop behind the present instruction.
        self.armed = False
        #: The I/O breakpoint is set.
        self.at_port = False
        self._debug: dict[str, int] = {}
        #: One instruction is run alone, and the guest's own trap flag.
        self.stepping = self.guest_traps = False
        memory_exits.before_new_exit = self.hide_trap_flag
        #: rip -> whether the instruction can be given up; as long as code stays as it is
        self._verdicts: dict[int, bool] = {}
        self._generation = -1

    def arm(self) -> None:
        """Stop behind the instruction in hand; at once if the guest is in none."""
        if self.armed:
            return
        self.armed = True
        self._clock.watch = _always
        access = self._door.access
        if access == BETWEEN or self._memory_exits.replaying:
            return
        rip = self._view.rip()
        if rip == self._clock.last_instruction():
            return
        if access == IN_MEMORY_ACCESS:
            if self._memory_exits.logs and self._verdict(rip):
                self._memory_exits.cancel()
                library.uc_emu_stop(self._engine)
        elif access >= 0:
            self._break_at(access)

    def disarm(self) -> None:
        """The guest stands between two instructions."""
        self.armed = False
        self._clock.watch = None
        self.clear_breakpoint()
        self.break_on_ports()

    def break_on_ports(self) -> None:
        """Have code translated so that it stops behind IN and OUT, if a breakpoint says so.

        Unicorn does so by itself when a guest sets such a breakpoint; and when a guest writes
        DR7 without one, it no longer does. Then the next stop at a port is a block too late.
        """
        self._state.load()
        if not self._state.front.hflags & HF_IOBPT:
            self._state.front.hflags |= HF_IOBPT
            self._state.store()

    def clear_breakpoint(self) -> None:
        """Give the guest its debug registers back."""
        if self.at_port:
            self.at_port = False
            for name, value in self._debug.items():
                self._registers.write_special(DEBUG[name], value)

    def _break_at(self, port: int) -> None:
        self._state.load()
        if not self._state.front.hflags & HF_IOBPT:
            return
        read, write = self._registers.read_special, self._registers.write_special
        self._debug = {name: read(DEBUG[name]) for name in ("dr0", "dr6", "dr7")}
        self.at_port = True
        write(DEBUG["dr0"], port)
        write(DEBUG["dr7"], _G0 | _RW0_IO)

    # One instruction alone ------------------------------------------------------------------

    def begin_step(self) -> None:
        """Have the next instruction end in a #DB, which is ours (SDM vol. 3, 18.3.1.4)."""
        rflags = self._registers.read("rflags")
        self.stepping = True
        self.guest_traps = bool(rflags & RFLAGS_TF)
        self._debug = {"dr6": self._registers.read_special(DEBUG["dr6"])}
        if not self.guest_traps:
            self._registers.write("rflags", rflags | RFLAGS_TF)

    def end_step(self) -> None:
        """It is done, or has come to another end."""
        self.stepping = False
        if not self.guest_traps:
            self.hide_trap_flag()
            self._registers.write_special(DEBUG["dr6"], self._debug["dr6"])

    def hide_trap_flag(self) -> None:
        """At an exit the guest's flags are its own. The translated code traps all the same."""
        if self.guest_traps:
            return
        rflags = self._registers.read("rflags")
        if rflags & RFLAGS_TF:
            self._registers.write("rflags", rflags & ~RFLAGS_TF)

    def _verdict(self, rip: int) -> bool:
        if self._generation != self._clock.generation:
            self._generation = self._clock.generation
            self._verdicts.clear()
        known = self._verdicts.get(rip)
        if known is None:
            known = self._verdicts[rip] = self._can_be_given_up(rip)
        return known

    def _can_be_given_up(self, rip: int) -> bool:
        """Not all can, in Unicorn; the interrupt of those comes a block later.

        SETcc, RCL and RCR have changed the flags before their access. What the translated
        code calls a C function for (CMPXCHG8B, FXSAVE, 80-bit numbers, ...) goes on to its end
        whatever is asked. INS would read its port again.
        """
        code = self._view.read(rip, 15)
        at = 0
        while at < len(code) and (code[at] in _PREFIXES or self._is_rex(code[at])):
            at += 1
        first, second, third = code[at : at + 3].ljust(3, b"\0")
        if first == 0x0F:
            in_c = second in (_FXSAVE_GROUP, _MASKMOVQ) or (second, third >> 3 & 7) == _CMPXCHG8B
            return not in_c and second >> 4 != _SETCC
        operation = second >> 3 & 7
        if first in _ROTATES:
            return operation not in (2, 3)
        return (first, operation) not in _X87_IN_C and first not in (_BOUND, _ENTER, *_INS)

    def _is_rex(self, byte: int) -> bool:
        return byte >> 4 == 4 and self._view.code_bits() == 64


def _always() -> bool:
    return True
