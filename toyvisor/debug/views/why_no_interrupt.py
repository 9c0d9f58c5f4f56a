"""Why an interrupt does not reach the guest right now, from the device to the handler."""

from __future__ import annotations

from toyvisor.debug.views.kernel_devices import controllers, timer
from toyvisor.debug.views.register_places import decode_bits
from toyvisor.debug.views.registers import processor
from toyvisor.debug.views.vector_table import VectorTable
from toyvisor.kvm.i8259 import PicPair
from toyvisor.kvm.i8259_registers import CASCADE_IR, MASTER_CMD, SLAVE_CMD
from toyvisor.qemu.devices import mmio_nic_registers as nic
from toyvisor.qemu.devices.mmio_nic import MmioNic
from toyvisor.qemu.devices.serial import Serial16550
from toyvisor.qemu.machine import Machine
from toyvisor.qemu.virtio.mmio import VirtioMmio


def why_no_interrupt(machine: Machine, irq: int) -> str:
    """The first thing in the way of IRQ 0 to 15; or that nothing is, and how far it has come."""
    chips = controllers(machine)
    if chips is None:
        return 'this machine has no interrupt controllers: put "pic" into its devices'
    device = machine.board.lines.get(irq, "")
    name = f"IRQ {irq} ({device})" if device else f"IRQ {irq}"
    pic, bit = chips.pics[irq >> 3], 1 << (irq & 7)
    if not pic.irr & bit:
        return _not_requested(machine, chips, irq, name)
    # The slave's request is taken from the master when it goes up; what blocks is asked of both.
    if why := chips.why_not(irq):
        return f"{name} is requested, but {why}"
    return _at_the_processor(machine, chips, irq, name)


def _not_requested(machine: Machine, chips: PicPair, irq: int, name: str) -> str:
    pic, bit = chips.pics[irq >> 3], 1 << (irq & 7)
    if pic.isr & bit:
        port = MASTER_CMD if irq < 8 else SLAVE_CMD
        return (
            f"{name} is in service: its handler has not sent EOI yet (port {port:#x}), and until "
            "then no further one comes"
        )
    if irq == CASCADE_IR and irq not in machine.board.lines:
        return f"{name} is where the slave is connected: it is requested for IRQ 8 to 15"
    if irq not in machine.board.lines:
        return f"{name} has no device in this machine"
    if pic.irq_states & bit and (why := chips.why_not(irq)):
        return f"{name}: {why}"
    text = f"{name} is not requested: {_quiet(machine, irq)}"
    if why := chips.why_not(irq):
        text += f"; and a request would not get through: {why}"
    return text


def _quiet(machine: Machine, irq: int) -> str:
    """Why a device does not ask."""
    name = machine.board.lines[irq]
    pit = timer(machine)
    if irq == 0 and pit is not None:
        due = pit.next_expiry
        if due is None:
            return "the timer's counter 0 has not been set, or has done its one interrupt"
        left = max(0, due - processor(machine).time)
        return f"the timer's counter 0 expires in {left:,} instructions"
    match machine.devices.get(name):
        case MmioNic() as card:
            return _quiet_card(card)
        case VirtioMmio() as transport:
            if not transport.interrupt_status:
                return "the device has nothing to say: InterruptStatus is 0"
            if transport.irqfd is not None:
                return "each event is an edge by irqfd, and the last one has been taken"
            return "the line is down"
        case Serial16550() as port:
            wanted = port.peek()["IER"]
            if not wanted:
                return "the port's interrupts are off: IER is 0"
            return f"none of what IER asks for ({wanted:#04x}) has happened"
    return "the device's line is down"


def _quiet_card(card: MmioNic) -> str:
    happened, mask = card.peek(nic.INTERRUPT_STATUS) or 0, card.peek(nic.INTERRUPT_MASK) or 0
    bits = nic.BY_OFFSET[nic.INTERRUPT_STATUS].bits
    if happened & ~mask:
        return (
            f"the card has {decode_bits(bits, happened)}, which INTERRUPT_MASK ({mask:#x}) keeps "
            "back"
        )
    return "the card has nothing to say: INTERRUPT_STATUS is 0"


def _at_the_processor(machine: Machine, chips: PicPair, irq: int, name: str) -> str:
    """The controllers let it through: INTR is up."""
    vcpu = processor(machine)
    cpu = vcpu.cpu
    vector = chips.pics[irq >> 3].irq_base + (irq & 7)
    if cpu.is_injecting:
        return f"{name} waits for the one that KVM is injecting right now"
    if not cpu.interrupts_are_on:
        return (
            f"{name} is requested and INTR is up, but interrupts are off in the processor (IF is "
            "0): STI, POPF or IRET turns them on"
        )
    cpu.state.load()
    if cpu.state.in_shadow:
        return (
            f"{name} comes after the next instruction: STI or a load of SS holds it off that long"
        )
    table = VectorTable(machine)
    row = table.row(vector)
    if row is None:
        return (
            f"{name} reaches the processor as vector {vector:#x}, for which the {table.name} (base "
            f"{table.base:#x}, limit {table.limit:#x}) has no entry"
        )
    if row.problem:
        return (
            f"{name} reaches the processor as vector {vector:#x}, but that gate can't be used: "
            f"{row.problem}"
        )
    return (
        f"{name} reaches the guest: vector {vector:#x}, handler at {row.handler:#x}, as soon as "
        "KVM enters the guest between two instructions"
    )
