"""Instructions that exit by themselves (CPUID, VMCALL), exceptions, and the TSC."""

from __future__ import annotations

from collections.abc import Callable
from ctypes import c_int, c_void_p

from toyvisor.cpu.exit_door import ExitDoor
from toyvisor.cpu.guest_view import GuestView
from toyvisor.cpu.registers import Registers
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

_CPUID = int(ExitReason.CPUID)
_VMCALL = int(ExitReason.VMCALL)
_TRIPLE_FAULT = int(ExitReason.TRIPLE_FAULT)
_EXCEPTION_NMI = int(ExitReason.EXCEPTION_NMI)
_HYPERCALLS = (b"\x0f\x01\xc1", b"\x0f\x01\xd9")  # vmcall, vmmcall
_GATE_SIZE = {16: 4, 32: 8, 64: 16}  # of the IVT, and of the IDT in each mode
_BP, _UD = 3, 6
_INT3, _INT = 0xCC, 0xCD


class InstructionExits:
    """Catches what Unicorn would execute, or refuse, by itself."""

    def __init__(
        self,
        engine: c_void_p,
        door: ExitDoor,
        registers: Registers,
        view: GuestView,
        now: Callable[[], int],
    ) -> None:
        self._engine = engine
        self._door = door
        self._registers = registers
        self._view = view
        self._now = now
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
        """RDTSC does not exit; the time-stamp counter counts guest instructions."""
        try:
            now = self._now()
            self._registers.write("rax", now & 0xFFFFFFFF)
            self._registers.write("rdx", now >> 32)
        except BaseException as failure:
            self._door.fail(failure)
        return 1

    def _undefined(self, _engine: int) -> int:
        """SYSCALL and SYSENTER: nobody has set them up, and delivery is not there yet."""
        try:
            self._exception(_UD)
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
            else:
                self._exception(_UD)
        except BaseException as failure:
            self._door.fail(failure)
        return 1

    def finish_hypercall(self) -> None:
        """VMCALL: exit, and put the answer into RAX."""
        self.on_hypercall = False
        self._registers.write("rax", self._door.leave((_VMCALL,)))
        self._registers.write("rip", self._registers.rip() + 3)

    def _interrupt(self, _engine: int, vector: int) -> None:
        """An exception or INT n."""
        try:
            self._stand_on_software_interrupt(vector)
            self._exception(vector)
        except BaseException as failure:
            self._door.fail(failure)

    def _stand_on_software_interrupt(self, vector: int) -> None:
        """INT n that can't be delivered is a fault: RIP stays on it (SDM vol. 2A, INT n).

        Unicorn has moved it behind.
        """
        rip = self._view.rip()
        for code in (bytes([_INT, vector]), bytes([_INT3]) if vector == _BP else b""):
            if code and self._view.read(rip - len(code), len(code)) == code:
                self._registers.write("rip", self._registers.rip() - len(code))
                return

    def _exception(self, vector: int) -> None:
        """Deliver through the IDT; what it can't deliver becomes #GP, #DF, triple fault.

        Intel SDM vol. 3, 7.15 (interrupt 8). Delivery itself is not there yet.
        """
        _base, limit = self._registers.idt()
        if _GATE_SIZE[self._view.code_bits()] * (vector + 1) - 1 <= limit:
            self._door.leave((_EXCEPTION_NMI, vector))
        else:
            self._door.leave((_TRIPLE_FAULT, vector))
