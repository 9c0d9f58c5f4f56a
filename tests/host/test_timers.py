"""Timers fire in the order of their time, once each, and can't stop the clock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from toyvisor.host.timers import Timers


@pytest.fixture
def timers():
    return Timers()


def test_they_fire_in_the_order_of_time_then_of_coming(timers):
    fired = []
    for name, when in (("c", 20), ("a", 10), ("b", 10), ("d", 30)):
        timers.add(when, lambda name=name: fired.append(name))
    assert timers.next == 10
    assert timers.run_due(20) == 3
    assert fired == ["a", "b", "c"]
    assert timers.next == 30


def test_before_its_time_nothing_fires(timers):
    timers.add(10, pytest.fail)
    assert timers.run_due(9) == 0
    assert timers.next == 10


def test_a_cancelled_timer_is_gone(timers):
    timer = timers.add(10, pytest.fail)
    assert timers.cancel(timer)
    assert not timers.cancel(timer)
    assert timers.next is None
    assert timers.run_due(100) == 0


def test_one_that_has_fired_cannot_be_cancelled(timers):
    timer = timers.add(10, lambda: None)
    timers.run_due(10)
    assert not timers.cancel(timer)


def test_a_callback_may_cancel_another_that_is_due_too(timers):
    timers.add(5, lambda: timers.cancel(later))
    later = timers.add(6, pytest.fail)
    assert timers.run_due(10) == 1


def test_a_period_is_caught_up_with_in_one_call(timers):
    fired = []

    def tick(when=0):
        fired.append(when)
        timers.add(when + 4, lambda: tick(when + 4))

    timers.add(0, tick)
    timers.run_due(14)
    assert fired == [0, 4, 8, 12]
    assert timers.next == 16


def test_a_callback_that_wants_the_same_moment_again_gets_the_next(timers):
    calls = []

    def again():
        calls.append(1)
        timers.add(0, again)

    timers.add(3, again)
    timers.add(5, lambda: calls.append("other"))
    assert timers.run_due(10) == 2, "and it ends"
    assert calls == [1, "other"]
    assert timers.next == 11


def test_a_change_of_next_is_told_and_nothing_else(timers):
    told = []
    timers.on_change = lambda: told.append(timers.next)
    first = timers.add(10, lambda: timers.add(40, lambda: None))
    timers.add(20, lambda: None)
    assert told == [10]
    timers.add(5, lambda: None)
    timers.cancel(first)
    assert told == [10, 5]
    timers.add(10, lambda: timers.add(40, lambda: None))
    timers.run_due(20)
    assert told == [10, 5, 40], "once at the end"


def test_a_failing_callback_leaves_the_rest_in_order(timers):
    def fail():
        raise RuntimeError

    timers.add(1, fail)
    timers.add(2, lambda: None)
    with pytest.raises(RuntimeError):
        timers.run_due(5)
    assert timers.next == 2
    assert timers.run_due(5) == 1


@given(st.lists(st.integers(0, 30), max_size=40), st.lists(st.integers(0, 10), max_size=10))
def test_all_fire_once_sorted_and_in_time(whens, steps):
    timers, fired, now = Timers(), [], 0
    for number, when in enumerate(whens):
        timers.add(when, lambda number=number: fired.append(number))
    for step in steps:
        now += step
        timers.run_due(now)
        assert timers.next is None or timers.next > now
    due = [n for n, when in enumerate(whens) if when <= now and steps]
    assert fired == sorted(due, key=lambda number: (whens[number], number))


class TimersModel(RuleBasedStateMachine):
    """Against a list that is searched from end to end."""

    def __init__(self):
        super().__init__()
        self.timers = Timers()
        self.now = 0
        self.added = 0
        self.waiting = {}
        self.handles = []
        self.fired = []
        self.told = None

    @rule(after=st.integers(0, 20))
    def add(self, after):
        number, when = self.added, self.now + after
        self.added += 1
        self.waiting[number] = when
        self.handles.append((number, self.timers.add(when, lambda: self.fired.append(number))))

    @precondition(lambda self: self.handles)
    @rule(data=st.data())
    def cancel(self, data):
        number, timer = data.draw(st.sampled_from(self.handles))
        assert self.timers.cancel(timer) == (self.waiting.pop(number, None) is not None)

    @rule(step=st.integers(0, 20))
    def run_due(self, step):
        self.now += step
        due = sorted((when, n) for n, when in self.waiting.items() if when <= self.now)
        before = len(self.fired)
        assert self.timers.run_due(self.now) == len(due)
        assert self.fired[before:] == [n for _, n in due]
        for _, number in due:
            del self.waiting[number]

    @invariant()
    def next_is_the_first(self):
        assert self.timers.next == min(self.waiting.values(), default=None)


TestTimersModel = TimersModel.TestCase
