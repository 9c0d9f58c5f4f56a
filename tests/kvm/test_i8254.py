"""The interval timer: what its counters read, and when IRQ 0 comes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pic_kit import MASTER_BASE
from pit_kit import PIT_STEPS, Clock

from toyvisor.kvm.i8254 import MIN_PERIOD_TICKS
from toyvisor.kvm.i8254_registers import (
    ACCESS_LSB,
    ACCESS_MSB,
    ACCESS_WORD,
    BCD,
    CH0,
    CH1,
    CH2,
    INSTRUCTIONS_PER_TICK,
    MODE,
    PORT_RANGES,
    RATE_GENERATOR,
    READ_BACK,
    READ_BACK_CH0,
    READ_BACK_CH2,
    READ_BACK_NO_COUNT,
    READ_BACK_NO_STATUS,
    REFRESH_TICKS,
    REGISTERS,
    SELECT_CH2,
    SPEAKER,
    SPEAKER_DATA,
    SPEAKER_GATE2,
    SPEAKER_OUT2,
    SPEAKER_REFRESH,
)
from toyvisor.kvm.i8259_registers import MASTER_IMR
from toyvisor.kvm.io_bus import KvmIoBus

TICK = INSTRUCTIONS_PER_TICK


# Counting ---------------------------------------------------------------------------------


def test_a_tick_is_four_instructions():
    clock = Clock().load(2, 2, 1000)
    counts = []
    for clock.now in (0, 3, 4, 7, 8, 400, 3999, 4000, 4004):
        counts.append(clock.count(2))
    assert counts == [1000, 1000, 999, 999, 998, 900, 1, 1000, 999]


@pytest.mark.parametrize(
    ("mode", "counts"),
    [
        # after 0, 1, 499, 500, 999, 1000, 1001, 2000 ticks
        (0, [1000, 999, 501, 500, 1, 0, 65535, 64536]),
        (1, [1000, 999, 501, 500, 1, 0, 65535, 64536]),
        (2, [1000, 999, 501, 500, 1, 1000, 999, 1000]),
        (3, [1000, 998, 2, 1000, 2, 1000, 998, 1000]),
        (4, [1000, 999, 501, 500, 1, 0, 65535, 64536]),
        (5, [1000, 999, 501, 500, 1, 0, 65535, 64536]),
    ],
)
def test_the_count_of_each_mode(mode, counts):
    clock = Clock().load(2, mode, 1000)
    found = []
    for ticks in (0, 1, 499, 500, 999, 1000, 1001, 2000):
        clock.now = TICK * ticks
        found.append(clock.count(2))
    assert found == counts


@pytest.mark.parametrize(
    ("mode", "outs"),
    [
        # after 0, 1, 4, 5, 6, 9, 10, 11, 20 ticks
        (0, "000000111"),
        (1, "111111000"),
        (2, "000000101"),
        (3, "111000111"),
        (4, "000000100"),
        (5, "000000100"),
    ],
)
def test_the_output_of_each_mode(mode, outs):
    clock = Clock().load(2, mode, 10)
    found = ""
    for ticks in (0, 1, 4, 5, 6, 9, 10, 11, 20):
        clock.now = TICK * ticks
        found += str(clock.out(2))
    assert found == outs


def test_an_odd_square_wave_is_up_one_tick_longer_than_down():
    clock = Clock().load(2, 3, 5)
    outs = ""
    for ticks in range(10):
        clock.now = TICK * ticks
        outs += str(clock.out(2))
    assert outs == "1110011100"


def test_a_count_of_zero_is_65536():
    clock = Clock().load(2, 2, 0)
    clock.now = TICK
    assert clock.count(2) == 65535
    clock.now = TICK * 65536
    assert clock.count(2) == 0  # of 65536, the lower 16 bits


def test_decimal_counting_is_asked_for_and_not_done():
    clock = Clock()
    clock.write(MODE, SELECT_CH2 | ACCESS_WORD | RATE_GENERATOR | BCD)
    clock.write(CH2, 0x00)
    clock.write(CH2, 0x10)
    clock.now = TICK
    assert clock.status(2) & BCD
    assert clock.count(2) == 0x0FFF  # not 0x0999


def test_modes_6_and_7_are_2_and_3():
    clock = Clock()
    assert [clock.load(2, mode, 1000).status(2) >> 1 & 7 for mode in (6, 7)] == [2, 3]


def test_without_a_mode_nothing_counts_down_to_an_interrupt():
    clock = Clock()
    assert clock.pit.next_expiry is None
    assert clock.ticks(10**6).interrupts == 0
    assert clock.count(0) == 0


# Bytes in and out -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("access", "bytes_", "count"),
    [(ACCESS_LSB, [0x34], 0x34), (ACCESS_MSB, [0x12], 0x1200), (ACCESS_WORD, [0x34, 0x12], 0x1234)],
)
def test_a_count_is_written_as_the_control_word_says(access, bytes_, count):
    clock = Clock()
    clock.write(MODE, SELECT_CH2 | access | RATE_GENERATOR)
    for value in bytes_:
        clock.write(CH2, value)
    assert clock.pit.channels[2].count == count


def test_half_a_count_changes_nothing():
    clock = Clock().load(2, 2, 1000)
    clock.write(CH2, 0xFF)
    clock.now = 100 * TICK
    assert clock.count(2) == 900


def test_a_latched_count_stands_still_until_it_is_read():
    clock = Clock().load(2, 2, 1000)
    clock.now = 100 * TICK
    clock.write(MODE, SELECT_CH2)
    clock.now = 200 * TICK
    clock.write(MODE, SELECT_CH2)  # too late, it is latched
    assert [clock.read(CH2), clock.read(CH2)] == [900 & 0xFF, 900 >> 8]
    assert [clock.read(CH2), clock.read(CH2)] == [800 & 0xFF, 800 >> 8]


def test_an_unlatched_count_may_be_torn():
    """The two bytes are of two moments, which is why there is a latch."""
    clock = Clock().load(2, 2, 0x1000)
    clock.now = TICK * 0x0FF
    low = clock.read(CH2)
    clock.now = TICK * 0x102
    assert low | clock.read(CH2) << 8 == 0x0E01


def test_read_back_latches_status_before_count():
    clock = Clock().load(2, 2, 1000)
    clock.now = 100 * TICK
    clock.write(MODE, READ_BACK | READ_BACK_CH2)
    clock.now = 200 * TICK
    answers = [clock.read(CH2) for _ in range(3)]
    assert answers == [ACCESS_WORD | RATE_GENERATOR, 900 & 0xFF, 900 >> 8]


def test_read_back_of_several_counters_at_the_same_moment():
    clock = Clock().load(0, 2, 1000).load(2, 2, 500)
    clock.now = 100 * TICK
    clock.write(MODE, READ_BACK | READ_BACK_NO_STATUS | READ_BACK_CH0 | READ_BACK_CH2)
    clock.now = 150 * TICK
    assert clock.read(CH0) | clock.read(CH0) << 8 == 900
    assert clock.read(CH2) | clock.read(CH2) << 8 == 400


def test_read_back_may_leave_the_count_alone():
    clock = Clock().load(2, 3, 1000)
    clock.write(MODE, READ_BACK | READ_BACK_NO_COUNT | READ_BACK_CH2)
    assert clock.read(CH2) == 0x80 | ACCESS_WORD | 3 << 1
    clock.now = 100 * TICK
    assert clock.read(CH2) == 800 & 0xFF


def test_the_control_word_cannot_be_read():
    clock = Clock().load(2, 2, 1000)
    assert clock.read(MODE) == 0


def test_of_a_wider_access_the_lowest_byte_counts():
    clock = Clock()
    clock.pit.write(MODE, 1, SELECT_CH2 | ACCESS_LSB | RATE_GENERATOR)
    assert clock.pit.write(CH2, 2, 0x1234) is True
    assert clock.pit.read(CH2, 2) == 0x34


# IRQ 0 ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "interrupts"), [(0, 1), (1, 1), (2, 5), (3, 5), (4, 1), (5, 0)])
def test_interrupts_of_each_mode_in_five_periods(mode, interrupts):
    clock = Clock().load(0, mode, 1000)
    clock.pit.reinject = False
    assert clock.ticks(5000).interrupts == interrupts


def test_the_first_interrupt_comes_when_the_count_has_run_down():
    clock = Clock().load(0, 2, 1000)
    assert clock.pit.next_expiry == 1000 * TICK
    assert clock.run_to(1000 * TICK - 1).interrupts == 0
    assert clock.run_to(1000 * TICK).interrupts == 1
    assert clock.pit.next_expiry == 2000 * TICK


def test_an_interrupt_is_an_edge_of_irq_0():
    clock = Clock().initialize_pics().load(0, 0, 1000)
    clock.ticks(1000)
    assert clock.bench.intr == [1]
    assert clock.bench.pair.pics[0].last_irr == 0  # and the line is down again
    assert clock.take() == MASTER_BASE


def test_a_new_count_starts_anew():
    clock = Clock().load(0, 0, 1000).ticks(900)
    clock.load(0, 0, 1000)
    assert clock.ticks(999).interrupts == 0
    assert clock.ticks(1).interrupts == 1


def test_a_new_mode_alone_stops_nothing():
    """As in KVM; on the data sheet's chip the control word stops the counter."""
    clock = Clock().load(0, 2, 1000)
    clock.write(MODE, ACCESS_WORD)
    assert clock.ticks(1000).interrupts == 1


