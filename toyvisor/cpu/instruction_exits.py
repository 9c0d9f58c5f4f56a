"""Instructions that exit by themselves (CPUID, VMCALL), exceptions, and the TSC."""

from __future__ import annotations

from collections.abc import Callable
from ctypes import c_int, c_void_p

from toyvisor.cpu.events import DB, PF, UD, WITH_ERROR_CODE, Event, EventType
from toyvisor.cpu.exit_door import BETWEEN, IN_HYPERCALL, ExitDoor
from toyvisor.cpu.guest_view import GuestView
from toyvisor.cpu.instruction_boundary import InstructionBoundary
from toyvisor.cpu.processor_state import ProcessorState
from toyvisor.cpu.registers import CONTROL, Registers
from toyvisor.cpu.unicorn_abi import (
    UC_HOOK_INSN,
    UC_HOOK_INSN_INVALID,
    UC_HOOK_INTR,
    Instruction,
    InstructionHook,
    InterruptHook,
    add_hook,
    library,
)
from toyvisor.exit_reasons import ExitReason
from toyvisor.modes import RFLAGS_TF

_CPUID = int(ExitReason.CPUID)
_VMCALL = int(ExitReason.VMCALL)
_HYPERCALLS = (b"\x0f\x01\xc1", b"\x0f\x01\xd9")  # vmcall, vmmcall
_INT, _INT1 = 0xCD, b"\xf1"


class InstructionExits:
    """Catches what Unicorn would execute, or refuse, by itself."""

    def __init__(
        self,
        engine: c_void_p,
        door: ExitDoor,
        registers: Registers,
        state: ProcessorState,
        view: GuestView,
        boundary: InstructionBoundary,
        time: Callable[[], int],
    ) -> None:
        self._engine = engine
        self._door = door
        self._registers = registers
        self._state = state
        self._view = view
        self._boundary = boundary
        self._time = time
        #: An exception or software interrupt that has stopped the guest.
        self.event: Event | None = None
        #: The guest stands on a hypercall, to be made outside Unicorn (finish_hypercall).
        self.on_hypercall = False
        self._keep: list[object] = []
        for instruction, callback in (
            (Instruction.CPUID, self._cpuid),
            (Instruction.RDTSC, self._rdtsc),
            (Instruction.RDTSCP, self._rdtsc),
            (Instruction.SYSCALL, self._undefined),
            (Instruction.SYSENTER, self._undefined),
        ):
            hook = InstructionHook(callback)
            self._keep.append(hook)
            add_hook(engine, UC_HOOK_INSN, hook, 1, 0, c_int(instruction))
        interrupt, invalid = InterruptHook(self._interrupt), InstructionHook(self._invalid)
        self._keep += [interrupt, invalid]
        add_hook(engine, UC_HOOK_INTR, interrupt, 1, 0)
        add_hook(engine, UC_HOOK_INSN_INVALID, invalid, 1, 0)

    def _cpuid(self, _engine: int) -> int:
        """CPUID always exits; KVM answers it by itself."""
        try:
            registers = self._registers
            leaf, subleaf = registers.read("rax"), registers.read("rcx")
            self._door.note(_CPUID)
            values = self._door.kernel.cpuid(leaf & 0xFFFFFFFF, subleaf & 0xFFFFFFFF)
            for name, value in zip(("rax", "rbx", "rcx", "rdx"), values, strict=True):
                registers.write(name, value)
        except BaseException as failure:
            self._door.fail(failure)
        return 1

    def _rdtsc(self, _engine: int) -> int:
        """RDTSC does not exit; the time-stamp counter counts guest time."""
        try:
            now = self._time()
            self._registers.write("rax", now & 0xFFFFFFFF)
            self._registers.write("rdx", now >> 32)
        except BaseException as failure:
            self._door.fail(failure)
        return 1

    def _undefined(self, _engine: int) -> int:
        """SYSCALL and SYSENTER: this processor does not have them set up."""
        try:
            self._raise(Event(UD, EventType.HARDWARE_EXCEPTION))
        except BaseException as failure:
            self._door.fail(failure)
        return 1

    def _invalid(self, _engine: int) -> int:
        """An instruction Unicorn does not execute: VMCALL exits, others are #UD."""
        try:
            if self._view.read(self._view.rip(), 3) in _HYPERCALLS:
                # RIP has to move, and once a callback has written it, Unicorn no longer
                # synchronises it at later exits. So: outside.
                self.on_hypercall = True
                library.uc_emu_stop(self._engine)
            elif self._view.read(self._view.rip(), 1) == _INT1:
                self._raise(Event(DB, EventType.PRIVILEGED_SOFTWARE_EXCEPTION, length=len(_INT1)))
            else:
                self._raise(Event(UD, EventType.HARDWARE_EXCEPTION))
        except BaseException as failure:
            self._door.fail(failure)
        return 1

    def finish_hypercall(self) -> None:
        """VMCALL: exit, and put the answer into RAX."""
        self.on_hypercall = False
        self._door.access = IN_HYPERCALL
        self._registers.write("rax", self._door.leave((_VMCALL,)))
        self._registers.write("rip", self._registers.rip() + 3)
        self._door.access = BETWEEN

    def _interrupt(self, _engine: int, vector: int) -> None:
        """An exception, INT n, or the I/O breakpoint of an instruction's boundary."""
        try:
            boundary = self._boundary
            if vector == DB and boundary.stepping and not boundary.guest_traps:
                library.uc_emu_stop(self._engine)
                return
            if vector == DB and boundary.at_port:
                library.uc_emu_stop(self._engine)
                if not self._registers.read("rflags") & RFLAGS_TF:
                    return
            self._raise(self._event(vector))
        except BaseException as failure:
            self._door.fail(failure)

    def _raise(self, event: Event) -> None:
        """Stop; the world switch delivers the event."""
        self.event = event
        library.uc_emu_stop(self._engine)

    def _event(self, vector: int) -> Event:
        """What Unicorn reports, with what only its state says."""
        state = self._state
        state.load()
        if state.exception.is_int:
            return self._software_event(vector)
        error_code = state.exception.error_code if vector in WITH_ERROR_CODE else None
        address = self._registers.read_special(CONTROL["cr2"]) if vector == PF else None
        return Event(vector, EventType.HARDWARE_EXCEPTION, error_code, address=address)

    def _software_event(self, vector: int) -> Event:
        """INT n, INT3 or INTO; Unicorn has moved RIP behind it."""
        code = bytes([_INT, vector])
        if self._view.read(self._view.rip() - len(code), len(code)) == code:
            return Event(vector, EventType.SOFTWARE_INTERRUPT, length=len(code))
        return Event(vector, EventType.SOFTWARE_EXCEPTION, length=1)
