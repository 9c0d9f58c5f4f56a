"""The ports and command words of the PC's two 8259A interrupt controllers.

Bits as in the data sheet (Intel 8259A, order number 231468-003, 1988, figures 7 and 8); ports
named as in Linux (arch/x86/include/asm/i8259.h).
"""

from __future__ import annotations

from toyvisor.kvm.port_register import PortBits, PortRegister

MASTER_CMD, MASTER_IMR = 0x20, 0x21
SLAVE_CMD, SLAVE_IMR = 0xA0, 0xA1
ELCR1, ELCR2 = 0x4D0, 0x4D1

#: The ports to register with the bus: (first, how many).
PORT_RANGES = ((MASTER_CMD, 2), (SLAVE_CMD, 2), (ELCR1, 2))

#: input of the master that the slave's output is wired to
CASCADE_IR = 2
NUM_PINS = 16

#: Inputs that may be level-triggered. The timer, the keyboard, the cascade, the clock and the
#: coprocessor are edge-triggered on every PC (Linux: kvm_pic_init).
ELCR_MASKS = (0xF8, 0xDE)

# Initialization: a write with ICW1 to the command port, ICW2 to ICW4 to the other port.
ICW1 = 0x10
ICW1_IC4, ICW1_SNGL, ICW1_LTIM = 0x01, 0x02, 0x08
ICW2_BASE = 0xF8
ICW4_UPM, ICW4_AEOI, ICW4_SFNM = 0x01, 0x02, 0x10

# Operation: the command port, when neither ICW1 nor (for OCW2) OCW3 is set.
OCW2_LEVEL = 0x07
OCW2_EOI, OCW2_SL, OCW2_R = 0x20, 0x40, 0x80
OCW3 = 0x08
OCW3_RIS, OCW3_RR, OCW3_P = 0x01, 0x02, 0x04
OCW3_SMM, OCW3_ESMM = 0x20, 0x40

#: In what a poll reads: there was a request, and its number is in bits 0 to 2.
POLL_INTERRUPT = 0x80
#: What a poll reads if there was none: the number a spurious interrupt has.
POLL_NONE = 0x07


def _chip(command: int, mask: int, which: str) -> tuple[PortRegister, ...]:
    return (
        PortRegister(
            command,
            "ICW1",
            "W",
            f"begin to initialize the {which}: requests are forgotten, nothing is masked",
            (
                PortBits("IC4", ICW1_IC4, "ICW4 will follow"),
                PortBits("SNGL", ICW1_SNGL, "no slave; not supported"),
                PortBits("LTIM", ICW1_LTIM, "all inputs level-triggered; not supported, see ELCR"),
                PortBits("1", ICW1, "this is ICW1"),
            ),
        ),
        PortRegister(
            command,
            "OCW2",
            "W",
            "end of interrupt, and priorities",
            (
                PortBits("L", OCW2_LEVEL, "which interrupt, with SL"),
                PortBits("EOI", OCW2_EOI, "the handler is done: clear its bit in ISR"),
                PortBits("SL", OCW2_SL, "for the interrupt in L, not for the one in service"),
                PortBits("R", OCW2_R, "rotate: that interrupt becomes the lowest priority"),
            ),
        ),
        PortRegister(
            command,
            "OCW3",
            "W",
            "what the command port reads, and special mask mode",
            (
                PortBits("RIS", OCW3_RIS, "with RR: read ISR, else IRR"),
                PortBits("RR", OCW3_RR, "choose by RIS what to read"),
                PortBits("P", OCW3_P, "the next read is a poll"),
                PortBits("1", OCW3, "this is OCW3"),
                PortBits("SMM", OCW3_SMM, "with ESMM: special mask mode on, else off"),
                PortBits("ESMM", OCW3_ESMM, "choose by SMM"),
            ),
        ),
        PortRegister(command, "IRR", "R", "interrupts that are requested; or ISR, in service"),
        PortRegister(mask, "IMR", "RW", "OCW1: a 1 masks that interrupt"),
        PortRegister(
            mask,
            "ICW2",
            "W",
            "after ICW1",
            (PortBits("T", ICW2_BASE, "vector of its interrupt 0"),),
        ),
        PortRegister(mask, "ICW3", "W", "after ICW2: the cascade; ignored, it is wired"),
        PortRegister(
            mask,
            "ICW4",
            "W",
            "after ICW3, if ICW1 had IC4",
            (
                PortBits("uPM", ICW4_UPM, "8086 mode; there is no other here"),
                PortBits("AEOI", ICW4_AEOI, "automatic end of interrupt"),
                PortBits("SFNM", ICW4_SFNM, "special fully nested mode, for the master"),
            ),
        ),
    )


#: What stands behind the ports.
REGISTERS: tuple[PortRegister, ...] = (
    *_chip(MASTER_CMD, MASTER_IMR, "master"),
    *_chip(SLAVE_CMD, SLAVE_IMR, "slave"),
    PortRegister(ELCR1, "ELCR1", "RW", "a 1: IRQ 3 to 7 is level-triggered"),
    PortRegister(ELCR2, "ELCR2", "RW", "a 1: IRQ 9 to 12, 14, 15 is level-triggered"),
)