def test_mode_5_on_counter_0_is_how_to_be_left_in_peace():
    clock = Clock().load(0, 2, 1000).load(0, 5, 1000)
    assert clock.pit.next_expiry is None
    assert clock.ticks(5000).interrupts == 0


def test_only_counter_0_interrupts():
    clock = Clock().load(1, 2, 1000).load(2, 2, 1000)
    assert (clock.pit.next_expiry, clock.changes) == (None, [])


def test_whoever_has_the_clock_is_told_of_changes():
    clock = Clock().load(0, 2, 1000)
    clock.ticks(2000)
    clock.load(0, 0, 500).ticks(500)
    assert clock.changes == [4000, 8000, 12000, 10000, None]


def test_too_early_is_too_early():
    clock = Clock().load(0, 2, 1000)
    clock.now = 3999
    clock.pit.run_due(clock.now)
    assert (clock.interrupts, clock.pit.next_expiry) == (0, 4000)
    clock.pit.reset()
    clock.pit.run_due(clock.now)
    assert clock.interrupts == 0


def test_a_period_has_a_least_length():
    """KVM's guard for the host; the first interval is what the guest said."""
    clock = Clock().load(0, 2, 10)
    clock.ticks(10)
    assert clock.changes == [10 * TICK, (10 + MIN_PERIOD_TICKS) * TICK]
    clock = Clock(min_period_ticks=1).load(0, 2, 10)
    clock.ticks(10)
    assert clock.changes == [10 * TICK, 20 * TICK]


