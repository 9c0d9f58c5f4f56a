"""Linux's in-kernel 8259s and 8254, to be looked at: what a run has left of them.

The registers are the toy's (KVM_GET_IRQCHIP has them bit for bit), so what the toy says of its
own controllers it can say of these.
"""

from __future__ import annotations

import fcntl

from toyvisor.kvm import ioctls
from toyvisor.kvm.i8254_channel import NO_MODE
from toyvisor.kvm.i8259 import Pic, PicPair, PicState

_PERIODIC = (2, 3)


class LinuxIrqchip:
    """The two 8259s of a VM in Linux's KVM."""

    def __init__(self, vm: int) -> None:
        self._vm = vm

    def get_irqchip(self) -> tuple[PicState, PicState]:
        """KVM_GET_IRQCHIP for both chips."""
        return self._state(0), self._state(1)

    @property
    def pics(self) -> tuple[Pic, Pic]:
        """Copies of both chips as they are now."""
        return self._copy().pics

    def why_not(self, irq: int) -> str | None:
        """Why a request of IRQ 0 to 15 does not reach the processor, in words; None if it does."""
        return self._copy().why_not(irq)

    def irq_of(self, vector: int) -> int | None:
        """The line whose interrupts come as `vector`, if there is one."""
        return self._copy().irq_of(vector)

    def _copy(self) -> PicPair:
        copy = PicPair(lambda _level: None)
        for pic, state in zip(copy.pics, self.get_irqchip(), strict=True):
            pic.set_state(state)
        return copy

    def _state(self, chip_id: int) -> PicState:
        """One chip. The levels of the lines are not in the ABI; its memory of them is."""
        chip = ioctls.Irqchip(chip_id)
        fcntl.ioctl(self._vm, ioctls.GET_IRQCHIP, chip)
        registers = {name: getattr(chip.pic, name) for name in ioctls.KvmPicState.NAMES}
        return PicState(
            **registers, irq_states=chip.pic.last_irr, initialized=int(chip.pic.irq_base != 0)
        )


class LinuxPit:
    """The 8254 of a VM in Linux's KVM."""

    def __init__(self, vm: int) -> None:
        self._vm = vm

    def get_pit2(self) -> ioctls.PitState2:
        """KVM_GET_PIT2."""
        state = ioctls.PitState2()
        fcntl.ioctl(self._vm, ioctls.GET_PIT2, state)
        return state

    @property
    def is_running(self) -> bool:
        """Whether counter 0 interrupts again and again.

        Of one that was to do so once, the ABI does not say whether it has.
        """
        channel = self.get_pit2().channels[0]
        return channel.mode != NO_MODE and channel.mode in _PERIODIC
