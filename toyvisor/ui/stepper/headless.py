"""The stepper without a terminal: pictures of its screens for pages and tests."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from toyvisor.ui.stepper.app import StepperApp

if TYPE_CHECKING:
    from textual.pilot import Pilot

    from toyvisor.debug.session import Session

_MOST_SECONDS = 60.0
#: Rich names the styles of each picture anew.
_SVG_NAME = re.compile(r"terminal-\d+")


async def at_rest(app: StepperApp, pilot: Pilot[int]) -> None:
    """Wait until the session has done all that it was asked to, and the screen shows it."""
    async with asyncio.timeout(_MOST_SECONDS):
        while not app.is_at_rest:
            await asyncio.sleep(0.002)
    await pilot.pause()


def screen_svg(
    make_session: Callable[[], Session],
    keys: Iterable[str] = (),
    size: tuple[int, int] = (120, 40),
    *,
    presenter: bool = False,
    light: bool = False,
) -> str:
    """The screen after some keys (Textual's names: "e", "f5", "question_mark"), as SVG.

    The same run and the same keys give the same text. Raises what making the session raises.
    """

    async def play() -> str:
        app = StepperApp(make_session, presenter=presenter, light=light)
        async with app.run_test(size=size, notifications=True) as pilot:
            await at_rest(app, pilot)
            for key in keys:
                await pilot.press(key)
                await at_rest(app, pilot)
            if app.failure is not None:
                raise app.failure
            return app.export_screenshot(title=f"toyvisor step {app.picture.program}")

    return _SVG_NAME.sub("terminal-toyvisor", asyncio.run(play()))
