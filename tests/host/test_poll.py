"""Waiting in real time: for a file, for a while, or until somebody presses Ctrl-C."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import contextmanager

import pytest

from toyvisor.host.console_input import InputFile
from toyvisor.host.poll import Poller

FAR = 30.0  # a test that waits so long has failed


@pytest.fixture
def pipe():
    read_end, write_end = os.pipe()
    yield read_end, write_end
    os.close(read_end)
    os.close(write_end)


@contextmanager
def handler(action):
    """SIGUSR1 calls `action`, as Ctrl-C calls qemu/kick.py, which raises nothing."""
    before = signal.signal(signal.SIGUSR1, lambda *_: action())
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


def soon(action):
    timer = threading.Timer(0.05, action)
    timer.start()
    return timer


def test_what_is_there_already_calls_its_waiters_at_once(pipe):
    heard = []
    file = InputFile(pipe[0])
    file.add_waiter(lambda: heard.append(1))
    poller = Poller(file)
    assert poller.wait_for_input(0) is False
    os.write(pipe[1], b"x")
    assert poller.wait_for_input(0) is True
    assert poller.wait_for_input() is True
    assert heard == [1, 1]


def test_what_comes_later_ends_the_sleep(pipe):
    file = InputFile(pipe[0])
    file.add_waiter(lambda: None)
    timer = soon(lambda: os.write(pipe[1], b"x"))
    assert Poller(file).wait_for_input(FAR) is True
    timer.join()


def test_nothing_comes_and_the_time_is_over(pipe):
    file = InputFile(pipe[0])
    file.add_waiter(pytest.fail)
    began = time.monotonic()
    assert Poller(file).wait_for_input(0.02) is False
    assert 0.015 <= time.monotonic() - began < FAR


def test_a_file_that_nobody_waits_for_is_not_waited_for(pipe):
    """A device without room leaves its file readable: a poll would return again and again."""
    file = InputFile(pipe[0])
    os.write(pipe[1], b"x")
    poller = Poller(file)
    assert not poller.has_waiters
    assert poller.wait_for_input() is False
    assert Poller().wait_for_input() is False


def test_a_file_can_be_added_later(pipe):
    poller, file = Poller(), InputFile(pipe[0])
    file.add_waiter(lambda: None)
    poller.add(file)
    os.write(pipe[1], b"x")
    assert poller.wait_for_input(FAR) is True


def test_the_end_of_a_file_is_input():
    read_end, write_end = os.pipe()
    os.close(write_end)
    file = InputFile(read_end)
    file.add_waiter(lambda: None)
    assert Poller(file).wait_for_input(FAR) is True
    os.close(read_end)


def test_a_signal_ends_the_sleep_after_its_handler_has_run(pipe):
    handled = []
    file = InputFile(pipe[0])
    file.add_waiter(pytest.fail)
    with handler(lambda: handled.append(1)):
        timer = soon(lambda: os.kill(os.getpid(), signal.SIGUSR1))
        began = time.monotonic()
        assert Poller(file).wait_for_input() is False
        assert time.monotonic() - began < FAR
        timer.join()
    assert handled == [1]


def test_a_signal_just_before_the_sleep_is_not_missed(pipe):
    file = InputFile(pipe[0])
    file.add_waiter(pytest.fail)
    handled = []

    def interrupted():
        os.kill(os.getpid(), signal.SIGUSR1)  # after the look, before poll()
        return False

    with handler(lambda: handled.append(1)):
        assert Poller(file).wait_for_input(None, interrupted) is False
    assert handled == [1]


def test_who_was_interrupted_before_does_not_begin_to_sleep(pipe):
    file = InputFile(pipe[0])
    file.add_waiter(pytest.fail)
    assert Poller(file).wait_for_input(None, lambda: True) is False


def test_a_handler_that_raises_is_heard(pipe):
    def raise_it():
        raise KeyboardInterrupt

    file = InputFile(pipe[0])
    file.add_waiter(pytest.fail)
    with handler(raise_it):
        timer = soon(lambda: os.kill(os.getpid(), signal.SIGUSR1))
        with pytest.raises(KeyboardInterrupt):
            Poller(file).wait_for_input(FAR)
        timer.join()


def test_waiting_leaves_no_descriptors_and_no_hook_behind(pipe):
    file = InputFile(pipe[0])
    file.add_waiter(lambda: None)
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    for _ in range(5):
        Poller(file).wait_for_input(0.001)
    if before is not None:
        assert len(os.listdir("/proc/self/fd")) == before
    assert signal.set_wakeup_fd(-1) == -1


def test_in_another_thread_it_works_without_signals(pipe):
    file = InputFile(pipe[0])
    file.add_waiter(lambda: None)
    os.write(pipe[1], b"x")
    found = []
    thread = threading.Thread(target=lambda: found.append(Poller(file).wait_for_input(FAR)))
    thread.start()
    thread.join()
    assert found == [True]
