"""A recorded run is the run; and any moment of it can be gone back to, exactly."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sessions import BROKEN, BUDGET, PROGRAMS, fingerprint, net_of, program, session

from toyvisor.debug.counters import Counters
from toyvisor.debug.moment import Moment, StopReason, Unit
from toyvisor.qemu.machine import Machine

#: A fast selection for what is costly: every device, mode and way to end is in it.
VARIED = (
    "hello_mmio", "hello_protected", "mmio_nic_rx", "ping_responder", "virtio_net_event_idx",
    "timer_tick", "sti_hlt", "page_fault", "double_fault", "triple_fault", "user_mode", "spin",
    "nested_interrupts", "keyboardless_echo", "virtio_net_tx_sleep",
)  # fmt: skip


@pytest.mark.parametrize("name", [*PROGRAMS, *BROKEN])
def test_a_recorded_run_is_the_run_without_a_debugger(name: str) -> None:
    of = program(name)
    with Machine(of, net_of(of), trace=True) as machine:
        ending = machine.run(BUDGET)
        expected, stream = fingerprint(machine), list(machine.trace)
    with session(name) as recorded:
        assert recorded.go_to_end().reason is StopReason.END
        assert recorded.ending == ending
        assert fingerprint(recorded.machine) == expected
        assert list(recorded.events) == stream


@pytest.mark.parametrize("name", VARIED)
def test_single_steps_make_the_same_run(name: str) -> None:
    with session(name, budget=1_500) as straight, session(name, budget=1_500) as stepped:
        straight.go_to_end()
        before = stepped.moment
        while stepped.step().reason is StopReason.STEP:
            assert stepped.moment > before
            before = stepped.moment
        assert stepped.ending == straight.ending
        assert fingerprint(stepped.machine) == fingerprint(straight.machine)
        assert list(stepped.events) == list(straight.events)


@pytest.mark.parametrize("name", [*PROGRAMS, *BROKEN])
@settings(
    max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_n_steps_forward_and_n_back_is_where_it_began(name: str, data: st.DataObject) -> None:
    unit = data.draw(st.sampled_from((Unit.INSTRUCTION, Unit.EVENT, Unit.EXIT, Unit.USERSPACE)))
    with session(name, budget=3_000) as walked:
        walked.go_to_end()
        last = walked.frontier.instructions
        walked.go_to_instruction(data.draw(st.integers(0, max(0, last - 1))))
        if unit is not Unit.INSTRUCTION and walked.step(unit).reason is not StopReason.STEP:
            return
        here, seen = walked.moment, fingerprint(walked.machine)
        steps = 0
        for _ in range(data.draw(st.integers(1, 12))):
            before = walked.moment
            walked.step(unit)
            steps += walked.moment != before  # it is not where the run is over
        for _ in range(steps):
            walked.step_back(unit)
        assert walked.moment == here
        assert fingerprint(walked.machine) == seen


@pytest.mark.parametrize("name", VARIED)
@settings(
    max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_moment_is_the_same_from_wherever_one_comes(name: str, data: st.DataObject) -> None:
    with session(name, budget=5_000) as one, session(name, budget=5_000) as other:
        one.go_to_end()
        # Behind the last event the run is over, which only the one that has been there knows.
        last = max(one.start.events, len(one.events) - 2)
        number = data.draw(st.integers(one.start.events, last))
        one.go_to_event(number)
        other.go_to_event(number)
        assert one.moment == other.moment == one.events.moment(number)
        assert fingerprint(one.machine) == fingerprint(other.machine)
        assert one.counters() == other.counters()


@pytest.mark.parametrize("name", [*PROGRAMS, *BROKEN])
def test_counters_rolled_forward_by_the_stream_are_the_ledgers(name: str) -> None:
    with session(name) as recorded:
        recorded.go_to_end()
        rolled = Counters().roll_forward(recorded.events)
        assert rolled == Counters.of(recorded.machine.ledger)


def test_counters_stand_still_at_each_event_of_an_exit() -> None:
    """One store to the card: the exit is counted before the copy to KVM, that before QEMU's."""
    with session("one_store") as stepped:
        counted = []
        while stepped.step(Unit.EVENT).reason is StopReason.STEP:
            counters = stepped.counters()
            counted.append((counters.total_exits, counters.userspace, counters.copy_count))
        assert counted == [
            (1, 0, 0), (1, 0, 0), (1, 0, 1), (1, 1, 1), (1, 1, 2), (1, 1, 2), (1, 1, 2),
            (1, 1, 2), (2, 1, 2), (2, 2, 2),
        ]  # fmt: skip


def test_the_beginning_is_before_the_first_instruction() -> None:
    with session("one_store") as recorded:
        assert recorded.moment == Moment(0, 0, 2, between=True)
        assert recorded.at_start
        assert recorded.step_back().reason is StopReason.START
        assert recorded.linear_rip() == recorded.program.assembly.entry
