"""Breakpoints and watchpoints: none is missed, in either direction."""

from __future__ import annotations

from pathlib import Path

import pytest
from sessions import session, session_of

from toyvisor.debug.breakpoints import BreakpointKind
from toyvisor.debug.moment import StopReason, Unit
from toyvisor.debug.session import Session
from toyvisor.errors import InputError, UsageError

LONG = 'mode = "long"'
LOOP = """
        mov     ecx, 5
        mov     rdi, 0x2000
again:  mov     [rdi], cl
        add     rdi, 1
        dec     ecx
        jnz     again
done:   hlt
"""


def all_stops(stepped: Session, *, back: bool = False) -> list[int]:
    """Where it stops until there is no more, in instructions."""
    found = []
    while (stepped.run_back if back else stepped.run)().reason in (
        StopReason.BREAKPOINT,
        StopReason.WATCHPOINT,
    ):
        found.append(stepped.moment.instructions)
    return found


def test_a_breakpoint_in_a_loop_is_met_each_time_and_backwards_as_often(tmp_path: Path) -> None:
    with session_of(LOOP, tmp_path, block=LONG) as stepped:
        breakpoint = stepped.break_at("again")
        forward = all_stops(stepped)
        assert forward == [2, 6, 10, 14, 18]
        assert breakpoint.hits == 5
        assert all_stops(stepped, back=True) == forward[::-1]


def test_a_condition_and_a_count_of_hits_to_pass_by(tmp_path: Path) -> None:
    with session_of(LOOP, tmp_path, block=LONG) as stepped:
        stepped.break_at("again", condition="ecx == 2")
        assert all_stops(stepped) == [14]
        stepped.delete(1)
        stepped.go_to_start()
        stepped.break_at("again", ignore=3)
        assert all_stops(stepped) == [14, 18]


def test_a_temporary_breakpoint_is_gone_and_a_disabled_one_sleeps(tmp_path: Path) -> None:
    with session_of(LOOP, tmp_path, block=LONG) as stepped:
        stepped.break_at("again", temporary=True)
        assert all_stops(stepped) == [2]
        assert not stepped.breakpoints
        stepped.go_to_start()
        stepped.break_at("done").enabled = False
        assert all_stops(stepped) == []


def test_watched_memory_stops_behind_the_store_that_changed_it(tmp_path: Path) -> None:
    with session_of(LOOP, tmp_path, block=LONG) as stepped:
        watch = stepped.watch("0x2002:2")
        assert watch.kind is BreakpointKind.MEMORY
        forward = all_stops(stepped)
        assert forward == [11, 15]
        assert stepped.read_memory(0x2000, 5) == bytes((5, 4, 3, 2, 1))
        assert all_stops(stepped, back=True) == forward[::-1]


def test_what_is_written_and_written_back_is_not_missed(tmp_path: Path) -> None:
    source = "mov rdi, 0x2000\nmov byte ptr [rdi], 1\nmov byte ptr [rdi], 0\nnop\nhlt"
    with session_of(source, tmp_path, block=LONG) as stepped:
        stepped.watch("0x2000:1")
        assert all_stops(stepped) == [2, 3]


def test_watched_memory_is_watched_for_devices_too() -> None:
    """The used ring's index is the device's to write: by DMA, inside an exit."""
    with session("virtio_net_tx") as stepped:
        stepped.watch("virtio_net.tx.used.idx")
        stop = stepped.run()
        assert stop.reason is StopReason.WATCHPOINT
        assert stop.text.endswith("0x0 -> 0x1")


def test_what_the_last_instruction_changes_is_not_missed() -> None:
    with session("hello_mmio") as stepped:
        stepped.watch("exits.hlt")
        assert stepped.run().text.endswith("0x0 -> 0x1")
        assert stepped.at_end
        assert stepped.run().reason is StopReason.END


def test_a_watched_register(tmp_path: Path) -> None:
    with session_of(LOOP, tmp_path, block=LONG) as stepped:
        stepped.watch("rdi", condition="rdi > 0x2002")
        assert all_stops(stepped) == [12, 16, 20]


