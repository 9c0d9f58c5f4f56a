"""The devices that KVM itself has in a machine: the toy's own, with all of their state."""

from __future__ import annotations

from toyvisor.kvm.i8254 import Pit
from toyvisor.kvm.i8259 import PicPair
from toyvisor.qemu.machine import Machine


def controllers(machine: Machine) -> PicPair | None:
    """The two 8259s, if the machine has them."""
    found = machine.vm.irqchip
    return found if isinstance(found, PicPair) else None


def timer(machine: Machine) -> Pit | None:
    """The 8254, if the machine has it."""
    found = machine.vm.pit
    return found if isinstance(found, Pit) else None
