"""Looking is free: no view changes the machine, none fails, all can be sent to another thread."""

from __future__ import annotations

import pickle

import pytest
from sessions import BROKEN, PROGRAMS, fingerprint, net_of, program, session

from toyvisor.debug.explain import explain
from toyvisor.debug.moment import StopReason, Unit
from toyvisor.debug.session import Session
from toyvisor.debug.views.devices import devices
from toyvisor.debug.views.disassembly import disassembly
from toyvisor.debug.views.interrupts import interrupts, why_no_interrupt
from toyvisor.debug.views.lanes import path_of_exit
from toyvisor.debug.views.memory import memory_rows, pointer_rows
from toyvisor.debug.views.registers import registers_view
from toyvisor.debug.views.virtqueue import virtqueues
from toyvisor.qemu.machine import Machine


def all_views(s: Session) -> tuple[object, ...]:
    machine, of = s.machine, s.program
    return (
        registers_view(machine),
        memory_rows(machine, 0x20000, 8, program=of),
        memory_rows(machine, s.linear_rip(), 4, linear=True, program=of),
        pointer_rows(machine, "esp", 6, program=of),
        disassembly(machine, of),
        virtqueues(machine),
        devices(machine),
        interrupts(machine, of),
        tuple(why_no_interrupt(machine, irq) for irq in range(16)),
        path_of_exit(s.events, s.moment.events - 1),
        explain(s),
    )


@pytest.mark.parametrize("name", [*PROGRAMS, *BROKEN])
def test_a_run_that_is_looked_at_all_the_time_is_the_same_run(name: str) -> None:
    of = program(name)
    with Machine(of, net_of(of), trace=True) as machine:
        ending = machine.run(3_000)
        expected, stream = fingerprint(machine), list(machine.trace)
    with session(name, budget=3_000) as s:
        looks = 0
        while s.step(Unit.EVENT).reason is StopReason.STEP and looks < 60:
            looks += 1
            all_views(s)
        s.go_to_end()
        all_views(s)
        assert s.ending == ending
        assert fingerprint(s.machine) == expected
        assert list(s.events) == stream


@pytest.mark.parametrize("name", ["virtio_net_rx", "mmio_nic_rx", "timer_tick", "user_mode"])
def test_two_looks_at_one_moment_see_the_same(name: str) -> None:
    with session(name, budget=3_000) as s:
        for _ in range(10):
            s.step(Unit.EXIT)
            before = fingerprint(s.machine)
            assert all_views(s) == all_views(s)
            assert fingerprint(s.machine) == before


def test_views_can_be_sent_away() -> None:
    with session("virtio_net_rx") as s:
        s.run_to("interrupt")
        views = all_views(s)
    assert pickle.loads(pickle.dumps(views)) == views


def test_views_of_a_moment_in_the_past_are_those_of_then() -> None:
    with session("virtio_net_tx") as s:
        s.run_to("next_frame")
        then = all_views(s)
        s.go_to_end()
        assert all_views(s) != then
        s.run_back_to("next_frame")
        while s.run_back_to("next_frame").reason is StopReason.REACHED:
            pass
        s.run_to("next_frame")
        assert all_views(s) == then