def test_no_breakpoint_is_missed_right_behind_an_exit() -> None:
    """The instruction behind a store that exits is in the middle of a block."""
    with session("mmio_nic_tx") as stepped:
        stepped.step()
        found = set()
        stepped.go_to_start()
        while stepped.moment.instructions < 400:
            found.add(stepped.linear_rip())
            stepped.step()
        for address in sorted(found):
            stepped.go_to_start()
            breakpoint = stepped.break_at(hex(address))
            if stepped.linear_rip() != address:
                assert stepped.run().reason is StopReason.BREAKPOINT
                assert stepped.linear_rip() == address
            stepped.delete(breakpoint.number)


def test_until_a_condition_over_registers_and_counters_is_true() -> None:
    with session("mmio_nic_tx") as stepped:
        stop = stepped.run_until("exits.mmio > 2")
        assert (stop.reason, stepped.counters().exits["mmio"]) == (StopReason.REACHED, 3)


def test_a_place_in_the_middle_of_an_instruction_is_never_reached(tmp_path: Path) -> None:
    with session_of(LOOP, tmp_path, block=LONG) as stepped:
        stepped.break_at("again+1")
        assert stepped.run().reason is StopReason.END


def test_code_that_changes_its_own_block_is_stopped_in_exactly(tmp_path: Path) -> None:
    source = """
        mov     ecx, 2
again:  mov     byte ptr [patch+1], cl
        inc     ebx
patch:  mov     al, 0x41
        inc     edx
        dec     ecx
        jnz     again
        hlt
"""
    with session_of(source, tmp_path, block=LONG) as stepped:
        walked = [(stepped.moment.instructions, stepped.linear_rip())]
        while stepped.step().reason is StopReason.STEP:
            walked.append((stepped.moment.instructions, stepped.linear_rip()))
        end = stepped.moment
        for address in sorted({rip for _, rip in walked[1:]}):
            stepped.go_to_start()
            breakpoint = stepped.break_at(hex(address))
            found = [number for number, rip in walked if rip == address]
            assert all_stops(stepped) == found
            assert stepped.moment == end
            stepped.delete(breakpoint.number)
        for number, rip in walked:
            stepped.go_to_instruction(number)
            assert (stepped.moment.instructions, stepped.linear_rip()) == (number, rip)


def test_watched_memory_that_the_processor_writes_by_itself() -> None:
    """A fault's frame is pushed and popped; nobody's store is in the guest's code."""
    with session("divide_error") as stepped:
        frame = stepped.registers().rsp - 40
        stepped.watch(f"{frame:#x}:8")
        forward = all_stops(stepped)
        assert forward
        assert all_stops(stepped, back=True) == forward[::-1]


@pytest.mark.parametrize(
    ("place", "hint"),
    [
        ("_strat", "_start"),
        ("9999", "last line with code"),
        ("nothere.s:4", "one_store"),
        ("", "a label"),
    ],
)
def test_a_place_that_is_not_there_is_refused_with_what_is_near(place: str, hint: str) -> None:
    with session("one_store") as stepped, pytest.raises(InputError) as error:
        stepped.break_at(place)
    assert hint in str(error.value)


def test_a_breakpoint_that_is_not_there_can_not_be_deleted() -> None:
    with session("one_store") as stepped, pytest.raises(UsageError, match="no breakpoint 3"):
        stepped.delete(3)


def test_a_step_over_a_call_ends_at_a_breakpoint_in_it(tmp_path: Path) -> None:
    source = "call work\nhlt\nwork:\nnop\ninner:\nnop\nret"
    with session_of(source, tmp_path, block=LONG) as stepped:
        breakpoint = stepped.break_at("inner")
        stop = stepped.step(Unit.OVER)
        assert (stop.reason, stop.breakpoint) == (StopReason.BREAKPOINT, breakpoint)
        assert breakpoint.hits == 1
        assert stepped.step(Unit.OUT).reason is StopReason.STEP
        breakpoint.enabled = False
        stepped.go_to_start()
        assert stepped.step(Unit.OVER).reason is StopReason.STEP
        assert stepped.linear_rip() == 0x100005
