"""Commands of the prompt (`step --plain`), typed on the screen. Lives on the session's thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

from toyvisor.errors import ToyvisorError
from toyvisor.ui.stepper.rows import printable

if TYPE_CHECKING:
    from toyvisor.debug.session import Session
    from toyvisor.ui.prompt.prompt import Prompt

#: Lines of one answer that are kept; there may be millions (`info events`).
MOST_LINES = 2_000


class TypedCommands:
    """One prompt for the whole session: what it keeps (checkpoints, displays) stays."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._answer: list[str] = []
        self._prompt: Prompt | None = None

    @property
    def is_over(self) -> bool:
        """`quit` was typed."""
        return self._prompt is not None and self._prompt.is_over

    def execute(self, line: str) -> list[str]:
        """The lines of the answer. Raises ToyvisorError for a line that makes no sense."""
        self._answer = []
        self._made().execute(line)
        return self._answer

    def answer(self, line: str) -> list[str]:
        """The same; a mistake is an answer, too."""
        from toyvisor.ui.prompt.prompt import error_lines

        try:
            return self.execute(line)
        except ToyvisorError as error:
            return self._answer + error_lines(error)

    def completions(self, text: str) -> list[str]:
        """What the whole line may become, its last word completed."""
        from toyvisor.ui.prompt.completion import DELIMITERS, candidates

        start = max((text.rfind(character) for character in DELIMITERS), default=-1) + 1
        before, word = text[:start], text[start:]
        return [f"{before}{one}" for one in candidates(self._made().desk, before, word)]

    def _made(self) -> Prompt:
        from toyvisor.ui.prompt.prompt import Prompt

        if self._prompt is None:
            self._prompt = Prompt(self._session, self._say)
        return self._prompt

    def _say(self, line: str) -> None:
        if len(self._answer) < MOST_LINES:
            self._answer += [printable(part) for part in line.split("\n")]
        elif len(self._answer) == MOST_LINES:
            self._answer.append(f"... ({MOST_LINES:,} lines are shown)")