def test_once_has_no_least_length():
    clock = Clock().load(0, 0, 1)
    assert clock.changes == [TICK]


# Missed interrupts ------------------------------------------------------------------------


def test_missed_interrupts_are_made_up_for_one_by_one():
    clock = Clock().initialize_pics().load(0, 2, 1000)
    clock.ticks(4500)  # interrupts are off
    assert (clock.interrupts, clock.pit.pending) == (1, 4)
    assert clock.take_all() == 4
    assert (clock.interrupts, clock.pit.pending) == (4, 0)
    assert clock.ticks(500).take_all() == 1  # and on as usual


def test_without_reinjection_they_are_lost():
    clock = Clock().initialize_pics().load(0, 2, 1000)
    clock.pit.reinject = False
    clock.ticks(4500)
    assert clock.interrupts == 4
    assert clock.take_all() == 1


def test_a_late_caller_makes_no_difference():
    punctual = Clock().initialize_pics().load(0, 2, 1000).ticks(4500)
    late = Clock().initialize_pics().load(0, 2, 1000)
    late.now = 4500 * TICK
    late.pit.run_due(late.now)
    assert late.pit.get_state() == punctual.pit.get_state()
    assert late.take_all() == 4


def test_while_masked_none_is_missed():
    clock = Clock().initialize_pics()
    clock.bench.write(MASTER_IMR, 1)
    clock.load(0, 2, 1000).ticks(4500)
    clock.bench.write(MASTER_IMR, 0)
    assert clock.take_all() == 1


