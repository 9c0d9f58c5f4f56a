"""Along the timeline, to a place, to what a search has found."""

from __future__ import annotations

from stepper_kit import NARROW, WIDE, play

from toyvisor.debug.moment import StopReason

_STRIP = -3  # the row of the strip, from the bottom, where the timeline has no legend


def test_the_whole_run_is_on_the_timeline_before_the_first_step() -> None:
    async def scenario(stepper) -> None:
        assert stepper.moment.instructions == 0
        assert stepper.rows[_STRIP] == "├M·H·■"
        assert stepper.rows[_STRIP + 1].startswith("▲")

    play("one_store", scenario)


def test_brackets_go_along_the_exits() -> None:
    async def scenario(stepper) -> None:
        await stepper.press("right_square_bracket*3")
        assert stepper.app.picture.timeline.passed == 3
        assert stepper.rows[_STRIP + 1].index("▲") == 3
        await stepper.press("left_square_bracket")
        assert stepper.app.picture.timeline.passed == 2
        await stepper.press("right_curly_bracket")
        assert stepper.app.picture.timeline.passed == 12
        await stepper.press("left_curly_bracket*2")
        assert stepper.stop.reason is StopReason.START

    play("virtio_net_tx", scenario)


def test_more_exits_than_columns_share_cells() -> None:
    async def scenario(stepper) -> None:
        cells = stepper.app.picture.timeline.cells
        assert sum(cell.exits for cell in cells) == 2904
        assert len(cells) <= NARROW[0] - 3
        await stepper.press("right_square_bracket*2")
        assert stepper.app.picture.timeline.passed == cells[0].exits + 1

    play("mmio_nic_tx", scenario)


def test_a_click_on_the_strip_travels() -> None:
    async def scenario(stepper) -> None:
        await stepper.click(5, NARROW[1] - 3)
        assert stepper.app.picture.timeline.passed == 5
        await stepper.click(0, NARROW[1] - 3)
        assert stepper.stop.reason is StopReason.START

    play("virtio_net_tx", scenario)


def test_what_is_not_recorded_yet_is_said_to_go_on() -> None:
    async def scenario(stepper) -> None:
        assert stepper.rows[_STRIP].endswith("…")
        recorded = stepper.app.picture.timeline.exits
        await stepper.press("c")
        assert stepper.app.picture.timeline.exits > recorded
        assert stepper.rows[_STRIP].endswith("■")

    play("virtio_net_tx", scenario, look_ahead=50)


def test_go_to() -> None:
    async def scenario(stepper) -> None:
        for text, is_there in (
            ("100", lambda: stepper.moment.instructions == 100),
            ("#45", lambda: stepper.moment.events == 46),
            ("event 45", lambda: stepper.moment.events == 46),
            ("exit 7", lambda: stepper.app.picture.timeline.passed == 7),
            ("next_frame", lambda: stepper.app.picture.source.lines[
                stepper.app.picture.source.current - 2].startswith("next_frame")),
            (":66", lambda: stepper.stop.reason is StopReason.END),
            ("back :66", lambda: stepper.app.picture.source.current == 66),
            ("end", lambda: stepper.stop.reason is StopReason.END),
            ("start", lambda: stepper.stop.reason is StopReason.START),
        ):  # fmt: skip
            await stepper.press("g")
            await stepper.type(text)
            assert is_there(), text

    play("virtio_net_tx", scenario)


def test_a_place_that_is_not_there_is_a_message() -> None:
    async def scenario(stepper) -> None:
        for text, words in (
            ("nowhere", "no label 'nowhere'"),
            ("#x", "no number"),
            ("exit 999", "no exit 999"),
        ):
            here = stepper.moment
            await stepper.press("g")
            await stepper.type(text)
            assert words in stepper.messages[-1]
            assert stepper.moment == here

    play("virtio_net_tx", scenario)


def test_escape_leaves_a_question_without_an_answer() -> None:
    async def scenario(stepper) -> None:
        await stepper.press("g", "1", "escape")
        assert stepper.moment.instructions == 0
        await stepper.press("s")
        assert stepper.moment.instructions == 1, "keys are commands again"

    play("virtio_net_tx", scenario)


def test_a_search_finds_events_and_goes_there() -> None:
    async def scenario(stepper) -> None:
        await stepper.press("slash")
        await stepper.type("writev")
        assert "places with 'writev'" in stepper.text
        await stepper.press("down", "enter")
        assert "syscall: writev" in stepper.text
        assert stepper.app.picture.lanes.last.text.startswith("syscall: writev tap0")

    play("virtio_net_tx", scenario, WIDE)


def test_a_search_finds_lines_of_the_source() -> None:
    async def scenario(stepper) -> None:
        await stepper.press("slash")
        await stepper.type("step 8: driver_ok")
        await stepper.press("enter")
        row = next(row for row in stepper.rows if "step 8: DRIVER_OK" in row)
        assert row.split()[0].isdecimal()
        assert stepper.moment.instructions == 0, "looking is not going"

    play("virtio_net_tx", scenario, WIDE)


def test_a_search_that_finds_nothing_says_so() -> None:
    async def scenario(stepper) -> None:
        await stepper.press("slash")
        await stepper.type("xyzzy")
        assert "nothing has 'xyzzy' in it" in stepper.messages[-1]

    play("add", scenario)
