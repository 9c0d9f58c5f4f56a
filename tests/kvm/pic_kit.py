"""A pair of 8259As on the bench: lines to pull, ports to write, an INTR to watch."""

from __future__ import annotations

from hypothesis import strategies as st

from toyvisor.kvm.i8259 import PicPair
from toyvisor.kvm.i8259_registers import (
    CASCADE_IR,
    ELCR1,
    ELCR2,
    ICW1,
    ICW1_IC4,
    ICW4_UPM,
    MASTER_CMD,
    MASTER_IMR,
    OCW2_EOI,
    OCW3_ESMM,
    OCW3_SMM,
    SLAVE_CMD,
    SLAVE_IMR,
)
from toyvisor.trace.events import Trace

MASTER_BASE, SLAVE_BASE = 0x20, 0x28
PORTS = (MASTER_CMD, MASTER_IMR, SLAVE_CMD, SLAVE_IMR, ELCR1, ELCR2)


class Bench:
    """The toy's pair, and what its INTR did."""

    def __init__(self, trace: Trace | None = None) -> None:
        self.intr: list[int] = []
        self.pair = PicPair(self.intr.append, trace)

    def initialize(
        self,
        *,
        icw4: int = ICW4_UPM,
        masks: tuple[int, int] = (0, 0),
        slave_icw4: int | None = None,
    ) -> Bench:
        """ICW1 to ICW4 to both chips, as every PC's software has it, then the masks."""
        for command, data, base, cascade, word4 in (
            (MASTER_CMD, MASTER_IMR, MASTER_BASE, 1 << CASCADE_IR, icw4),
            (SLAVE_CMD, SLAVE_IMR, SLAVE_BASE, CASCADE_IR, slave_icw4 or ICW4_UPM),
        ):
            self.write(command, ICW1 | ICW1_IC4)
            self.write(data, base)
            self.write(data, cascade)
            self.write(data, word4)
        self.write(MASTER_IMR, masks[0])
        self.write(SLAVE_IMR, masks[1])
        return self

    def write(self, port: int, value: int) -> None:
        assert self.pair.write(port, 1, value) is True

    def read(self, port: int) -> int:
        value = self.pair.read(port, 1)
        assert value is not None
        return value

    def up(self, *irqs: int) -> Bench:
        for irq in irqs:
            self.pair.set_irq(irq, 1)
        return self

    def down(self, *irqs: int) -> Bench:
        for irq in irqs:
            self.pair.set_irq(irq, 0)
        return self

    def pulse(self, *irqs: int) -> Bench:
        for irq in irqs:
            self.pair.set_irq(irq, 1)
            self.pair.set_irq(irq, 0)
        return self

    def take_interrupt(self) -> int | None:
        """The processor has interrupts on for a moment: the vector, if INTR is up."""
        return self.pair.read_irq() if self.pair.output else None

    def eoi(self, *ports: int) -> Bench:
        for port in ports or (MASTER_CMD,):
            self.write(port, OCW2_EOI)
        return self

    @property
    def isr(self) -> tuple[int, int]:
        return self.pair.pics[0].isr, self.pair.pics[1].isr

    @property
    def irr(self) -> tuple[int, int]:
        return self.pair.pics[0].irr, self.pair.pics[1].irr


def is_special_mask(port: int, value: int) -> bool:
    """Whether this OUT switches special mask mode on, which Linux's KVM does not have."""
    wanted = OCW3_ESMM | OCW3_SMM
    return not port & 1 and value & (0x18 | wanted) == 0x08 | wanted


# Scripts: steps are an OUT, an IN, a line, or a moment with interrupts on; what belongs
# together comes together, so that scripts get somewhere.
Step = tuple[str, int, int]

COMMANDS = st.sampled_from((MASTER_CMD, SLAVE_CMD))
IRQS = st.integers(0, 15)
TAKE: Step = ("take", 0, 0)


def _initialization(command: int, icw1: int, base: int, icw4: int) -> list[Step]:
    words = [base, 4, icw4] if icw1 & ICW1_IC4 else [base, 4]
    return [("out", command, ICW1 | icw1), *(("out", command + 1, word) for word in words)]


def _levels(irq: int, elcr: int) -> list[Step]:
    return [("out", ELCR1 + irq // 8, elcr | 1 << irq % 8), ("irq", irq, 1)]


def served_and_asked_again(irq: int) -> list[Step]:
    return [("irq", irq, 1), TAKE, ("irq", irq, 0), ("irq", irq, 1)]


def one(*choices: st.SearchStrategy) -> st.SearchStrategy[list[Step]]:
    return st.tuples(*choices).map(lambda step: [step])


BYTES = st.integers(0, 255)
STEPS = st.one_of(
    one(st.just("out"), st.sampled_from(PORTS), BYTES),
    one(st.just("out"), COMMANDS, st.sampled_from((0x20, 0x60, 0x64, 0xA0, 0xC3, 0xE1, 0x80))),
    one(st.just("out"), COMMANDS, st.sampled_from((0x08, 0x0A, 0x0B, 0x0C, 0x48))),
    one(st.just("in"), st.sampled_from(PORTS), st.just(0)),
    one(st.just("irq"), IRQS, st.integers(0, 1)),
    one(st.just("irq"), IRQS, st.just(1)),
    st.just([TAKE]),
    st.just([TAKE]),
    st.builds(
        _initialization,
        COMMANDS,
        st.sampled_from((0, ICW1_IC4, ICW1_IC4, 0x0F)),
        st.sampled_from((MASTER_BASE, 0x47, 0xFF)),
        st.sampled_from((0x01, 0x03, 0x11, 0x13)),
    ),
    st.builds(_levels, IRQS, BYTES),
    st.builds(served_and_asked_again, IRQS),
    st.just([("out", port, 0x0C) for port in (MASTER_CMD, SLAVE_CMD)]),
    COMMANDS.map(lambda port: [("out", port, 0x0C), ("in", port, 0)]),
)
SCRIPTS = st.lists(STEPS, min_size=3, max_size=40).map(
    lambda parts: [step for part in parts for step in part]
)
