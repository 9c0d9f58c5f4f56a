"""The stepper in a test: keys in, characters out.

`play` runs a scenario, an async function, with the app in a terminal of a given size that is
not there. What a person would see is `stepper.rows`; where the session stands `stepper.moment`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from io import StringIO
from pathlib import Path

from rich.console import Console
from textual.events import Key
from textual.pilot import Pilot
from textual.widgets import Input

from toyvisor.debug.moment import Moment, Stop
from toyvisor.debug.session import Session
from toyvisor.guest.program import load_program
from toyvisor.host.net import open_net
from toyvisor.ui.stepper.app import StepperApp
from toyvisor.ui.stepper.headless import at_rest

NARROW, WIDE = (80, 24), (120, 40)


def make_session(program: str | Path, **options: object) -> Callable[[], Session]:
    """A factory for a session of a program, with the frames that `toyvisor run` gives it."""

    def make() -> Session:
        from toyvisor.commands.run import default_net

        loaded = load_program(program)
        net = open_net(default_net(loaded)).__enter__()
        return Session(loaded, net, **options)

    return make


class Stepper:
    """The app, as a person has it."""

    def __init__(self, app: StepperApp, pilot: Pilot[int]) -> None:
        self.app = app
        self.pilot = pilot

    async def press(self, *keys: str) -> None:
        """Press keys one after the other, and wait until all is done: "s", "f10", "e*5"."""
        for key in keys:
            name, star, times = key.partition("*")
            if star and name:
                for _ in range(int(times) - 1):
                    await self._tap_and_wait(name)
            await self.pilot.press(name if star and name else key)
            await self.rest()

    async def _tap_and_wait(self, key: str) -> None:
        """Press a key and wait for the session, but not for the screen: it is looked at later."""
        self.tap(key)
        for pump in (self.app, self.app.focused or self.app.screen):  # the way of a key
            handled = asyncio.Event()
            pump.call_later(handled.set)
            await handled.wait()
        await self.until(lambda: self.app.is_at_rest)

    async def type(self, text: str) -> None:
        """Answer what is asked for at the bottom of the screen, with Enter."""
        self.app.screen.query_one(Input).value = text
        await self.press("enter")

    def tap(self, key: str) -> None:
        """Press a key, and wait for nothing (a guest that runs keeps the processor busy)."""
        self.app.post_message(Key(key, None))

    async def rest(self) -> None:
        """Wait until the session has done everything."""
        await at_rest(self.app, self.pilot)

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait for something to be seen."""
        async with asyncio.timeout(20):
            while not is_so():
                await asyncio.sleep(0.002)

    async def click(self, x: int, y: int) -> None:
        """Click on a place of the screen."""
        await self.pilot.click(offset=(x, y))
        await self.rest()

    @property
    def rows(self) -> list[str]:
        """The screen as characters."""
        width, height = self.app.size
        update = self.app.screen._compositor.render_update(
            full=True, screen_stack=self.app._background_screens
        )
        console = Console(width=width, height=height, file=StringIO(), record=True)
        console.print(update)
        return [row.rstrip() for row in console.export_text().split("\n")][:height]

    @property
    def text(self) -> str:
        """The screen in one piece."""
        return "\n".join(self.rows)

    def row_with(self, words: str) -> int:
        """The number of the first row that has `words`."""
        return next(n for n, row in enumerate(self.rows) if words in row)

    @property
    def moment(self) -> Moment:
        """Where the session stands."""
        return self.app.picture.moment

    @property
    def stop(self) -> Stop:
        """Why."""
        return self.app.picture.stop

    @property
    def messages(self) -> list[str]:
        """The notifications so far."""
        return [notification.message for notification in self.app._notifications]


Scenario = Callable[[Stepper], Awaitable[None]]


def play(
    program: str | Path | Callable[[], Session],
    scenario: Scenario,
    size: tuple[int, int] = NARROW,
    *,
    at_once: bool = False,
    **options: object,
) -> int | None:
    """Run a scenario; the exit status, if it left the stepper.

    `at_once`: it begins when the first picture is there, not when looking ahead is over.
    """
    make = program if callable(program) else make_session(program)

    async def run() -> int | None:
        app = StepperApp(make, **options)
        async with app.run_test(size=size, notifications=True) as pilot:
            stepper = Stepper(app, pilot)
            if at_once:
                await stepper.until(lambda: app.picture.program != "")
            else:
                await stepper.rest()
            await scenario(stepper)
        return app.return_value

    return asyncio.run(run())
