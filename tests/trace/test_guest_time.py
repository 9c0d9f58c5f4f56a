"""The clock of the exports: guest instructions and sleep, as nanoseconds that always grow."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trace_runs import ALL, event, run

from toyvisor.errors import InputError
from toyvisor.kvm.i8254_registers import INSTRUCTIONS_PER_TICK, TICK_RATE
from toyvisor.trace.guest_time import HERTZ, STEP, nanoseconds, timed

HLT = 12


def times(*events):
    return [time for time, _ in timed(events)]


def test_the_rate_is_the_8254_s():
    assert HERTZ == INSTRUCTIONS_PER_TICK * TICK_RATE
    assert nanoseconds(HERTZ) == 1_000_000_000
    assert nanoseconds(1) == 209


def test_steps_with_one_count_come_one_behind_the_other():
    found = times(event("ioctl"), event("vm_entry"), event("vm_exit", 1), event("copy", 1))
    assert found == [0, STEP, 209, 209 + STEP]


def test_many_steps_push_the_next_instruction_back_and_time_catches_up():
    found = times(*[event("copy")] * 30, event("copy", 1), event("copy", 100))
    assert found[-3:] == [29 * STEP, 30 * STEP, nanoseconds(100)]


def test_sleep_in_hlt_is_time_and_what_happened_in_it_is_at_its_end():
    found = times(
        event("vm_exit", 10, reason=HLT),
        event("syscall", 10),
        event("kvm_vcpu_wakeup", 10, waited=1000),
        event("vm_entry", 10),
        event("vm_exit", 20, reason=HLT),
    )
    end = nanoseconds(1010)
    assert found == [nanoseconds(10), end, end + STEP, end + 2 * STEP, nanoseconds(1020)]


def test_a_guest_that_halts_for_good_waits_for_nobody():
    found = times(event("vm_exit", 10, reason=HLT), event("kvm_userspace_exit", 10, reason=5))
    assert found == [nanoseconds(10), nanoseconds(10) + STEP]


@pytest.mark.parametrize(("name", "device"), ALL)
def test_nothing_is_lost_and_time_only_grows(name, device):
    events = run(name, device).events
    found = list(timed(events))
    assert [e for _, e in found] == events
    assert all(b - a >= STEP for (a, _), (b, _) in pairwise(found))
    assert all(time >= nanoseconds(e["clock"]) for time, e in found)


@given(st.lists(st.integers(0, 1000)))
def test_streams_with_a_wild_clock_are_put_in_order(clocks):
    found = times(*(event("vm_exit", clock, reason=clock % 13) for clock in clocks))
    assert len(found) == len(clocks)
    assert found == sorted(set(found))


@pytest.mark.parametrize("clock", [-1, 1 << 53, 10**400])
def test_a_time_that_can_not_be(clock):
    with pytest.raises(InputError, match="no such time"):
        times(event("copy", clock))


@pytest.mark.parametrize("waited", [None, "x", -1, 1.5, True, 1 << 53, []])
def test_a_sleep_that_can_not_be_is_none(waited):
    found = times(event("kvm_vcpu_wakeup", waited=waited), event("copy", 1))
    assert found == [0, nanoseconds(1)]
