"""Why an interrupt request does not get through the interrupt controllers: for students."""

from __future__ import annotations

from typing import TYPE_CHECKING

from toyvisor.kvm.i8259_registers import CASCADE_IR, MASTER_CMD, MASTER_IMR, SLAVE_CMD, SLAVE_IMR

if TYPE_CHECKING:
    from toyvisor.kvm.i8259_chip import Pic

_NAMES = ("master", "slave")
_COMMAND_PORTS = (MASTER_CMD, SLAVE_CMD)
_MASK_PORTS = (MASTER_IMR, SLAVE_IMR)


def why_not(master: Pic, slave: Pic, irq: int) -> str | None:
    """Why a request of IRQ 0 to 15 does not reach the processor; None if nothing is in its way.

    In the order a request meets them: the slave, then the master. What comes last would not
    keep an interrupt back, but it would not come as the driver expects it.
    """
    chips = (slave, master) if irq >= 8 else (master,)
    pins = (irq & 7, CASCADE_IR) if irq >= 8 else (irq,)
    for pic, pin in zip(chips, pins, strict=True):
        reason = _masked(pic, pin, irq) or _in_service(pic, pin, irq)
        if reason:
            return reason
    reason = _no_new_request(chips[0], pins[0], irq)
    for pic in chips:
        reason = reason or _not_initialized(pic)
    return reason


def _masked(pic: Pic, pin: int, irq: int) -> str | None:
    if not pic.imr >> pin & 1:
        return None
    what = f"IRQ {irq}"
    if irq >= 8 and pic.index == 0:
        what = f"IRQ {CASCADE_IR}, through which all interrupts of the slave go,"
    name = _NAMES[pic.index]
    return f"{what} is masked: bit {pin} of the {name}'s IMR (port {_MASK_PORTS[pic.index]:#x})"


def _in_service(pic: Pic, pin: int, irq: int) -> str | None:
    pins = pic.blocking()
    priority = pic.priority(pins)
    if pic.priority(1 << pin) < priority:
        return None
    blocker = priority + pic.priority_add & 7
    port = f"port {_COMMAND_PORTS[pic.index]:#x}"
    if irq >= 8 and pic.index == 0 and blocker == CASCADE_IR:
        return (
            f"IRQ {CASCADE_IR} is still in service in the master: an interrupt of the slave takes "
            f"two EOIs, and none has been sent to the master ({port})"
        )
    if blocker == pin:
        return f"the last IRQ {irq} is still in service: no EOI has been sent for it ({port})"
    other = blocker + 8 * pic.index
    return (
        f"IRQ {other} is in service and has priority over IRQ {irq}: "
        f"no EOI has been sent for it ({port})"
    )


def _no_new_request(pic: Pic, pin: int, irq: int) -> str | None:
    """The device asks, as far as it knows; the chip has not heard or has forgotten it."""
    bit = 1 << pin
    if not pic.irq_states & bit or pic.irr & bit:
        return None
    if not pic.last_irr & bit:
        return (
            f"the request of IRQ {irq} was forgotten when the {_NAMES[pic.index]} was "
            "initialized (ICW1): the device has to lower its line and raise it again"
        )
    return (
        f"the line of IRQ {irq} has stayed up since its last interrupt, which is no new request: "
        "the device lowers it when the driver acknowledges the interrupt at the device"
    )


def _not_initialized(pic: Pic) -> str | None:
    if pic.initialized:
        return None
    name = _NAMES[pic.index]
    first, last = pic.irq_base, pic.irq_base + 7
    return (
        f"the {name} has not been initialized (ICW1 to ICW4, ports "
        f"{_COMMAND_PORTS[pic.index]:#x} and {_MASK_PORTS[pic.index]:#x}): "
        f"its interrupts would come as vectors {first:#04x} to {last:#04x}"
    )