def test_a_new_count_forgets_what_is_pending():
    clock = Clock().initialize_pics().load(0, 2, 1000).ticks(4500)
    clock.load(0, 2, 1000)
    assert clock.take_all() == 1


def test_an_initialized_controller_gets_its_interrupts_again():
    """The request is forgotten; the timer hears that, or it would wait for an EOI for ever."""
    clock = Clock().initialize_pics().load(0, 2, 1000).ticks(1000)
    clock.initialize_pics()
    assert clock.take_all() == 0
    assert clock.ticks(1000).take_all() == 1


# The speaker's port -----------------------------------------------------------------------


def test_gate_and_data_read_back():
    clock = Clock()
    for value in range(4):
        clock.write(SPEAKER, 0xFC | value)
        assert clock.read(SPEAKER) & (SPEAKER_GATE2 | SPEAKER_DATA) == value


def test_the_refresh_bit_changes_every_15_us():
    clock = Clock()
    bits = []
    for ticks in (0, REFRESH_TICKS - 1, REFRESH_TICKS, 2 * REFRESH_TICKS - 1, 2 * REFRESH_TICKS):
        clock.now = TICK * ticks
        bits.append(int(bool(clock.read(SPEAKER) & SPEAKER_REFRESH)))
    assert bits == [0, 0, 1, 1, 0]


def test_the_output_of_counter_2_can_be_polled():
    """How Linux measures the processor: count down once, watch bit 5 (pit_calibrate_tsc)."""
    clock = Clock()
    clock.write(SPEAKER, SPEAKER_GATE2)
    clock.load(2, 0, 1000)
    clock.now = TICK * 999
    assert not clock.read(SPEAKER) & SPEAKER_OUT2
    clock.now = TICK * 1000
    assert clock.read(SPEAKER) & SPEAKER_OUT2


@pytest.mark.parametrize(
    ("mode", "count"), [(0, 900), (1, 1000), (2, 1000), (3, 1000), (4, 900), (5, 1000)]
)
def test_the_rise_of_the_gate_starts_modes_1_2_3_and_5(mode, count):
    clock = Clock().load(2, mode, 1000)
    clock.now = TICK * 100
    clock.write(SPEAKER, SPEAKER_GATE2)
    assert clock.count(2) == count
    clock.now = TICK * 200
    clock.write(SPEAKER, SPEAKER_GATE2)  # no rise
    assert clock.count(2) == count - (200 if mode == 3 else 100)


# The ports, and all of it -----------------------------------------------------------------


def test_the_bus_finds_it_at_five_ports_and_no_others():
    bus, pit = KvmIoBus(granule_bits=0), Clock().pit
    for first, length in PORT_RANGES:
        bus.register(first, length, pit)
    assert [port for port in range(0x100) if bus.read(port, 1) is not None] == [
        *(CH0, CH1, CH2, MODE),
        SPEAKER,
    ]
    assert (pit.read(0x44, 1), pit.write(0x44, 1, 0)) == (None, False)
    assert {register.port for register in REGISTERS} == {CH0, CH1, CH2, MODE, SPEAKER}


