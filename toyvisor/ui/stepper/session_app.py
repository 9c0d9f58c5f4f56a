"""The app's connection to its session: jobs there, pictures back, and what happens meanwhile."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from textual.app import App
from textual.message import Message

from toyvisor.errors import ToyvisorError
from toyvisor.ui.stepper.camera import Camera
from toyvisor.ui.stepper.picture import Picture, Wishes
from toyvisor.ui.stepper.session_thread import SessionThread
from toyvisor.ui.stepper.typed_commands import TypedCommands

if TYPE_CHECKING:
    from toyvisor.debug.session import Session

#: Guest instructions that are run ahead at the beginning, for the timeline to show them.
LOOK_AHEAD = 1_000_000
#: Seconds until a guest that runs is said to.
_PATIENCE = 0.2
#: Movements that wait while the guest runs; more keys are not taken.
_MOST_WAITING = 200

Work = Callable[["Session"], Any]
Then = Callable[[Any], None]


class Movement(NamedTuple):
    """A job for the session. `repeats`: how it is done n times at once, if it can be."""

    words: str
    work: Work
    then: Then | None = None
    repeats: Callable[[Session, int], Any] | None = None


class SessionApp(App[int]):
    """Knows the session's thread. A subclass shows pictures.

    Everything that happens to the session is a movement: done on its thread, one after the
    other, each ending with a picture. Movements asked for meanwhile wait; equal ones among them
    become one, so that a key that is held down does not leave the screen behind.
    """

    class Arrived(Message):
        """A movement is over."""

        def __init__(self, picture: Picture | None, result: Any, error: Any) -> None:
            super().__init__()
            self.picture = picture
            self.result = result
            self.error = error

    def __init__(self, make_session: Callable[[], Session], *, look_ahead: int) -> None:
        # Without colour at all, and not in greys as Textual would have it.
        super().__init__(ansi_color=True if "NO_COLOR" in os.environ else None)
        self._thread = SessionThread(make_session, self._started)
        self._camera: Camera | None = None
        self._typed: TypedCommands | None = None
        self._look_ahead = look_ahead
        self._waiting: deque[Movement] = deque()
        self._under_way: Movement | None = Movement("starting", lambda _: None)
        self._since = time.monotonic()
        self._is_looking_ahead = False
        self._wants_look = False
        self.wishes = Wishes()
        self.picture = Picture()
        #: Labels of the program.
        self.labels: tuple[str, ...] = ()
        #: What making the session raised.
        self.failure: BaseException | None = None

    # For subclasses -----------------------------------------------------------------------

    def show_picture(self, picture: Picture) -> None:
        """Draw it."""
        raise NotImplementedError

    def show_running(self, words: str, instructions: int) -> None:
        """A turn of the spinner."""
        raise NotImplementedError

    @property
    def camera(self) -> Camera:
        """To be used on the session's thread."""
        assert self._camera is not None
        return self._camera

    @property
    def typed(self) -> TypedCommands:
        """To be used on the session's thread."""
        assert self._typed is not None
        return self._typed

    @property
    def is_busy(self) -> bool:
        """A movement is under way that the user asked for."""
        return self._under_way is not None and not self._is_looking_ahead

    @property
    def is_at_rest(self) -> bool:
        """Nothing is under way, and nothing waits; or there is no session."""
        return self.failure is not None or (self._under_way is None and not self._waiting)

    def move(self, movement: Movement) -> None:
        """Do a movement as soon as possible."""
        if self._is_looking_ahead:
            self._thread.stop_guest()
        if len(self._waiting) < _MOST_WAITING:
            self._waiting.append(movement)
        self._next()

    def look(self) -> None:
        """Another picture of the same moment, since the wishes are others."""
        if self.is_at_rest:
            self.move(Movement("looking", lambda _: None))
        else:
            self._wants_look = True

    def stop_guest(self) -> None:
        """Stop what is under way, and forget what waits."""
        self._waiting.clear()
        self._thread.stop_guest()

    def start_session(self) -> None:
        """When the screen is there."""
        self.set_interval(0.1, self._turn)
        self._thread.start()

    def end_session(self) -> None:
        """When it is gone."""
        self._thread.close()

    # On the session's thread ----------------------------------------------------------------

    def _started(self, session: Session | None, error: BaseException | None) -> None:
        if session is None:
            self.post_message(self.Arrived(None, None, error))
            return
        self._camera, self._typed = Camera(session), TypedCommands(session)
        self.labels = self._camera.sources.labels()
        self._reply(None, None)

    def _reply(self, result: Any, error: BaseException | None) -> None:
        """A picture, whatever happened."""
        try:
            picture = self.camera.take(self.wishes)
        except BaseException as second:
            self.post_message(self.Arrived(None, None, error or second))
        else:
            self.post_message(self.Arrived(picture, result, error))

    # On the screen's thread ------------------------------------------------------------------

    def _next(self) -> None:
        if self._under_way is not None or not self._waiting:
            return
        movement = self._waiting.popleft()
        count = 1
        while movement.repeats is not None and self._waiting and _alike(movement, self._waiting[0]):
            self._waiting.popleft()
            count += 1
        self._under_way, self._since = movement, time.monotonic()
        repeats = movement.repeats
        if repeats is not None:
            self._thread.do(lambda session: repeats(session, count), self._reply)
        else:
            self._thread.do(movement.work, self._reply)

    def on_session_app_arrived(self, message: Arrived) -> None:
        """Show it, and go on with what waits."""
        movement, self._under_way = self._under_way, None
        self._is_looking_ahead = False
        if message.picture is None and self._camera is None:
            self.failure = message.error
            self.exit(2)
            return
        if message.picture is not None:
            self.picture = message.picture
            self.show_picture(message.picture)
        if message.error is not None:
            self._waiting.clear()
            self.tell_error(message.error)
        elif movement is not None and movement.then is not None:
            movement.then(message.result)
        self._begin_looking_ahead()
        self._next()
        if self._wants_look and self.is_at_rest:
            self._wants_look = False
            self.look()

    def _begin_looking_ahead(self) -> None:
        """Once, at the beginning: record what is to come, so that the timeline can show it."""
        if not self._look_ahead or self._waiting:
            return
        ahead, self._look_ahead = self._look_ahead, 0

        def look(session: Session) -> None:
            here, why = session.moment, session.stop
            if session.frontier.instructions < ahead:
                session.go_to_instruction(ahead)
                session.should_stop = None  # the way back is short, and must be gone
                session.go_to(here)
                session.stop = why

        self._is_looking_ahead = True
        self._under_way = Movement("recording ahead", look)
        self._since = time.monotonic()
        self._thread.do(look, self._reply)

    def _turn(self) -> None:
        if self._under_way is not None and time.monotonic() - self._since > _PATIENCE:
            self.show_running(self._under_way.words, self._thread.instructions)

    def tell_error(self, error: BaseException) -> None:
        """A notification, never a traceback."""
        if isinstance(error, ToyvisorError):
            text = error.message if error.hint is None else f"{error.message}\n{error.hint}"
            self.notify(text, severity="error", markup=False)
        else:
            self.notify(
                f"a fault of the stepper's, please report it: {type(error).__name__}: {error}",
                severity="error",
                markup=False,
            )


def _alike(one: Movement, other: Movement) -> bool:
    return other.repeats is not None and one.words == other.words
