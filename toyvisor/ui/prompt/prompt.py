"""The prompt without a terminal: lines in, lines out. Pipes, scripts and the screen use it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from toyvisor.debug.expressions import ExpressionError
from toyvisor.errors import ToyvisorError, UsageError
from toyvisor.memory import GuestMemoryError
from toyvisor.ui.prompt.commands import find_command
from toyvisor.ui.prompt.desk import Desk
from toyvisor.ui.prompt.info_state import program_lines
from toyvisor.ui.prompt.moving import report
from toyvisor.ui.prompt.place_text import printable

if TYPE_CHECKING:
    from toyvisor.debug.session import Session

#: What stands before each line that is typed.
PROMPT = "(toyvisor) "
MOST_CHARACTERS = 2000
_COMMAND = re.compile(r"(?P<word>[A-Za-z?][A-Za-z-]*|\S)(?P<format>/\S*)?\s*(?P<argument>.*)", re.S)


class Prompt:
    """One session, one command after the other. `say` takes each line of the answers."""

    def __init__(self, session: Session, say: Callable[[str], None]) -> None:
        self.desk = Desk.of(session, lambda line: say(printable(line)))
        self._last = ""

    @property
    def is_over(self) -> bool:
        """`quit` was typed."""
        return self.desk.is_over

    def welcome(self) -> None:
        """Say what program and machine this is, and where it stands."""
        for line in program_lines(self.desk):
            self.desk.say(line)
        report(self.desk)

    def execute(self, line: str, *, can_repeat: bool = True) -> None:
        """Do what a line says; nothing for a comment. An empty one repeats the last movement.

        Raises ToyvisorError for a line that makes no sense; the session stands where it stood.
        """
        text = line.strip()
        if text.startswith("#"):
            return
        if not text:
            if can_repeat and self._last:
                self._execute(self._last)
            return
        if len(text) > MOST_CHARACTERS:
            raise UsageError(f"a line is at most {MOST_CHARACTERS} characters long")
        self.desk.lines.append(text)
        self.desk.follow_branch()
        self._execute(text)

    def _execute(self, text: str) -> None:
        found = _COMMAND.match(text)
        assert found is not None
        command = find_command(found["word"])
        argument = found["argument"].strip()
        form = found["format"] or ""
        if argument.startswith("/") and command.has_format and not form:  # `x /4gx rsp`
            form, _, argument = argument.partition(" ")
        if form and not command.has_format:
            raise UsageError(f"{command.name} takes no format", hint=f"it is: {command.usage}")
        if argument and not command.argument:
            raise UsageError(f"{command.name} takes no argument", hint=f"it is: {command.usage}")
        command.do(self.desk, f"{form} {argument}".strip())
        if command.repeats:  # `x` and `list` go on where they ended, all others do the same again
            goes_on = command.name in ("x", "xp", "list")
            self._last = f"{command.name}{form}" if goes_on else text


def error_lines(error: ToyvisorError) -> list[str]:
    """An error as the prompt says it: in an expression, with a mark below the place."""
    return [printable(line) for line in _error_lines(error)]


def _error_lines(error: ToyvisorError) -> list[str]:
    if isinstance(error, ExpressionError) and len(error.text) <= 70 and error.text.isprintable():
        lines = [f"error: {error.what}", f"  {error.text}", f"  {'^':>{error.column}}"]
        return [*lines, f"hint: {error.hint}"] if error.hint else lines
    if isinstance(error, GuestMemoryError):
        return [f"error: {error.message}"]
    return str(error).splitlines()
