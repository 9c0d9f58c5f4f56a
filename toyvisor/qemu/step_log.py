"""Every instruction of a guest, written down: what the registers were behind it.

Both KVMs step by KVM_SET_GUEST_DEBUG. They differ in what they say of an instruction that exits:
the toy's step ends behind it, Linux's emulator finishes it without a word. So here it is finished
first (Linux: KVM_RUN with immediate_exit), and then looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from toyvisor.kvm.api import KvmExit, KvmRegs
from toyvisor.kvm.file_descriptors import VcpuFd
from toyvisor.modes import RFLAGS_RF, RFLAGS_TF
from toyvisor.qemu.exit_log import LoggedVcpu

_HLT = 0xF4
NAMES = tuple(name for name, *_ in KvmRegs._fields_)


#: Flags that are not held against each other: shifts by more than 1, multiplications and bit scans
#: leave them undefined, and guests that mind do not look at them behind one.
_NOT_COMPARED = RFLAGS_RF | RFLAGS_TF | 1 << 4 | 1 << 11  # AF, OF
#: So many instructions may pass between two stops of a KVM that misses some.
_MOST_MISSED = 8


class Step(NamedTuple):
    """The state behind an instruction: `rip` is where the next one is."""

    rip: int
    registers: tuple[int, ...]  # in the order of NAMES


class SteppedVcpu(LoggedVcpu):
    """A vCPU that runs step by step, with its exits and its steps written down.

    Rounds of a repeated string instruction, and of a jump to itself, are one step.
    """

    def __init__(self, vcpu: VcpuFd, ram: memoryview, limit: int = 200_000) -> None:
        super().__init__(vcpu)
        self._ram = ram
        self._step_limit = limit
        self.steps: list[Step] = []
        self._has_exit = False

    def run(self) -> None:
        """KVM_RUN, over and over, until it is about something else than a step."""
        self._complete()
        vcpu = self._vcpu
        if self._has_exit:
            vcpu.complete()
            self._note()
        while True:
            # A step over HLT would not be one: some KVMs go on as if there had been none.
            vcpu.set_guest_debug(single_step=not self._is_at_hlt())
            vcpu.run()
            if vcpu.kvm_run.exit_reason != KvmExit.DEBUG:
                break
            self._note()
        self._has_exit = vcpu.kvm_run.exit_reason in (KvmExit.IO, KvmExit.MMIO)
        self._log_exit()

    def _is_at_hlt(self) -> bool:
        """In a guest whose addresses are physical ones, as the shipped programs' are."""
        rip = self._vcpu.linear_rip()
        return rip < len(self._ram) and self._ram[rip] == _HLT

    def _note(self) -> None:
        regs = self._vcpu.get_regs()
        regs.rflags &= ~_NOT_COMPARED
        step = Step(regs.rip, tuple(getattr(regs, name) for name in NAMES))
        if self.steps and self.steps[-1].rip == step.rip:
            self.steps[-1] = step
        elif len(self.steps) < self._step_limit:
            self.steps.append(step)


def first_disagreement(fine: Sequence[Step], coarse: Sequence[Step]) -> int | None:
    """The first of the `coarse` steps that is not among the `fine` ones, in order; None: all are.

    Linux's emulator does not stop behind each instruction that it emulates, so of a KVM's steps
    some may be missing. Those that are there must agree in every register.
    """
    place = 0
    for number, step in enumerate(coarse):
        window = fine[place : place + _MOST_MISSED]
        if step not in window:
            return number
        place += window.index(step) + 1
    return None
