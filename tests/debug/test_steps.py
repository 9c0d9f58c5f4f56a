"""Steps of every size, forwards and backwards."""

from __future__ import annotations

from pathlib import Path

import pytest
from sessions import session, session_of

from toyvisor.debug.moment import StopReason, Unit
from toyvisor.debug.session import Session
from toyvisor.errors import UsageError

CALLS = """
        mov     ecx, 2
        call    outer
        mov     edx, 4
        hlt
outer:
        call    inner
        inc     eax
        ret
inner:
        push    rax
        pop     rax
        ret
"""
LONG = 'mode = "long"'


def labels(stepped: Session) -> str:
    """The source line we stand at, without spaces."""
    line = stepped.line()
    return " ".join(line.text.split()) if line is not None else "-"


def event(stepped: Session) -> str:
    return stepped.events[stepped.moment.events - 1].kind.name


def test_a_store_to_a_device_has_ten_events_and_each_is_a_step() -> None:
    with session("one_store") as stepped:
        names = []
        while stepped.step(Unit.EVENT).reason is StopReason.STEP:
            names.append(event(stepped))
        assert names == [
            "vm_exit", "kvm_mmio", "copy", "kvm_userspace_exit", "copy",
            "memory_region_ops_write", "ioctl", "vm_entry", "vm_exit", "kvm_userspace_exit",
        ]  # fmt: skip
        back = []
        while stepped.step_back(Unit.EVENT).reason is StopReason.STEP:
            back.append(event(stepped))
        assert back == [*reversed(names[:-1]), "vm_entry"], "and the last one is the beginning"


def test_the_store_that_exits_has_not_changed_the_registers_and_is_done_at_the_next_step() -> None:
    with session("one_store") as stepped:
        stepped.step(Unit.EXIT)
        assert (stepped.moment.instructions, stepped.moment.between) == (2, False)
        assert stepped.step().reason is StopReason.STEP
        assert (stepped.moment.instructions, stepped.moment.between) == (3, True)
        stepped.step_back()
        assert (stepped.moment.instructions, stepped.moment.between) == (2, True)


def test_a_load_gets_its_value_after_the_return_to_the_guest() -> None:
    with session("one_load") as stepped:
        stepped.step(Unit.EXIT)
        before = stepped.registers().rax
        while event(stepped) != "vm_entry":
            assert stepped.registers().rax == before
            stepped.step(Unit.EVENT)
        stepped.step()
        assert stepped.registers().rax == 0x43494E4D


def test_exits_returns_to_userspace_and_device_accesses_are_found_in_both_directions() -> None:
    with session("mmio_nic_tx") as stepped:
        stepped.step(Unit.EXIT, 3)
        third = stepped.moment
        stepped.step(Unit.USERSPACE)
        assert event(stepped) == "kvm_userspace_exit"
        stepped.step(Unit.DEVICE, device="mmio-nic")
        assert event(stepped) in ("memory_region_ops_read", "memory_region_ops_write")
        stepped.step_back(Unit.EXIT)
        assert stepped.moment == third
        stepped.step_back(Unit.EXIT, 2)
        assert stepped.counters().total_exits == 1
        assert stepped.step_back(Unit.EXIT).reason is StopReason.START


def test_a_device_that_is_not_there_is_refused_with_the_ones_that_are() -> None:
    with session("one_store") as stepped, pytest.raises(UsageError, match="no device nic") as error:
        stepped.step(Unit.DEVICE, device="nic")
    assert "mmio-nic" in str(error.value)


def test_kernel_devices_have_accesses_too() -> None:
    with session("timer_tick") as stepped:
        stepped.step(Unit.DEVICE, device="pic")
        assert stepped.events[stepped.moment.events - 1].fields["port"] == 0x20
        stepped.step(Unit.DEVICE, device="pit")
        assert stepped.events[stepped.moment.events - 1].fields["port"] == 0x43


def test_an_interrupt_is_told_before_it_is_delivered_and_the_next_step_is_in_its_handler() -> None:
    with session("timer_tick") as stepped:
        stepped.step(Unit.INTERRUPT)
        assert event(stepped) == "kvm_inj_virq"
        assert stepped.moment.deliveries == 0
        stepped.step()
        assert stepped.moment.deliveries == 1
        assert stepped.linear_rip() == stepped.resolve("timer")
        stepped.step_back(Unit.INTERRUPT)
        assert event(stepped) == "kvm_inj_virq"


def test_over_passes_a_call_as_a_whole_and_line_goes_into_it(tmp_path: Path) -> None:
    with session_of(CALLS, tmp_path, block=LONG) as stepped:
        stepped.step(Unit.LINE)
        assert labels(stepped) == "call outer"
        stepped.step(Unit.OVER)
        assert labels(stepped) == "mov edx, 4"
        stepped.step_back(Unit.OVER)
        assert labels(stepped) == "call outer"
        stepped.step(Unit.LINE)
        assert labels(stepped) == "call inner"


