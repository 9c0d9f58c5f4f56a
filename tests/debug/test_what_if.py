"""Changing the past: a branch that goes another way, and can be left again."""

from __future__ import annotations

from pathlib import Path

import pytest
from sessions import fingerprint, session, session_of

from toyvisor.debug.moment import StopReason, Unit
from toyvisor.errors import UsageError

LONG = 'mode = "long"\ndevices = ["debugcon"]'
SAYS = """
        mov     al, 'a'
        out     0xe9, al
        inc     al
        out     0xe9, al
        hlt
"""


def test_another_register_is_another_run_and_leaving_it_is_the_first_again(tmp_path: Path) -> None:
    with session_of(SAYS, tmp_path, block=LONG) as stepped:
        stepped.go_to_end()
        assert stepped.console() == b"ab"
        original = list(stepped.events)
        stepped.go_to_instruction(1)
        before = fingerprint(stepped.machine)
        assert stepped.set_register("al", ord("x")).reason is StopReason.CHANGED
        assert stepped.branch == 1
        stepped.go_to_end()
        assert stepped.console() == b"xy"
        stepped.go_to_instruction(3)
        assert stepped.registers().rax & 0xFF == ord("y")
        stepped.go_to_start()
        stepped.step()
        assert stepped.registers().rax & 0xFF == ord("x"), "from its past one comes into the branch"
        stepped.leave_branch()
        assert stepped.branch == 0
        assert fingerprint(stepped.machine) == before
        stepped.go_to_end()
        assert stepped.console() == b"ab"
        assert list(stepped.events) == original


def test_running_across_the_change_runs_into_the_branch(tmp_path: Path) -> None:
    with session_of(SAYS, tmp_path, block=LONG) as stepped:
        stepped.go_to_instruction(3)
        stepped.set_register("rax", ord("z"))
        stepped.go_to_start()
        assert stepped.run().reason is StopReason.END
        assert stepped.console() == b"az"
        for _ in range(3):
            stepped.step_back(Unit.EXIT)
        stepped.go_to_start()
        while stepped.step().reason is StopReason.STEP:
            pass
        assert stepped.console() == b"az"


def test_branches_of_branches(tmp_path: Path) -> None:
    with session_of(SAYS, tmp_path, block=LONG) as stepped:
        stepped.go_to_instruction(1)
        stepped.set_register("rax", ord("p"))
        stepped.set_register("rbx", 7)  # at the same place: the same branch
        assert stepped.branch == 1
        stepped.go_to_instruction(3)
        stepped.set_register("rax", ord("z"))
        assert stepped.branch == 2
        stepped.go_to_end()
        assert (stepped.console(), stepped.registers().rbx) == (b"pz", 7)
        stepped.leave_branch()
        stepped.go_to_end()
        assert stepped.console() == b"pq"
        stepped.leave_branch()
        stepped.go_to_end()
        assert stepped.console() == b"ab"


def test_changed_code_is_what_runs(tmp_path: Path) -> None:
    with session_of(SAYS, tmp_path, block=LONG) as stepped:
        stepped.go_to_end()
        stepped.go_to_start()
        address = stepped.linear_rip()
        stepped.write_memory(address, b"\xb0!", linear=True)  # mov al, '!'
        stepped.go_to_end()
        assert stepped.console() == b'!"'


def test_inside_an_exit_nothing_can_be_changed() -> None:
    with session("one_store") as stepped:
        stepped.step(Unit.EXIT)
        with pytest.raises(UsageError, match="inside an exit"):
            stepped.set_register("rax", 1)
        with pytest.raises(UsageError, match="inside an exit"):
            stepped.write_memory(0x2000, b"x")
        assert stepped.branch == 0


def test_a_value_that_does_not_fit_and_a_register_that_is_not_there_are_refused() -> None:
    with session("one_store") as stepped:
        with pytest.raises(UsageError, match="8 bits"):
            stepped.set_register("al", 256)
        with pytest.raises(UsageError, match="no register xmm0"):
            stepped.set_register("xmm0", 1)
        with pytest.raises(UsageError, match="original run"):
            stepped.leave_branch()
