"""The pair of interrupt controllers: what gets through, in which order, and what is in the way."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pic_kit import MASTER_BASE, PORTS, SCRIPTS, SLAVE_BASE, Bench

from toyvisor.kvm.i8259_registers import (
    ELCR1,
    ELCR2,
    ICW1,
    ICW1_IC4,
    ICW4_AEOI,
    ICW4_SFNM,
    ICW4_UPM,
    MASTER_CMD,
    MASTER_IMR,
    OCW2_EOI,
    OCW2_R,
    OCW2_SL,
    OCW3,
    OCW3_ESMM,
    OCW3_P,
    OCW3_RIS,
    OCW3_RR,
    OCW3_SMM,
    PORT_RANGES,
    REGISTERS,
    SLAVE_CMD,
    SLAVE_IMR,
)
from toyvisor.kvm.io_bus import KvmIoBus
from toyvisor.trace.events import Trace
from toyvisor.trace.text import to_text

AEOI = ICW4_UPM | ICW4_AEOI
SFNM = ICW4_UPM | ICW4_SFNM
SPECIFIC = OCW2_EOI | OCW2_SL


@pytest.fixture
def bench() -> Bench:
    return Bench().initialize()


def taken(bench: Bench) -> list[int]:
    """Every vector there is to take, with an EOI to each chip after each."""
    vectors = []
    while (vector := bench.take_interrupt()) is not None:
        vectors.append(vector)
        bench.eoi(SLAVE_CMD, MASTER_CMD)
    return vectors


# From a line to a vector ------------------------------------------------------------------


@pytest.mark.parametrize("irq", [irq for irq in range(16) if irq != 2])
def test_each_irq_has_its_vector(bench, irq):
    bench.up(irq)
    assert bench.intr == [1]
    assert bench.take_interrupt() == (MASTER_BASE + irq if irq < 8 else SLAVE_BASE + irq - 8)
    assert bench.intr == [1, 0]


def test_taking_it_moves_the_request_into_service(bench):
    bench.up(5)
    assert (bench.irr, bench.isr) == ((1 << 5, 0), (0, 0))
    bench.take_interrupt()
    assert (bench.irr, bench.isr) == ((0, 0), (1 << 5, 0))
    bench.eoi()
    assert (bench.irr, bench.isr) == ((0, 0), (0, 0))


def test_an_interrupt_of_the_slave_is_in_service_in_both(bench):
    bench.up(10)
    assert bench.take_interrupt() == SLAVE_BASE + 2
    assert bench.isr == (1 << 2, 1 << 2)


def test_without_eoi_the_same_irq_does_not_come_again(bench):
    bench.pulse(5)
    assert bench.take_interrupt() == MASTER_BASE + 5
    bench.pulse(5)
    assert bench.take_interrupt() is None
    bench.eoi()
    assert bench.take_interrupt() == MASTER_BASE + 5


def test_the_slave_needs_an_eoi_of_its_own(bench):
    bench.pulse(10)
    bench.take_interrupt()
    bench.pulse(10)
    bench.eoi(MASTER_CMD)
    assert bench.take_interrupt() is None
    bench.eoi(SLAVE_CMD)
    assert bench.take_interrupt() == SLAVE_BASE + 2


def test_one_edge_is_one_interrupt_however_long_the_line_stays_up(bench):
    bench.up(5)
    assert taken(bench) == [MASTER_BASE + 5]
    bench.up(5)
    assert taken(bench) == []
    bench.down(5).up(5)
    assert taken(bench) == [MASTER_BASE + 5]


def test_edges_that_nobody_has_taken_yet_are_one(bench):
    results = [bench.pair.set_irq(5, level) for level in (1, 0, 1, 0)]
    assert results == [1, 1, 0, 1]  # the second edge is coalesced
    assert taken(bench) == [MASTER_BASE + 5]


def test_an_edge_is_remembered_when_the_line_falls(bench):
    bench.pulse(5)
    assert bench.pair.output == 1


def test_a_level_is_an_interrupt_as_long_as_it_lasts(bench):
    bench.write(ELCR1, 1 << 5)
    bench.up(5)
    for _ in range(3):
        assert bench.take_interrupt() == MASTER_BASE + 5
        bench.eoi()
    bench.down(5)
    assert bench.take_interrupt() is None


def test_only_some_irqs_may_be_level_triggered(bench):
    for port in (ELCR1, ELCR2):
        bench.write(port, 0xFF)
    assert (bench.read(ELCR1), bench.read(ELCR2)) == (0xF8, 0xDE)


# Masks ------------------------------------------------------------------------------------


def test_a_masked_request_waits(bench):
    bench.write(MASTER_IMR, 1 << 5)
    assert bench.pair.set_irq(5, 1) == -1
    assert bench.intr == []
    bench.write(MASTER_IMR, 0)
    assert bench.intr == [1]
    assert bench.take_interrupt() == MASTER_BASE + 5


def test_the_cascade_masked_is_the_whole_slave_masked(bench):
    bench.write(MASTER_IMR, 1 << 2)
    bench.up(8, 12, 15)
    assert bench.intr == []


def test_the_mask_reads_back(bench):
    bench.write(MASTER_IMR, 0xA5)
    bench.write(SLAVE_IMR, 0x5A)
    assert (bench.read(MASTER_IMR), bench.read(SLAVE_IMR)) == (0xA5, 0x5A)


# Priorities -------------------------------------------------------------------------------


def test_the_lower_number_goes_first_and_the_slave_is_at_two(bench):
    bench.pulse(15, 7, 3, 8, 1, 0)
    assert taken(bench) == [
        MASTER_BASE,
        MASTER_BASE + 1,
        SLAVE_BASE,
        SLAVE_BASE + 7,
        MASTER_BASE + 3,
        MASTER_BASE + 7,
    ]


def test_a_higher_priority_interrupts_the_handler_of_a_lower_one(bench):
    bench.pulse(4)
    assert bench.take_interrupt() == MASTER_BASE + 4
    bench.pulse(6, 1)
    assert bench.take_interrupt() == MASTER_BASE + 1
    assert bench.take_interrupt() is None
    bench.eoi()  # of the one in service with the highest priority: 1
    assert bench.isr == (1 << 4, 0)
    assert bench.take_interrupt() is None
    bench.eoi()
    assert bench.take_interrupt() == MASTER_BASE + 6


def test_a_specific_eoi_ends_the_one_it_names(bench):
    bench.pulse(4)
    bench.take_interrupt()
    bench.pulse(1)
    bench.take_interrupt()
    bench.write(MASTER_CMD, SPECIFIC | 4)
    assert bench.isr == (1 << 1, 0)


def test_rotation_makes_the_served_one_the_last(bench):
    bench.pulse(3)
    bench.take_interrupt()
    bench.write(MASTER_CMD, OCW2_R | OCW2_EOI)
    bench.pulse(3, 4)
    assert taken(bench) == [MASTER_BASE + 4, MASTER_BASE + 3]


def test_rotation_can_name_the_one_that_has_been_served(bench):
    bench.pulse(3)
    bench.take_interrupt()
    bench.write(MASTER_CMD, OCW2_R | SPECIFIC | 3)
    assert bench.isr == (0, 0)
    bench.pulse(0, 3, 4)
    assert [vector - MASTER_BASE for vector in taken(bench)] == [4, 0, 3]


def test_priorities_can_be_set(bench):
    bench.write(MASTER_CMD, OCW2_R | OCW2_SL | 5)  # 5 is the last, 6 the first
    bench.pulse(0, 5, 6, 7)
    assert [vector - MASTER_BASE for vector in taken(bench)] == [6, 7, 0, 5]


def test_special_fully_nested_mode_lets_the_slaves_higher_ones_through():
    for icw4, expected in ((ICW4_UPM, None), (SFNM, SLAVE_BASE)):
        bench = Bench().initialize(icw4=icw4)
        bench.pulse(12)
        bench.take_interrupt()
        bench.pulse(8)
        assert bench.take_interrupt() == expected


def test_special_mask_mode_lets_lower_ones_through_where_the_served_one_is_masked(bench):
    bench.pulse(1)
    bench.take_interrupt()
    bench.write(MASTER_IMR, 1 << 1)
    bench.pulse(3)
    assert bench.take_interrupt() is None
    bench.write(MASTER_CMD, OCW3 | OCW3_ESMM | OCW3_SMM)
    bench.write(MASTER_IMR, 1 << 1)
    assert bench.take_interrupt() == MASTER_BASE + 3


def test_automatic_eoi_leaves_nothing_in_service():
    bench = Bench().initialize(icw4=AEOI, slave_icw4=AEOI)
    bench.pulse(5, 6, 8, 9)
    vectors = [bench.take_interrupt() for _ in range(5)]
    assert vectors == [SLAVE_BASE, SLAVE_BASE + 1, MASTER_BASE + 5, MASTER_BASE + 6, None]
    assert bench.isr == (0, 0)


def test_automatic_eoi_can_rotate():
    bench = Bench().initialize(icw4=AEOI)
    bench.write(MASTER_CMD, OCW2_R)
    bench.pulse(3, 4)
    assert bench.take_interrupt() == MASTER_BASE + 3
    bench.pulse(3)
    assert [bench.take_interrupt(), bench.take_interrupt()] == [MASTER_BASE + 4, MASTER_BASE + 3]


# Spurious interrupts, polls ---------------------------------------------------------------


def test_a_request_withdrawn_too_late_is_a_spurious_interrupt_7(bench):
    bench.write(ELCR1, 1 << 5)
    bench.up(5)
    assert bench.pair.output == 1
    bench.pair.pics[0].set_line(5, 0)  # between INTR and INTA: nobody has looked since
    assert bench.pair.read_irq() == MASTER_BASE + 7
    assert bench.isr == (0, 0)


def test_a_request_withdrawn_from_the_slave_is_a_spurious_interrupt_15(bench):
    bench.write(ELCR2, 1 << 2)
    bench.up(10).down(10)  # the master keeps the slave's edge
    assert bench.take_interrupt() == SLAVE_BASE + 7
    assert bench.isr == (1 << 2, 0)  # the master wants its EOI, the slave none


def test_a_poll_takes_a_request_and_ends_it(bench):
    bench.pulse(5)
    bench.write(MASTER_CMD, OCW3 | OCW3_P)
    assert bench.read(MASTER_CMD) == 0x85
    assert (bench.irr, bench.isr, bench.intr) == ((0, 0), (0, 0), [1, 0])
    assert bench.read(MASTER_CMD) == 0  # one poll, one read


def test_a_poll_finds_the_slave_by_way_of_the_master(bench):
    bench.pulse(12)
    bench.write(MASTER_CMD, OCW3 | OCW3_P)
    assert bench.read(MASTER_CMD) == 0x82
    assert bench.irr == (0, 1 << 4)
    bench.write(SLAVE_CMD, OCW3 | OCW3_P)
    assert bench.read(SLAVE_CMD) == 0x84
    assert (bench.irr, bench.isr, bench.pair.output) == ((0, 0), (0, 0), 0)


def test_a_poll_of_the_slave_alone_leaves_the_master_nothing_to_do(bench):
    bench.pulse(12)
    bench.write(SLAVE_CMD, OCW3 | OCW3_P)
    assert bench.read(SLAVE_CMD) == 0x84
    assert (bench.irr, bench.pair.output) == ((0, 0), 0)


def test_a_poll_without_a_request_has_bit_7_clear(bench):
    bench.write(MASTER_CMD, OCW3 | OCW3_P)
    assert bench.read(MASTER_CMD) == 0x07


def test_the_command_port_reads_requests_or_interrupts_in_service(bench):
    bench.pulse(5)
    bench.take_interrupt()
    bench.pulse(6)
    assert bench.read(MASTER_CMD) == 1 << 6
    bench.write(MASTER_CMD, OCW3 | OCW3_RR | OCW3_RIS)
    assert bench.read(MASTER_CMD) == 1 << 5
    bench.write(MASTER_CMD, OCW3 | OCW3_RR)
    assert bench.read(MASTER_CMD) == 1 << 6


# Initialization ---------------------------------------------------------------------------


def test_initialization_forgets_edges_and_unmasks():
    bench = Bench()
    bench.write(MASTER_IMR, 0xFF)
    bench.pulse(5)
    bench.initialize()
    assert (bench.irr, bench.read(MASTER_IMR), taken(bench)) == ((0, 0), 0, [])


def test_initialization_keeps_a_level_that_lasts(bench):
    bench.write(ELCR1, 1 << 5)
    bench.up(5, 6).initialize()
    assert bench.irr == (1 << 5, 0)
    assert bench.take_interrupt() == MASTER_BASE + 5


def test_initialization_leaves_what_is_in_service(bench):
    """As in KVM, and on the data sheet; but not if it had been asked for anew."""
    bench.pulse(3).take_interrupt()
    bench.pulse(1).take_interrupt()
    bench.pulse(3)
    bench.initialize()
    assert bench.isr == (1 << 1, 0)


def test_automatic_eoi_lasts_until_the_next_icw4():
    bench = Bench().initialize(icw4=AEOI)
    bench.write(MASTER_CMD, ICW1 | ICW1_IC4)
    assert bench.pair.pics[0].auto_eoi == 1
    bench.write(MASTER_CMD, ICW1)
    assert bench.pair.pics[0].auto_eoi == 0


def test_initialization_makes_the_command_port_read_requests(bench):
    bench.write(MASTER_CMD, OCW3 | OCW3_RR | OCW3_RIS)
    bench.initialize()
    bench.pulse(5)
    assert bench.read(MASTER_CMD) == 1 << 5


def test_the_lower_three_bits_of_the_base_are_the_irqs(bench):
    for value in (ICW1 | ICW1_IC4, 0x47, 4, ICW4_UPM, 0):
        bench.write(MASTER_IMR if value != (ICW1 | ICW1_IC4) else MASTER_CMD, value)
    bench.pulse(3)
    assert bench.take_interrupt() == 0x43


def test_without_icw4_the_third_word_is_the_last(bench):
    bench.write(MASTER_CMD, ICW1)
    for value in (0x40, 4, 0xFB):
        bench.write(MASTER_IMR, value)
    assert bench.read(MASTER_IMR) == 0xFB


def test_reset_is_as_after_power_on(bench):
    bench.write(ELCR1, 0xFF)
    bench.up(5)
    bench.pair.reset()
    assert bench.pair.get_irqchip() == Bench().pair.get_irqchip()
    assert bench.intr == [1, 0]


# The ports --------------------------------------------------------------------------------


def test_the_bus_finds_it_at_six_ports_and_no_others():
    bus, pair = KvmIoBus(granule_bits=0), Bench().pair
    for first, length in PORT_RANGES:
        bus.register(first, length, pair)
    answering = [port for port in range(0x600) if bus.read(port, 1) is not None]
    assert answering == sorted(PORTS)
    assert [pair.read(port, 1) for port in (0x22, 0x4D2)] == [None, None]
    assert [pair.write(port, 1, 0) for port in (0x22, 0x4D2)] == [False, False]


def test_more_than_a_byte_is_taken_and_does_nothing(bench):
    before = bench.pair.get_irqchip()
    for size in (2, 4):
        assert bench.pair.write(MASTER_CMD, size, 0x11111111) is True
        assert bench.pair.read(MASTER_IMR, size) == 0
    assert bench.pair.get_irqchip() == before


def test_every_port_is_described():
    assert {register.port for register in REGISTERS} == set(PORTS)
    for register in REGISTERS:
        for bits in register.bits:
            assert 0 < bits.mask < 0x100


# Who wants to know ------------------------------------------------------------------------


def test_the_end_of_an_interrupt_is_told(bench):
    ended = []
    for irq in (5, 10):
        bench.pair.register_irq_ack_notifier(irq, lambda irq=irq: ended.append(irq))
    bench.pulse(5, 10, 6)
    for expected in ([10], [10, 5], [10, 5]):
        bench.take_interrupt()
        bench.eoi(SLAVE_CMD, MASTER_CMD)
        assert ended == expected


def test_initialization_ends_what_was_requested(bench):
    ended = []
    bench.pair.register_irq_ack_notifier(5, lambda: ended.append(5))
    bench.pulse(5)
    bench.write(MASTER_CMD, ICW1)
    assert ended == [5]


def test_masking_is_told_once(bench):
    told = []
    bench.pair.register_irq_mask_notifier(13, told.append)
    for mask in (0x20, 0x20, 0xFF, 0xDF):
        bench.write(SLAVE_IMR, mask)
    assert told == [True, False]


def test_a_device_may_ask_again_while_its_eoi_is_written(bench):
    bench.pair.register_irq_ack_notifier(5, lambda: bench.pulse(5))
    bench.pulse(5)
    assert [bench.take_interrupt(), bench.take_interrupt()] == [MASTER_BASE + 5, None]
    bench.eoi()
    assert bench.take_interrupt() == MASTER_BASE + 5


def test_the_trace_has_the_words_of_ftrace():
    trace = Trace(enabled=True)
    bench = Bench(trace).initialize()
    bench.write(ELCR2, 1 << 2)
    bench.write(MASTER_IMR, 1 << 1)
    bench.up(10, 10, 1)
    lines = [
        to_text({"seq": 0, "clock": 0, "layer": "kvm", "event": event.kind.name, **event.fields})
        for event in trace
    ]
    assert [line.split(maxsplit=3)[3] for line in lines] == [
        "kvm_pic_set_irq: chip 1 pin 2 (level)",
        "kvm_pic_set_irq: chip 1 pin 2 (level) (coalesced)",
        "kvm_pic_set_irq: chip 0 pin 1 (edge|masked)",
    ]


# In words ---------------------------------------------------------------------------------


def test_nothing_stands_in_the_way_of_a_request(bench):
    assert bench.pair.why_not(5) is None
    bench.up(5)
    assert bench.pair.why_not(5) is None


@pytest.mark.parametrize(
    ("irq", "port", "said"),
    [
        (5, MASTER_IMR, "IRQ 5 is masked: bit 5 of the master's IMR (port 0x21)"),
        (10, SLAVE_IMR, "IRQ 10 is masked: bit 2 of the slave's IMR (port 0xa1)"),
        (
            10,
            MASTER_IMR,
            "IRQ 2, through which all interrupts of the slave go, is masked: "
            "bit 2 of the master's IMR (port 0x21)",
        ),
    ],
)
def test_why_not_masked(bench, irq, port, said):
    bench.write(port, 0xFF)
    bench.up(irq)
    assert bench.pair.why_not(irq) == said


def test_why_not_no_eoi(bench):
    bench.pulse(3)
    bench.take_interrupt()
    assert (
        bench.pair.why_not(3)
        == "the last IRQ 3 is still in service: no EOI has been sent for it (port 0x20)"
    )
    assert bench.pair.why_not(5) == (
        "IRQ 3 is in service and has priority over IRQ 5: no EOI has been sent for it (port 0x20)"
    )
    assert bench.pair.why_not(1) is None
    assert bench.pair.why_not(9) is None


def test_why_not_an_eoi_to_one_chip_only(bench):
    bench.pulse(10)
    bench.take_interrupt()
    assert "IRQ 10 is in service and has priority over IRQ 12" in bench.pair.why_not(12)
    bench.eoi(SLAVE_CMD)
    assert bench.pair.why_not(12) == (
        "IRQ 2 is still in service in the master: an interrupt of the slave takes two EOIs, "
        "and none has been sent to the master (port 0x20)"
    )
    bench.eoi(MASTER_CMD)
    assert bench.pair.why_not(12) is None


def test_why_not_by_rotated_priorities(bench):
    bench.write(MASTER_CMD, OCW2_R | OCW2_SL | 4)  # 5 is the first
    bench.pulse(6)
    bench.take_interrupt()
    assert bench.pair.why_not(5) is None
    assert bench.pair.why_not(0).startswith("IRQ 6 is in service and has priority over IRQ 0")


def test_why_not_a_line_that_never_fell(bench):
    """The classic: the handler forgets to acknowledge the interrupt at the device."""
    bench.up(5)
    assert taken(bench) == [MASTER_BASE + 5]
    assert bench.pair.why_not(5) == (
        "the line of IRQ 5 has stayed up since its last interrupt, which is no new request: "
        "the device lowers it when the driver acknowledges the interrupt at the device"
    )
    bench.down(5)
    assert bench.pair.why_not(5) is None


def test_why_not_a_request_from_before_the_initialization():
    bench = Bench().up(5).initialize()
    assert bench.pair.why_not(5) == (
        "the request of IRQ 5 was forgotten when the master was initialized (ICW1): "
        "the device has to lower its line and raise it again"
    )


def test_why_not_never_initialized():
    bench = Bench()
    assert bench.pair.why_not(5) == (
        "the master has not been initialized (ICW1 to ICW4, ports 0x20 and 0x21): "
        "its interrupts would come as vectors 0x00 to 0x07"
    )
    assert "the slave has not been initialized" in bench.pair.why_not(13)
    for value in (0x20, 4):
        bench.write(MASTER_CMD, ICW1 | ICW1_IC4)
        bench.write(MASTER_IMR, value)
        assert "the master has not been initialized" in bench.pair.why_not(5)
    bench.initialize()
    assert bench.pair.why_not(5) is None


# Any script -------------------------------------------------------------------------------


def play(bench: Bench, script) -> list[int | None]:
    answers: list[int | None] = []
    for what, where, value in script:
        if what == "out":
            bench.write(where, value)
        elif what == "in":
            answers.append(bench.read(where))
        elif what == "irq":
            bench.pair.set_irq(where, value)
        else:
            answers.append(bench.take_interrupt())
    return answers


@given(script=SCRIPTS)
def test_no_script_breaks_it(script):
    bench = Bench()
    for answer in play(bench, script):
        assert answer is None or 0 <= answer <= 0xFF
    assert bench.intr == [(number + 1) % 2 for number in range(len(bench.intr))]
    for state in bench.pair.get_irqchip():
        assert all(0 <= value <= 0xFF for value in state)


@given(before=SCRIPTS, after=SCRIPTS)
def test_a_restored_pair_goes_on_as_the_first_one_did(before, after):
    first, second = Bench().initialize(), Bench()
    play(first, before)
    first.pair.set_irqchip(first.pair.get_irqchip())  # INTR as it should be
    second.pair.set_irqchip(first.pair.get_irqchip())
    assert second.pair.output == first.pair.output
    assert play(first, after) == play(second, after)
    assert first.pair.get_irqchip() == second.pair.get_irqchip()


@settings(max_examples=200)
@given(script=SCRIPTS, irq=st.sampled_from([irq for irq in range(16) if irq != 2]))
def test_why_not_tells_the_truth(script, irq):
    """A new edge goes through if, and only if, nothing is said to be in its way."""
    bench = Bench().initialize()
    play(bench, [step for step in script if step[:2] != ("irq", 2)])  # no device is there
    for pic in bench.pair.pics:  # all edges, no other requests, no half initialization
        pic.elcr = pic.irr = pic.init_state = 0
        pic.initialized = 1
    bench.down(irq).up(irq)
    said = bench.pair.why_not(irq)
    bench.take_interrupt()
    came = not bench.pair.pics[irq >> 3].irr >> (irq & 7) & 1
    assert came == (said is None), said


class Model:
    """The master alone, as a list of priorities and three sets: nothing else to get wrong."""

    def __init__(self) -> None:
        self.order = list(range(8))
        self.requested: set[int] = set()
        self.masked: set[int] = set()
        self.in_service: set[int] = set()

    def take(self) -> int | None:
        for irq in self.order:
            if irq in self.in_service:
                return None
            if irq in self.requested - self.masked:
                self.requested.remove(irq)
                self.in_service.add(irq)
                return irq
        return None

    def end(self, irq: int | None = None, *, rotate: bool = False) -> None:
        if irq is None:
            irq = next((each for each in self.order if each in self.in_service), None)
            if irq is None:
                return
        self.in_service.discard(irq)
        if rotate:
            self.lowest(irq)

    def lowest(self, irq: int) -> None:
        place = self.order.index(irq) + 1
        self.order = self.order[place:] + self.order[:place]


MODEL_STEPS = st.one_of(
    st.tuples(st.just("edge"), st.sampled_from([0, 1, 3, 4, 5, 6, 7])),
    st.tuples(st.just("take"), st.just(0)),
    st.tuples(st.just("mask"), st.integers(0, 255)),
    st.tuples(st.just("eoi"), st.just(0)),
    st.tuples(st.just("rotating eoi"), st.just(0)),
    st.tuples(st.just("specific eoi"), st.integers(0, 7)),
    st.tuples(st.just("rotating specific eoi"), st.integers(0, 7)),
    st.tuples(st.just("lowest"), st.integers(0, 7)),
)


@settings(max_examples=300)
@given(steps=st.lists(MODEL_STEPS, max_size=60))
def test_the_chip_is_a_list_of_priorities_and_three_sets(steps):
    bench, model = Bench().initialize(), Model()
    for what, value in steps:
        match what:
            case "edge":
                bench.pulse(value)
                model.requested.add(value)
            case "take":
                vector = bench.take_interrupt()
                assert (None if vector is None else vector - MASTER_BASE) == model.take()
            case "mask":
                bench.write(MASTER_IMR, value)
                model.masked = {irq for irq in range(8) if value >> irq & 1}
            case "eoi":
                bench.write(MASTER_CMD, OCW2_EOI)
                model.end()
            case "rotating eoi":
                bench.write(MASTER_CMD, OCW2_EOI | OCW2_R)
                model.end(rotate=True)
            case "specific eoi":
                bench.write(MASTER_CMD, SPECIFIC | value)
                model.end(value)
            case "rotating specific eoi":
                bench.write(MASTER_CMD, SPECIFIC | OCW2_R | value)
                model.end(value, rotate=True)
            case "lowest":
                bench.write(MASTER_CMD, OCW2_R | OCW2_SL | value)
                model.lowest(value)
        assert bench.irr[0] == sum(1 << irq for irq in model.requested)
        assert bench.isr[0] == sum(1 << irq for irq in model.in_service)