def test_out_ends_behind_the_call_and_back_out_at_it(tmp_path: Path) -> None:
    with session_of(CALLS, tmp_path, block=LONG) as stepped:
        stepped.run_to("inner")
        stepped.step()
        stepped.step(Unit.OUT)
        assert labels(stepped) == "inc eax"
        stepped.step(Unit.OUT)
        assert labels(stepped) == "mov edx, 4"
        stepped.run_back_to("inner")
        stepped.step_back(Unit.OUT)
        assert labels(stepped) == "call inner"
        stepped.step_back(Unit.OUT)
        assert labels(stepped) == "call outer"


def test_lines_are_walked_back_one_by_one(tmp_path: Path) -> None:
    with session_of(CALLS, tmp_path, block=LONG) as stepped:
        forward = [labels(stepped)]
        while stepped.step(Unit.LINE).reason is StopReason.STEP:
            forward.append(labels(stepped))
        backward = []
        while stepped.step_back(Unit.LINE).reason is StopReason.STEP:
            backward.append(labels(stepped))
        assert backward == forward[::-1]


def test_over_passes_an_interrupt_with_its_handler() -> None:
    with session("timer_tick") as stepped:
        stepped.step(Unit.INTERRUPT)
        stepped.step_back()
        interrupted = stepped.moment
        assert stepped.step(Unit.OVER).reason is StopReason.STEP
        assert stepped.moment.instructions > interrupted.instructions + 3
        handler = range(stepped.resolve("timer"), stepped.resolve("timer") + 40)
        assert stepped.linear_rip() not in handler


def test_a_repeated_instruction_is_one_line(tmp_path: Path) -> None:
    source = "mov rdi, 0x2000\nmov ecx, 5\nrep stosb\nhlt"
    with session_of(source, tmp_path, block=LONG) as stepped:
        stepped.step(Unit.LINE, 2)
        stepped.step()
        assert stepped.registers().rcx == 4, "an instruction is one round of it"
        stepped.step(Unit.LINE)
        assert (labels(stepped), stepped.registers().rcx) == ("hlt", 0)
        stepped.step_back(Unit.LINE)
        assert (labels(stepped), stepped.registers().rcx) == ("rep stosb", 5)


def test_a_fault_is_a_step_of_its_own() -> None:
    with session("divide_error") as stepped:
        stepped.run_to("divide_error")
        handler = stepped.moment
        assert handler.deliveries == 1
        stepped.step_back()
        assert (stepped.moment.instructions, stepped.moment.deliveries) == (
            handler.instructions, 0,
        ), "the faulting instruction has not been executed"  # fmt: skip
        stepped.step()
        assert stepped.moment == handler


def test_places_are_reached_by_label_line_and_address() -> None:
    with session("mmio_nic_tx") as stepped:
        address = stepped.resolve("_start")
        line = stepped.line_at(address)
        assert line is not None
        assert stepped.resolve(f"{line.location.file}:{line.location.line}") == address
        assert stepped.resolve(str(line.location.line)) == address
        assert stepped.resolve(hex(address)) == address
        assert stepped.resolve("_start+4") == address + 4


def test_numbers_of_instructions_and_events_are_reached() -> None:
    with session("mmio_nic_tx") as stepped:
        stepped.go_to_instruction(500)
        assert stepped.moment.instructions == 500
        stepped.go_to_event(100)
        assert stepped.moment == stepped.events.moment(100)
        assert stepped.go_to_event(10**9).reason is StopReason.END
        assert stepped.go_to_start().reason is StopReason.START


def test_a_guest_that_runs_for_ever_can_be_stopped_and_goes_on() -> None:
    with session("spin", budget=10**9) as stepped:
        asked = iter([False] * 3 + [True] * 9)
        stepped.should_stop = lambda: next(asked)
        assert stepped.run().reason is StopReason.INTERRUPTED
        here = stepped.moment
        stepped.should_stop = None
        assert stepped.step().reason is StopReason.STEP
        assert stepped.moment.instructions == here.instructions + 1


@pytest.mark.parametrize("unit", [Unit.INSTRUCTION, Unit.LINE, Unit.OVER])
def test_a_great_many_short_steps_can_be_stopped(unit: Unit) -> None:
    with session("spin", budget=10**9) as stepped:
        stepped.should_stop = lambda: stepped.moment.instructions > 50
        assert stepped.step(unit, 10**6).reason is StopReason.INTERRUPTED


def test_a_budget_is_an_end_that_can_be_walked_away_from() -> None:
    with session("spin", budget=1_000) as stepped:
        stop = stepped.run()
        assert (stop.reason, stepped.moment.instructions) == (StopReason.END, 1_000)
        assert "1,000 instructions" in stop.text
        stepped.step_back()
        assert stepped.moment.instructions in (999, 1_000)
        assert stepped.step(Unit.INSTRUCTION, 5).reason is StopReason.END
