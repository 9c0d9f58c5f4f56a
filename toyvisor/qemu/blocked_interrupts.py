"""What a guest got wrong with its interrupts, found out when its run is over.

A real machine says nothing: the guest sleeps, or is busy, or its handler is the wrong one. All
of that is legal, so nobody notices at the time. Afterwards the interrupt controllers show it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from toyvisor.errors import GuestError
from toyvisor.kvm.exceptions import exception_name
from toyvisor.modes import CR0_PE, RFLAGS_IF
from toyvisor.qemu.vcpu_thread import Ending, Outcome

if TYPE_CHECKING:
    from toyvisor.kvm.file_descriptors import IrqchipFd
    from toyvisor.qemu.machine import Machine

_DATA_SHEET = "Intel 8259A data sheet"
_STI, _HLT = b"\xfb", b"\xf4"
#: A guest that is interrupted more often than every so many instructions gets nowhere.
_STORM = 50


def report_interrupts(machine: Machine, ending: Ending) -> None:
    """Report interrupts that can't come, come without end, or come as exceptions."""
    irqchip = machine.vm.irqchip
    if irqchip is None:
        return
    _report_exception_vectors(machine, irqchip)
    if ending.outcome is Outcome.BUDGET:
        _report_storm(machine, irqchip)
    elif machine.vcpu.asleep and machine.vcpu.get_regs().rflags & RFLAGS_IF:
        # With IF=0 HLT is how a guest ends: it wants no interrupts.
        _report_blocked(machine, irqchip)
        _report_lost_wakeup(machine)


def _report_blocked(machine: Machine, irqchip: IrqchipFd) -> None:
    """Each request that the controllers hold back from a guest that sleeps for good."""
    for irq, device in machine.board.lines.items():
        why = irqchip.why_not(irq)
        if why is not None and _wants(machine, irqchip, irq):
            machine.errors.report(
                "pic",
                GuestError(
                    f"the guest sleeps in HLT while IRQ {irq} ({device}) waits: {why}",
                    rule="pic.blocked",
                    section=_DATA_SHEET,
                    hint="initialize, unmask, and end each handler with EOI",
                ),
            )


def _wants(machine: Machine, irqchip: IrqchipFd, irq: int) -> bool:
    """Whether the line's device asks for an interrupt now."""
    if irq == 0:
        return machine.vm.pit is not None and machine.vm.pit.is_running
    pic = irqchip.pics[irq >> 3]
    bit = 1 << (irq & 7)
    return bool((pic.irr | pic.irq_states) & bit)


def _report_lost_wakeup(machine: Machine) -> None:
    """The last interrupt came in between STI and the HLT that now waits for it.

    Only where one instruction too many stands between the two: other guests that sleep for
    good may have nothing more to wait for.
    """
    hlt = machine.vcpu.get_regs().rip - 1
    if machine.vcpu.interrupted_at != hlt:
        return
    code = [line for line in machine.program.assembly.listing.lines if line.data]
    place = next((n for n, line in enumerate(code) if line.address == hlt), 0)
    if place >= 2 and code[place - 2].data == _STI and code[place - 1].data != _HLT:
        machine.errors.report(
            "cpu",
            GuestError(
                "the last interrupt came between STI and this HLT, which waits for one more",
                rule="cpu.lost-wakeup",
                section="Intel SDM vol. 2B, STI",
                hint="HLT directly behind STI: no interrupt comes in between the two",
            ),
        )


def _report_storm(machine: Machine, irqchip: IrqchipFd) -> None:
    """A level-triggered line that stays up interrupts again as soon as it can."""
    count, instructions = machine.ledger.injected, machine.vcpu.instructions
    if instructions is None or count * _STORM < instructions:
        return
    for irq, device in machine.board.lines.items():
        pic = irqchip.pics[irq >> 3]
        bit = 1 << (irq & 7)
        if pic.elcr & pic.irq_states & bit and not pic.imr & bit:
            machine.errors.report(
                "pic",
                GuestError(
                    f"{count:,} interrupts in {instructions:,} instructions: IRQ {irq} "
                    f"({device}) is level-triggered, and its line is still up",
                    rule="pic.storm",
                    section=_DATA_SHEET,
                    hint="the handler acknowledges the interrupt at the device, which lets the "
                    "line down, and then sends EOI",
                ),
            )


def _report_exception_vectors(machine: Machine, irqchip: IrqchipFd) -> None:
    """Interrupts that came where protected and long mode have their exceptions."""
    vectors = machine.vcpu.vectors
    if not vectors & 0xFFFF_FFFF or not machine.vcpu.get_sregs().cr0 & CR0_PE:
        return
    for vector in range(32):
        if vectors >> vector & 1:
            irq = irqchip.irq_of(vector)
            machine.errors.report(
                "pic",
                GuestError(
                    f"IRQ {irq} came as vector {vector}, which is {exception_name(vector)} in "
                    "protected and long mode",
                    rule="pic.vector",
                    section="Intel SDM vol. 3, 7.2",
                    hint="initialize the 8259s (ICW2) with vectors from 32 on",
                ),
            )
