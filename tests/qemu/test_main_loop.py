"""The main loop: who is called, in which order, and what a turn costs."""

from __future__ import annotations

import pytest

from toyvisor.host.eventfd import EventFd
from toyvisor.host.syscalls import event_notifier_test_and_clear
from toyvisor.trace.events import Thread


def reads(host, event, log):
    """A handler that clears its eventfd and says so."""

    def handler():
        assert event_notifier_test_and_clear(host.ledger, event)
        log.append(event.name)

    return handler


def test_an_idle_loop_sleeps_and_costs_nothing(host):
    host.loop.set_fd_handler(host.event, pytest.fail)
    host.loop.start()
    with host.costs():
        assert not host.scheduler.has_runnable
        host.settle()


def test_a_signal_is_one_turn_in_the_main_loops_thread(host):
    log, threads = [], []
    handler = reads(host, host.event, log)
    host.loop.set_fd_handler(
        host.event, lambda: (handler(), threads.append(host.ledger.trace.thread))
    )
    host.loop.start()
    host.event.signal()
    assert host.scheduler.has_runnable
    assert log == [], "the vCPU goes on until it gives way"
    with host.costs(switches=2, ppoll=1, read_eventfd=1):
        host.settle()
    assert log == ["kick"]
    assert threads == [Thread.MAIN_LOOP]


def test_signals_before_the_turn_are_one_turn(host):
    log = []
    host.loop.set_fd_handler(host.event, reads(host, host.event, log))
    for _ in range(3):
        host.event.signal()
    with host.costs(switches=2, ppoll=1, read_eventfd=1):
        host.settle()


def test_a_file_that_stays_readable_is_asked_again_and_again(host):
    taken = []
    host.loop.set_fd_handler(host.tap, lambda: taken.append(host.tap.recv()))
    for frame in (b"a", b"b", b"c"):
        host.tap.deliver(frame)
    with host.costs(switches=2, ppoll=3):
        host.settle()
    assert taken == [b"a", b"b", b"c"]


def test_handlers_run_in_the_order_of_registration_then_bottom_halves(host):
    log = []
    one, two = EventFd("one"), EventFd("two")
    host.loop.schedule_bh(lambda: log.append("bottom half"))
    for event in (one, two):
        host.loop.set_fd_handler(event, reads(host, event, log))
    two.signal()
    one.signal()
    with host.costs(switches=2, ppoll=1, read_eventfd=2):
        host.settle()
    assert log == ["one", "two", "bottom half"]


def test_a_handler_taken_away_in_the_same_turn_is_not_called(host):
    other = EventFd("other")

    def first():
        host.event.read()
        host.loop.set_fd_handler(other, None)

    host.loop.set_fd_handler(host.event, first)
    host.loop.set_fd_handler(other, pytest.fail)
    host.event.signal()
    other.signal()
    host.settle()
    assert not host.scheduler.has_runnable


def test_without_a_handler_a_file_wakes_nobody(host):
    host.loop.set_fd_handler(host.event, pytest.fail)
    host.loop.set_fd_handler(host.event, None)
    host.loop.set_fd_handler(host.event, None)
    host.event.signal()
    assert not host.event.has_waiters
    with host.costs():
        host.settle()


def test_a_file_that_could_be_read_before_it_had_a_handler_is_found(host):
    log = []
    host.event.signal()
    host.loop.set_fd_handler(host.event, reads(host, host.event, log))
    host.settle()
    assert log == ["kick"]


def test_a_new_handler_takes_the_place_of_the_old(host):
    log = []
    host.loop.set_fd_handler(host.event, pytest.fail)
    host.loop.set_fd_handler(host.event, reads(host, host.event, log))
    host.event.signal()
    with host.costs(switches=2, ppoll=1, read_eventfd=1):
        host.settle()
    assert log == ["kick"]


def test_a_bottom_half_runs_once_however_often_it_was_scheduled(host):
    log = []
    callback = lambda: log.append(1)  # noqa: E731
    host.loop.schedule_bh(callback)
    host.loop.schedule_bh(callback)
    host.settle()
    host.settle()
    assert log == [1]


def test_a_bottom_half_that_schedules_itself_gets_its_next_turn(host):
    log = []

    def callback():
        log.append(1)
        if len(log) < 3:
            host.loop.schedule_bh(callback)

    host.loop.schedule_bh(callback)
    with host.costs(switches=2, ppoll=3):
        host.settle()
    assert log == [1, 1, 1]


def test_before_the_guest_runs_setting_up_costs_no_system_call(host):
    with host.costs():
        host.loop.set_fd_handler(host.event, pytest.fail)
        host.loop.schedule_bh(lambda: None)


def test_getting_a_sleeping_loop_to_look_costs_a_write_and_a_read(host):
    host.loop.start()
    with host.costs(write_eventfd=1):
        host.loop.schedule_bh(lambda: None)
        host.loop.schedule_bh(lambda: 1)
        host.loop.set_fd_handler(host.event, pytest.fail)
    with host.costs(switches=2, ppoll=1, read_eventfd=1):
        host.settle()


def test_the_loop_need_not_wake_itself(host):
    log = []

    def handler():
        host.event.read()
        host.loop.schedule_bh(lambda: log.append("bottom half"))

    host.loop.set_fd_handler(host.event, handler)
    host.loop.start()
    host.event.signal()
    with host.costs(switches=2, ppoll=1):
        host.settle()
    assert log == ["bottom half"]


def test_a_loop_that_is_never_done_gives_the_vcpu_its_turn(host):
    host.event.signal()
    host.loop.set_fd_handler(host.event, lambda: None)  # never reads it
    assert host.scheduler.run_others() is True
    assert host.ledger.syscalls["ppoll"] == host.scheduler.MAX_ROUNDS
