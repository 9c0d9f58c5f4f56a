"""Keys that move the session: steps, runs, along the timeline; and Ctrl-C, which stops it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from textual.screen import ModalScreen

from toyvisor.debug.moment import Unit
from toyvisor.ui.stepper import walking
from toyvisor.ui.stepper.session_app import Movement, SessionApp

if TYPE_CHECKING:
    from toyvisor.debug.session import Session

#: Two presses of Ctrl-C within so many seconds leave the stepper.
_TWICE = 2.0
_INTERRUPTED = 130


class WalkKeys(SessionApp):
    """One action for each of these keys."""

    def __init__(self, make_session: Callable[[], Session], *, look_ahead: int) -> None:
        super().__init__(make_session, look_ahead=look_ahead)
        self._asked_to_quit = float("-inf")

    def action_forward(self, unit: str) -> None:
        """A step."""
        self._step(Unit(unit), 1)

    def action_backward(self, unit: str) -> None:
        """A step back."""
        self._step(Unit(unit), -1)

    def _step(self, unit: Unit, direction: int) -> None:
        device = self.wishes.device

        def steps(session: Session, count: int) -> None:
            walking.step(session, unit, direction * count, device)

        words = f"step {unit}" if direction > 0 else f"step {unit} back"
        self.move(Movement(words, lambda session: steps(session, 1), repeats=steps))

    def action_run(self) -> None:
        """Continue."""
        self.move(Movement("running", lambda session: session.run()))

    def action_run_back(self) -> None:
        """Continue backwards."""
        self.move(Movement("running back", lambda session: session.run_back()))

    def action_along(self, cells: int) -> None:
        """Along the timeline."""

        def along(session: Session, count: int) -> None:
            walking.along(session, self.camera.timeline, cells * count)

        words = f"travelling {cells}"
        self.move(Movement(words, lambda session: along(session, 1), repeats=along))

    def action_leave_branch(self) -> None:
        """Back to the original."""
        if not self.picture.branch:
            self.notify("this is the original run: there is no branch to leave")
            return
        self.move(Movement("leaving the branch", lambda _: self.typed.execute("leave")))

    def action_interrupt(self) -> None:
        """Ctrl-C: the guest first, then what is open, then, twice, the stepper."""
        if not self.is_at_rest:
            self.stop_guest()
        elif isinstance(self.screen, ModalScreen):
            self.screen.dismiss(None)
        elif time.monotonic() - self._asked_to_quit < _TWICE:
            self.exit(_INTERRUPTED)
        else:
            self._asked_to_quit = time.monotonic()
            self.notify("Ctrl-C once more leaves the stepper (q does, too)", timeout=_TWICE)
