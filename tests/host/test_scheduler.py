"""Threads get turns in a fixed order, nobody is left out, and nobody keeps the processor."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toyvisor.host.scheduler import Scheduler
from toyvisor.trace.events import Thread, Trace
from toyvisor.trace.jsonl import to_dict
from toyvisor.trace.ledger import Ledger
from toyvisor.trace.text import to_text


class Worker:
    """A thread with so many turns of work; `then` happens in each."""

    def __init__(self, log, name, thread=Thread.MAIN_LOOP, work=0):
        self.log = log
        self.name = name
        self.thread = thread
        self.work = work
        self.then = lambda: None

    @property
    def runnable(self):
        return self.work > 0

    def run(self):
        assert self.work > 0, "a turn for somebody with nothing to do"
        self.work -= 1
        self.log.append(self.name)
        self.then()


class Host:
    def __init__(self):
        self.ledger = Ledger(Trace(enabled=True))
        self.scheduler = Scheduler(self.ledger)
        self.log = []
        self.loop = self.worker("loop", Thread.MAIN_LOOP)
        self.vhost = self.worker("vhost", Thread.VHOST)

    def worker(self, name, thread):
        worker = Worker(self.log, name, thread)
        self.scheduler.add(worker)
        return worker

    def give(self, worker, work):
        worker.work += work
        self.scheduler.wake(worker)

    def switches(self):
        return [tuple(e.fields.values()) for e in self.ledger.trace
                if e.kind.name == "sched_switch"]  # fmt: skip


@pytest.fixture
def host():
    return Host()


def test_nobody_awake_is_nobody_run_and_no_switch(host):
    assert not host.scheduler.has_runnable
    assert host.scheduler.run_others() is False
    assert host.ledger.context_switches == 0
    assert host.switches() == []


def test_work_without_a_wake_is_not_found(host):
    host.loop.work = 1
    assert not host.scheduler.has_runnable
    assert host.scheduler.run_others() is False
    assert host.log == []


def test_a_wake_without_work_costs_no_switch(host):
    host.scheduler.wake(host.loop)
    assert not host.scheduler.has_runnable
    assert host.scheduler.run_others() is False
    assert host.ledger.context_switches == 0


def test_one_turn_is_two_switches_there_and_back(host):
    host.give(host.loop, 1)
    assert host.scheduler.has_runnable
    assert host.scheduler.run_others() is False
    assert host.log == ["loop"]
    assert host.ledger.context_switches == 2
    assert host.switches() == [("CPU 0/KVM", "loop"), ("loop", "CPU 0/KVM")]


def test_more_turns_of_the_same_thread_are_no_switch(host):
    host.give(host.loop, 5)
    host.scheduler.run_others()
    assert host.log == ["loop"] * 5
    assert host.ledger.context_switches == 2


def test_turns_go_round_in_the_order_of_adding(host):
    host.give(host.vhost, 2)
    host.give(host.loop, 3)
    host.scheduler.run_others()
    assert host.log == ["loop", "vhost", "loop", "vhost", "loop"]
    assert host.ledger.context_switches == 6


def test_the_trace_knows_who_runs(host):
    seen = []
    host.vhost.then = lambda: seen.append(host.ledger.trace.thread)
    host.give(host.vhost, 1)
    host.scheduler.run_others()
    assert seen == [Thread.VHOST]
    assert host.ledger.trace.thread == Thread.VCPU
    assert type(host.ledger.trace.thread) is int
    threads = [event.thread for event in host.ledger.trace]
    assert threads == [Thread.VCPU, Thread.VHOST], "a switch is an event of who leaves"


def test_a_thread_can_wake_another_in_the_same_call(host):
    host.loop.then = lambda: host.give(host.vhost, 1)
    host.give(host.loop, 1)
    assert host.scheduler.run_others() is False
    assert host.log == ["loop", "vhost"]
    assert host.ledger.context_switches == 3


def test_what_wakes_the_earlier_one_is_served_in_the_next_round(host):
    host.vhost.then = lambda: host.give(host.loop, 1)
    host.give(host.vhost, 1)
    host.scheduler.run_others()
    assert host.log == ["vhost", "loop"]


def test_a_wake_ends_the_vcpus_slice_once(host):
    told = []
    host.scheduler.on_wake = lambda: told.append(1)
    host.give(host.loop, 1)
    host.give(host.loop, 1)
    assert told == [1], "it was awake already"
    host.loop.then = lambda: host.give(host.vhost, 1)
    host.scheduler.run_others()
    assert told == [1], "the vCPU does not run then"
    host.give(host.loop, 1)
    assert told == [1, 1]


def test_two_that_wake_each_other_do_not_stop_the_vcpu(host):
    host.loop.then = lambda: host.give(host.vhost, 1)
    host.vhost.then = lambda: host.give(host.loop, 1)
    host.give(host.loop, 1)
    assert host.scheduler.run_others() is True
    assert host.log == ["loop", "vhost"] * Scheduler.MAX_ROUNDS
    assert host.scheduler.has_runnable
    assert host.scheduler.current is None
    host.log.clear()
    host.loop.then = lambda: None
    assert host.scheduler.run_others() is False, "and it goes on where it was"
    assert host.log == ["loop"]


def test_a_turn_that_fails_gives_the_processor_back(host):
    def fail():
        raise RuntimeError

    host.loop.then = fail
    host.give(host.loop, 1)
    with pytest.raises(RuntimeError):
        host.scheduler.run_others()
    assert host.scheduler.current is None
    assert host.ledger.trace.thread == Thread.VCPU
    assert host.ledger.context_switches == 2


def test_the_text_is_that_of_ftrace(host):
    host.give(host.loop, 1)
    host.scheduler.run_others()
    line = to_text(to_dict(next(iter(host.ledger.trace))))
    assert line.split(maxsplit=3)[2:] == [
        "HOST", "sched_switch: prev_comm=CPU 0/KVM ==> next_comm=loop"
    ]  # fmt: skip


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 100)), max_size=12))
def test_turns_are_fair_bounded_and_all_work_is_done(jobs):
    ledger = Ledger()
    scheduler, log = Scheduler(ledger), []
    workers = [Worker(log, f"{n}") for n in range(4)]
    for worker in workers:
        scheduler.add(worker)
    for number, work in jobs:
        workers[number].work += work
        scheduler.wake(workers[number])
    total = sum(work for _, work in jobs)
    calls = 0
    more = True
    while more:
        log.clear()
        before = [worker.work for worker in workers]
        more = scheduler.run_others()
        calls += 1
        for worker, work in zip(workers, before, strict=True):
            assert log.count(worker.name) == min(work, Scheduler.MAX_ROUNDS)
        # In every stretch of the log nobody is more than one turn ahead of one with work left.
        for end in range(len(log)):
            counts = [log[: end + 1].count(worker.name) for worker in workers]
            waiting = [c for c, work in zip(counts, before, strict=True) if c < work]
            assert not waiting or max(counts) - min(waiting) <= 1
        assert more == any(worker.work for worker in workers) == scheduler.has_runnable
        total -= len(log)
    assert total == 0
    assert calls <= 1 + sum(work for _, work in jobs) // Scheduler.MAX_ROUNDS
