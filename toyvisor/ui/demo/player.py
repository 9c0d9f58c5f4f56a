"""Plays cards on a screen: hands-free, or key by key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from toyvisor.ui.demo.cards import Beat, Card, beats
from toyvisor.ui.demo.keyboard import Keys
from toyvisor.ui.demo.scene import Scene, SceneMaker
from toyvisor.ui.demo.screen import Frame

if TYPE_CHECKING:
    from toyvisor.debug.session import Session

#: So often somebody looks whether the terminal has another size.
_GLANCE = 0.5
END_KEYS = "← back   q quit"


class Stage(Protocol):
    """Where frames are shown."""

    def show(self, frame: Frame) -> None:
        """Draw a frame."""

    def has_changed(self) -> bool:
        """The size is another one since the last frame."""


class Player:
    """One show of one session. `speed` 2 is twice as fast."""

    def __init__(
        self,
        session: Session,
        cards: Sequence[Card],
        title: str,
        stage: Stage,
        keys: Keys,
        *,
        speed: float = 1.0,
    ) -> None:
        self._session, self._cards, self._title = session, cards, title
        self._stage, self._keys, self._speed = stage, keys, speed
        self._scenes = SceneMaker(session)
        self._is_paused = False

    def play(self) -> None:
        """From the first card to the last, and until somebody leaves, if anybody is there."""
        number, only_rest = 0, False
        while 0 <= number < len(self._cards):
            key = self._play_card(number, only_rest=only_rest)
            if key == "q":
                return
            only_rest = key == "left"
            number = max(number - 1, 0) if key == "left" else number + 1
            if number == len(self._cards):
                if not self._keys.can_press or not self._stay(number - 1):
                    return
                number, only_rest = max(number - 2, 0), True

    def _play_card(self, number: int, *, only_rest: bool) -> str | None:
        """The key that ended it: right, left, q; None: its time was over."""
        card = self._cards[number]
        for beat in beats(card):
            if only_rest and not beat.is_last:
                continue
            key = self._show(beat, number)
            if key == "right" and not beat.is_last:  # first to the card itself
                key = self._show(list(beats(card))[-1], number)
            if key is not None:
                return key
        return None

    def _show(self, beat: Beat, number: int) -> str | None:
        """Show one moment for its time. Returns right, left or q, or None."""
        self._session.go_to(beat.moment)
        scene = self._scenes.take(self._cards[number].show)
        left = beat.seconds / self._speed
        self._draw(scene, number)
        while True:
            key = self._keys.wait(_GLANCE if self._is_paused else min(left, _GLANCE))
            if key == "space":
                self._is_paused = not self._is_paused
                self._draw(scene, number)
            elif key is not None:
                return key
            elif not self._is_paused:
                left -= _GLANCE
                if left <= 0:
                    return None
            if self._stage.has_changed():
                self._draw(scene, number)

    def _stay(self, number: int) -> bool:
        """The last picture stays; True: go back to the card before."""
        scene = self._scenes.take(self._cards[number].show)
        self._draw(scene, number, state="the end", keys=END_KEYS)
        while True:
            key = self._keys.wait(_GLANCE)
            if key in ("q", "left"):
                return key == "left"
            if self._stage.has_changed():
                self._draw(scene, number, state="the end", keys=END_KEYS)

    def _draw(self, scene: Scene, number: int, state: str = "", keys: str = "") -> None:
        caption = self._cards[number].caption
        frame = Frame(scene, self._title, caption, number + 1, len(self._cards))
        state = state or ("paused" if self._is_paused else "▶")
        self._stage.show(frame._replace(state=state, keys=keys or frame.keys))
