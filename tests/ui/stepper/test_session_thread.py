"""The session's own thread: everything happens there, in order, and can be stopped."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from toyvisor.errors import InputError
from toyvisor.ui.stepper.session_thread import SessionThread


class Recorder:
    """A session of nothing: it notes on which thread it is used."""

    def __init__(self) -> None:
        self.threads = {threading.get_ident()}
        self.should_stop = None
        self.machine = SimpleNamespace(vcpu=SimpleNamespace(time=7))
        self.closed = False

    def use(self) -> str:
        self.threads.add(threading.get_ident())
        return "used"

    def run_for_ever(self) -> str:
        while not self.should_stop():
            pass
        return "stopped"

    def close(self) -> None:
        self.threads.add(threading.get_ident())
        self.closed = True


class Answers:
    """Collects replies, and waits for them."""

    def __init__(self) -> None:
        self.results: list[object] = []
        self._arrived = threading.Semaphore(0)

    def __call__(self, result: object, error: BaseException | None) -> None:
        self.results.append(error if error is not None else result)
        self._arrived.release()

    def wait(self) -> object:
        assert self._arrived.acquire(timeout=10)
        return self.results[-1]


@pytest.fixture
def thread():
    started = Answers()
    thread = SessionThread(Recorder, started)
    thread.start()
    thread.session = started.wait()
    yield thread
    thread.close()


def test_the_session_lives_on_one_thread_which_is_not_ours(thread) -> None:
    answers = Answers()
    thread.do(lambda session: session.use(), answers)
    assert answers.wait() == "used"
    thread.close()
    assert thread.session.closed
    assert len(thread.session.threads) == 1
    assert threading.get_ident() not in thread.session.threads


def test_what_a_job_raises_comes_back_and_the_next_job_is_done(thread) -> None:
    answers = Answers()

    def fail(_session: object) -> None:
        raise InputError("no such place")

    thread.do(fail, answers)
    assert isinstance(answers.wait(), InputError)
    thread.do(lambda session: session.use(), answers)
    assert answers.wait() == "used"


def test_stopping_ends_the_guest_that_runs_and_not_the_next_one(thread) -> None:
    answers = Answers()
    thread.do(lambda session: session.run_for_ever(), answers)
    thread.stop_guest()
    assert answers.wait() == "stopped"
    assert thread.instructions == 7
    thread.do(lambda session: session.should_stop(), answers)
    assert answers.wait() is False


def test_closing_stops_a_guest_that_runs() -> None:
    started, answers = Answers(), Answers()
    thread = SessionThread(Recorder, started)
    thread.start()
    session = started.wait()
    thread.do(lambda session: session.run_for_ever(), answers)
    thread.close()
    assert session.closed
    assert answers.wait() == "stopped"


def test_a_session_that_can_not_be_made_says_why() -> None:
    def make() -> Recorder:
        raise InputError("no program named 'x'")

    started = Answers()
    thread = SessionThread(make, started)
    thread.start()
    assert isinstance(started.wait(), InputError)
    thread.close()
