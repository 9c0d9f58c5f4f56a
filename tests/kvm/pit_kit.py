"""An 8254 on the bench, with a clock in the hand."""

from __future__ import annotations

from hypothesis import strategies as st
from pic_kit import Bench

from toyvisor.kvm.i8254 import Pit
from toyvisor.kvm.i8254_registers import (
    ACCESS_WORD,
    CH0,
    CH1,
    CH2,
    INSTRUCTIONS_PER_TICK,
    MODE,
    SPEAKER,
)


class Clock:
    """The toy's timer, wired to a pair of 8259As, and the time in guest instructions."""

    def __init__(self, **options: int) -> None:
        self.now = 0
        self.bench = Bench()
        #: times that IRQ 0 went up
        self.interrupts = 0
        self.changes: list[int | None] = []
        self.pit = Pit(self._set_irq0, lambda: self.now, **options)
        self.pit.on_change = lambda: self.changes.append(self.pit.next_expiry)
        self.bench.pair.register_irq_ack_notifier(0, self.pit.ack_irq)
        self.bench.pair.register_irq_mask_notifier(0, self.pit.mask_changed)

    def _set_irq0(self, level: int) -> None:
        self.interrupts += level
        self.bench.pair.set_irq(0, level)

    def initialize_pics(self) -> Clock:
        self.bench.initialize()
        return self

    def load(self, channel: int, mode: int, count: int) -> Clock:
        """Control word and count, as a driver writes them."""
        self.write(MODE, channel << 6 | ACCESS_WORD | mode << 1)
        self.write(CH0 + channel, count & 0xFF)
        self.write(CH0 + channel, count >> 8 & 0xFF)
        return self

    def write(self, port: int, value: int) -> None:
        assert self.pit.write(port, 1, value) is True

    def read(self, port: int) -> int:
        value = self.pit.read(port, 1)
        assert value is not None
        return value

    def count(self, channel: int) -> int:
        """Latch a counter and read both bytes."""
        self.write(MODE, channel << 6)
        return self.read(CH0 + channel) | self.read(CH0 + channel) << 8

    def status(self, channel: int) -> int:
        self.write(MODE, 0xE0 | 2 << channel)
        return self.read(CH0 + channel)

    def out(self, channel: int) -> int:
        return self.status(channel) >> 7

    def run_to(self, now: int) -> Clock:
        """Time passes, and whoever has the clock is punctual."""
        while self.pit.next_expiry is not None and self.pit.next_expiry <= now:
            self.now = max(self.now, self.pit.next_expiry)
            self.pit.run_due(self.now)
        self.now = now
        return self

    def ticks(self, ticks: int) -> Clock:
        return self.run_to(self.now + INSTRUCTIONS_PER_TICK * ticks)

    def take(self) -> int | None:
        """The processor takes what is pending, and the handler sends its EOI."""
        vector = self.bench.take_interrupt()
        if vector is not None:
            self.bench.eoi()
        return vector

    def take_all(self) -> int:
        """How many it takes until none is left."""
        taken = 0
        while self.take() is not None:
            taken += 1
        return taken


CONTROL_WORDS = st.one_of(
    st.integers(0, 255),
    st.builds(
        lambda channel, access, mode: channel << 6 | access << 4 | mode << 1,
        st.integers(0, 2),
        st.integers(0, 3),
        st.integers(0, 5),
    ),
    st.builds(
        lambda what, which: 0xC0 | what << 4 | which << 1, st.integers(0, 3), st.integers(0, 7)
    ),
)
COUNTERS = st.sampled_from((CH0, CH1, CH2))
PIT_STEPS = st.one_of(
    st.tuples(st.just("out"), st.just(MODE), CONTROL_WORDS),
    st.tuples(st.just("out"), COUNTERS, st.integers(0, 255)),
    st.tuples(st.just("in"), COUNTERS, st.just(0)),
    st.tuples(st.just("in"), COUNTERS, st.just(0)),
    st.tuples(st.just("out"), st.just(SPEAKER), st.integers(0, 255)),
    st.tuples(st.just("in"), st.sampled_from((MODE, SPEAKER)), st.just(0)),
)
