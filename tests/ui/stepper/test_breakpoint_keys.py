"""Breakpoints at the cursor and by the mouse, watchpoints, and what-if."""

from __future__ import annotations

from stepper_kit import WIDE, play

from toyvisor.debug.moment import StopReason


def test_b_sets_a_breakpoint_at_the_cursor_and_c_stops_there() -> None:
    async def scenario(stepper) -> None:
        await stepper.press("down*6", "b")
        line = stepper.app.picture.source.current + 6
        assert dict(stepper.app.picture.source.breakpoints) == {line: True}
        assert f"●  {line}" in stepper.text
        await stepper.press("c")
        assert stepper.stop.reason is StopReason.BREAKPOINT
        assert stepper.app.picture.source.current == line
        await stepper.press("f9")
        assert not stepper.app.picture.source.breakpoints

    play("virtio_net_tx", scenario, WIDE)


def test_a_click_in_the_gutter_does_the_same() -> None:
    async def scenario(stepper) -> None:
        row = stepper.row_with("VIRTIO_MMIO_MAGIC")
        await stepper.click(2, row)
        assert len(stepper.app.picture.source.breakpoints) == 1
        assert stepper.rows[row].startswith("●")
        await stepper.click(20, row)
        assert stepper.rows[row].startswith("●"), "a click on the text moves the cursor only"
        await stepper.click(2, row)
        assert not stepper.app.picture.source.breakpoints

    play("virtio_net_tx", scenario, WIDE)


def test_enter_runs_to_the_line() -> None:
    async def scenario(stepper) -> None:
        await stepper.press("down*7", "enter")
        assert stepper.stop.reason is StopReason.REACHED
        assert stepper.moment.instructions > 0

    play("virtio_net_tx", scenario, WIDE)


def test_running_back_stops_at_breakpoints_too() -> None:
    async def scenario(stepper) -> None:
        await stepper.press("down*6", "b", "c", "e*5", "C")
        assert stepper.stop.reason is StopReason.BREAKPOINT
        await stepper.press("C")
        assert stepper.stop.reason is StopReason.START

    play("virtio_net_tx", scenario, WIDE)


def test_a_watchpoint_stops_behind_the_change() -> None:
    async def scenario(stepper) -> None:
        await stepper.press("w")
        await stepper.type("rbx")
        assert "watchpoint 1: rbx" in stepper.messages[-1]
        await stepper.press("c")
        assert stepper.stop.reason is StopReason.WATCHPOINT
        assert "0x0 -> 0x1" in stepper.stop.text

    play("virtio_net_tx", scenario)


def test_a_watchpoint_on_nothing_is_a_message() -> None:
    async def scenario(stepper) -> None:
        await stepper.press("w")
        await stepper.type("no_such_thing")
        assert "no_such_thing" in stepper.messages[-1]

    play("virtio_net_tx", scenario)


def test_what_if_goes_another_way_and_can_be_left() -> None:
    async def scenario(stepper) -> None:
        await stepper.press("s*3")
        here = stepper.moment
        await stepper.press("x")
        await stepper.type("rax = 5")
        assert "[branch 1]" in stepper.rows[0]
        await stepper.press("c")
        assert b"5" in stepper.app.picture.console or stepper.stop.reason is StopReason.END
        await stepper.press("X")
        assert "[branch" not in stepper.rows[0]
        assert stepper.moment == here

    play("add", scenario)


def test_there_is_no_branch_to_leave_at_first() -> None:
    async def scenario(stepper) -> None:
        await stepper.press("X")
        assert "no branch to leave" in stepper.messages[-1]

    play("add", scenario)


def test_what_if_with_nonsense_is_a_message() -> None:
    async def scenario(stepper) -> None:
        for text, words in (
            ("rax", "set what to what"),
            ("rax = ", "set what to what"),
            ("zap = 1", "neither a register nor memory"),
            ("u32[0x1000] = zz", "zz"),
        ):
            await stepper.press("x")
            await stepper.type(text)
            assert words in stepper.messages[-1], text
        assert stepper.app.picture.branch == 0

    play("add", scenario)
