"""A guest that never ends, Ctrl-C, and how the stepper is left."""

from __future__ import annotations

import asyncio

import pytest
from stepper_kit import WIDE, make_session, play

from toyvisor.debug.moment import StopReason
from toyvisor.errors import InputError
from toyvisor.ui.stepper.app import run_stepper


async def until(stepper, words: str) -> None:
    await stepper.until(lambda: words in stepper.text)


def test_ctrl_c_stops_the_guest_and_not_the_tool() -> None:
    async def scenario(stepper) -> None:
        stepper.tap("c")
        await until(stepper, "Ctrl-C stops the guest")
        await until(stepper, " instructions")
        stepper.tap("ctrl+c")
        await stepper.rest()
        assert stepper.stop.reason is StopReason.INTERRUPTED
        assert stepper.moment.instructions > 0
        here = stepper.moment.instructions
        await stepper.press("s")
        assert stepper.moment.instructions == here + 1

    play(make_session("spin", max_instructions=10**12), scenario)


def test_the_screen_answers_while_the_guest_runs() -> None:
    async def scenario(stepper) -> None:
        stepper.tap("c")
        await until(stepper, "Ctrl-C stops the guest")
        stepper.tap("5")
        await until(stepper, "events: ")
        stepper.tap("question_mark")
        await until(stepper, "Esc closes")
        stepper.tap("escape")
        stepper.tap("ctrl+c")
        await stepper.rest()
        assert stepper.stop.reason is StopReason.INTERRUPTED

    play(make_session("spin", max_instructions=10**12), scenario)


def test_ctrl_c_twice_at_rest_leaves_with_130() -> None:
    async def scenario(stepper) -> None:
        await stepper.press("ctrl+c")
        assert "once more" in stepper.messages[-1]
        await stepper.pilot.press("ctrl+c")

    assert play("add", scenario) == 130


def test_ctrl_c_closes_what_is_open() -> None:
    async def scenario(stepper) -> None:
        await stepper.press("g", "ctrl+c", "s")
        assert stepper.moment.instructions == 1

    assert play("add", scenario) is None


def test_q_leaves_with_0() -> None:
    async def scenario(stepper) -> None:
        await stepper.pilot.press("q")

    assert play("add", scenario) == 0


def test_leaving_while_the_guest_runs_ends_it() -> None:
    async def scenario(stepper) -> None:
        stepper.tap("c")
        await until(stepper, "Ctrl-C stops the guest")
        stepper.tap("q")
        await stepper.until(lambda: stepper.app.return_value is not None)

    assert play(make_session("spin", max_instructions=10**12), scenario) == 0


def test_a_key_ends_looking_ahead() -> None:
    """A guest that never ends must not keep the first key waiting."""

    async def scenario(stepper) -> None:
        await stepper.press("s")
        assert stepper.moment.instructions == 1

    play(make_session("spin", max_instructions=10**12), scenario, at_once=True, look_ahead=10**11)


def test_a_session_that_can_not_be_made_is_raised_to_the_caller(monkeypatch) -> None:
    from toyvisor.ui.stepper.app import StepperApp

    monkeypatch.setattr(
        StepperApp, "run", lambda app: asyncio.run(app.run_async(headless=True, size=WIDE))
    )
    with pytest.raises(InputError, match="no program named"):
        run_stepper(make_session("no_such_program"))
