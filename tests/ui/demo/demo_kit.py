"""Shows of shipped programs; a stage that remembers, and somebody with a plan at the keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from toyvisor.commands.machine_options import device_options
from toyvisor.commands.run import default_net
from toyvisor.debug.session import Session
from toyvisor.guest.program import load_program
from toyvisor.host.net import open_net
from toyvisor.ui.demo.cards import Card
from toyvisor.ui.demo.screen import Frame
from toyvisor.ui.demo.script import Script, read_script, shipped_scripts

SHIPPED = sorted(shipped_scripts())


def session_of(name: str, device: Sequence[str] = (), **more: Any) -> Session:
    program = load_program(name)
    options = device_options(device, program)
    return Session(program, open_net(default_net(program)), options=options, **more)


def script(name: str) -> Script:
    return read_script(shipped_scripts()[name])


def session_for(of: Script) -> Session:
    return session_of(of.program, of.device)


class Stage:
    """Remembers the frames that were shown."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.changes = 0

    def show(self, frame: Frame) -> None:
        self.frames.append(frame)

    def has_changed(self) -> bool:
        """So often another size."""
        self.changes -= 1
        return self.changes >= 0

    @property
    def numbers(self) -> list[int]:
        return [frame.number for frame in self.frames]


class Plan:
    """Keys pressed one after the other, "" for none while the time runs out."""

    def __init__(self, *keys: str, can_press: bool = True) -> None:
        self.can_press = can_press
        self._keys = list(keys)
        self.waited: list[float] = []

    def wait(self, seconds: float | None) -> str | None:
        self.waited.append(seconds or 0.0)
        if self._keys:
            return self._keys.pop(0) or None
        return "q" if self.can_press else None


def captions(cards: Sequence[Card]) -> list[str]:
    return [card.caption for card in cards]