def test_reset_is_as_after_power_on():
    clock = Clock().load(0, 2, 1000).load(2, 3, 500).ticks(1500)
    clock.pit.reset()
    fresh = Clock()
    fresh.now = clock.now
    fresh.pit.reset()
    assert clock.pit.get_state() == fresh.pit.get_state()
    assert clock.changes[-1] is None


STEPS = st.one_of(
    PIT_STEPS,
    st.tuples(st.just("wait"), st.just(0), st.integers(0, 20_000)),
    st.tuples(st.just("take"), st.just(0), st.just(0)),
    st.tuples(st.just("load"), st.integers(0, 5), st.integers(0, 3000)),
)
SCRIPTS = st.lists(STEPS, max_size=40)


def play(clock: Clock, script) -> list[int | None]:
    answers: list[int | None] = []
    for what, where, value in script:
        if what == "out":
            clock.write(where, value)
        elif what == "in":
            answers.append(clock.read(where))
        elif what == "wait":
            clock.run_to(clock.now + value)
        elif what == "load":
            clock.load(0, where, value)
        else:
            answers.append(clock.take())
    return answers


@given(script=SCRIPTS)
def test_no_script_breaks_it(script):
    clock = Clock().initialize_pics()
    for answer in play(clock, script):
        assert answer is None or 0 <= answer <= 0xFF
    assert clock.pit.next_expiry is None or clock.pit.next_expiry > clock.now
    assert len(clock.changes) == sum(
        a != b for a, b in zip([None, *clock.changes], clock.changes, strict=False)
    )
    for channel in clock.pit.channels:
        assert 1 <= channel.count <= 0x10000
        assert 0 <= channel.latched_count <= 0xFFFF


@given(before=SCRIPTS, after=SCRIPTS)
def test_a_restored_timer_goes_on_as_the_first_one_did(before, after):
    first, second = Clock().initialize_pics(), Clock()
    play(first, before)
    first.bench.pair.set_irqchip(first.bench.pair.get_irqchip())
    second.bench.pair.set_irqchip(first.bench.pair.get_irqchip())
    second.pit.set_state(first.pit.get_state())
    second.now = first.now
    first.changes.clear()
    second.changes.clear()
    assert play(first, after) == play(second, after)
    assert first.changes == second.changes
    assert first.pit.get_state() == second.pit.get_state()


@settings(max_examples=200)
@given(
    count=st.integers(MIN_PERIOD_TICKS, 0x10000),
    mode=st.sampled_from([2, 3]),
    naps=st.lists(st.integers(0, 300_000), max_size=30),
)
def test_every_period_is_one_interrupt_whoever_sleeps(count, mode, naps):
    """The guest takes what there is after each nap; no period is lost, none is made up."""
    clock = Clock().initialize_pics().load(0, mode, count & 0xFFFF)
    taken = 0
    for nap in naps:
        clock.now += nap
        clock.pit.run_due(clock.now)  # once, however late
        taken += clock.take_all()
        assert taken == clock.now // (TICK * count)
        elapsed = clock.now // TICK % count * (2 if mode == 3 else 1) % count
        assert clock.count(0) == (count - elapsed) & 0xFFFF


@settings(max_examples=200)
@given(
    mode=st.sampled_from([0, 1, 4]),
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("load"), st.integers(1, 0x10000)),
            st.tuples(st.just("wait"), st.integers(0, 400_000)),
        ),
        max_size=30,
    ),
)
def test_a_count_is_one_interrupt_unless_another_comes_before_it_has_run_down(mode, steps):
    clock = Clock().initialize_pics()
    expected, due = 0, None
    for what, value in steps:
        if what == "load":
            clock.load(0, mode, value & 0xFFFF)
            due = clock.now + TICK * value
        else:
            clock.run_to(clock.now + value)
            if due is not None and due <= clock.now:
                expected, due = expected + 1, None
        clock.take_all()
        assert (clock.interrupts, clock.pit.next_expiry) == (expected, due)
