"""A prompt that keeps what it says."""

from __future__ import annotations

from toyvisor.debug.session import Session
from toyvisor.errors import ToyvisorError
from toyvisor.ui.prompt.prompt import Prompt, error_lines


class Told:
    """A prompt and its answers."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._said: list[str] = []
        self.prompt = Prompt(session, self._said.append)

    def __call__(self, *lines: str) -> list[str]:
        """What is said to some lines, errors too."""
        self._said.clear()
        for line in lines:
            try:
                self.prompt.execute(line)
            except ToyvisorError as error:
                self._said += error_lines(error)
        return list(self._said)

    def first(self, line: str) -> str:
        """The first line of an answer."""
        return self(line)[0]
