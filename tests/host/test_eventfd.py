"""An eventfd is a counter with people waiting for it; QEMU pays a system call for either end."""

from __future__ import annotations

from errno import EAGAIN

import pytest

from toyvisor.host.eventfd import EventFd
from toyvisor.host.syscalls import event_notifier_set, event_notifier_test_and_clear
from toyvisor.trace.events import Trace
from toyvisor.trace.ledger import Ledger


@pytest.fixture
def event():
    return EventFd("kick")


def test_reading_takes_all_signals_at_once(event):
    for _ in range(3):
        event.signal()
    assert event.readable
    assert (event.read(), event.read()) == (3, 0)
    assert not event.readable
    assert event.signals == 3


def test_every_signal_calls_the_waiters_in_their_order(event):
    heard = []
    event.add_waiter(lambda: heard.append(("first", event.count)))
    event.add_waiter(lambda: heard.append(("second", event.count)))
    event.signal()
    event.signal()
    assert heard == [("first", 1), ("second", 1), ("first", 2), ("second", 2)]


def test_a_waiter_may_read_in_its_call_as_irqfd_does(event):
    taken = []
    event.add_waiter(lambda: taken.append(event.read()))
    event.signal()
    event.signal()
    assert taken == [1, 1]
    assert not event.readable


def test_a_waiter_is_called_once_however_often_it_was_added(event):
    heard = []
    waiter = lambda: heard.append(1)  # noqa: E731
    event.add_waiter(waiter)
    event.add_waiter(waiter)
    event.signal()
    assert heard == [1]
    event.remove_waiter(waiter)
    event.remove_waiter(waiter)
    event.signal()
    assert heard == [1]
    assert not event.has_waiters


def test_a_waiter_may_leave_while_it_is_called(event):
    heard = []

    def once():
        heard.append("once")
        event.remove_waiter(once)

    event.add_waiter(once)
    event.add_waiter(lambda: heard.append("always"))
    event.signal()
    event.signal()
    assert heard == ["once", "always", "always"]


def test_both_ends_are_system_calls_and_no_copies(event):
    ledger = Ledger(Trace(enabled=True))
    event_notifier_set(ledger, event)
    event_notifier_set(ledger, event)
    assert event_notifier_test_and_clear(ledger, event)
    assert not event_notifier_test_and_clear(ledger, event)
    assert ledger.syscalls == {"write(eventfd)": 2, "read(eventfd)": 2}
    assert ledger.copies == 0
    assert [tuple(e.fields.values()) for e in ledger.trace] == [
        ("write(eventfd)", "kick", 8),
        ("write(eventfd)", "kick", 8),
        ("read(eventfd)", "kick", 8),
        ("read(eventfd)", "kick", -EAGAIN),
    ]


def test_the_kernels_own_signal_costs_no_system_call(event):
    ledger = Ledger()
    event.signal()
    assert event_notifier_test_and_clear(ledger, event)
    assert ledger.syscalls == {"read(eventfd)": 1}
