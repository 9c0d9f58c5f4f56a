"""The prompt at a terminal, at a pipe, and from a file of commands."""

from __future__ import annotations

import sys
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from toyvisor.errors import InputError, ToyvisorError
from toyvisor.ui.prompt.interrupts import CtrlC
from toyvisor.ui.prompt.place_text import printable
from toyvisor.ui.prompt.prompt import PROMPT, Prompt, error_lines

if TYPE_CHECKING:
    from toyvisor.debug.session import Session

EXIT_INTERRUPTED = 130
_MOST_SCRIPT_BYTES = 1 << 20


class ScriptError(InputError):
    """An error in a file of commands: `FILE:LINE: error: ...`."""

    def __init__(self, file: str, line: int, cause: ToyvisorError) -> None:
        super().__init__(cause.message, hint=cause.hint)
        self._place = f"{file}:{line}"

    def __str__(self) -> str:
        return f"{self._place}: {super().__str__()}"


def read_script(name: str) -> list[str]:
    """The lines of a file of commands. Raises InputError."""
    try:
        data = Path(name).read_bytes()
        if len(data) > _MOST_SCRIPT_BYTES:
            raise InputError(f"{name} is too long for a file of commands: {len(data):,} bytes")
        return data.decode("utf-8").splitlines()
    except UnicodeDecodeError:
        raise InputError(f"{name} is not text: no file of commands") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"can't read {name}: {reason}") from None


class Talk:
    """One prompt on standard input and output. Errors go to standard error."""

    def __init__(self, session: Session) -> None:
        self.prompt = Prompt(session, _say)
        self._ctrl_c = CtrlC(session)

    def run(self, script: str | None = None) -> int:
        """All of it; returns the exit status: 0, or 130 after Ctrl-C.

        With a file of commands, what is typed comes behind it, and a pipe is not read.
        Raises ScriptError at the first error in the file.
        """
        lines = read_script(script) if script is not None else None
        if isinstance(sys.stdin, TextIOWrapper):  # bytes that are no text: a mistake like others
            sys.stdin.reconfigure(errors="backslashreplace")
        with self._ctrl_c:
            try:
                self.prompt.welcome()
                sys.stdout.flush()
                if script is not None and lines is not None:
                    self._script(script, lines)
                if self.prompt.is_over:
                    return 0
                if sys.stdin is not None and sys.stdin.isatty():
                    return self._terminal()
                if self._ctrl_c.presses:
                    return EXIT_INTERRUPTED
                if lines is None and sys.stdin is not None:
                    self._pipe(sys.stdin)
            except KeyboardInterrupt:
                sys.stdout.flush()
                return EXIT_INTERRUPTED
        return 0

    def _script(self, name: str, lines: list[str]) -> None:
        """All lines, unless one quits, or is stopped by Ctrl-C."""
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                self._execute(line, echoes=True)
            except ToyvisorError as error:
                raise ScriptError(name, number, error) from error
            if self.prompt.is_over or self._ctrl_c.presses:
                return

    def _pipe(self, stream: TextIO) -> None:
        for line in stream:
            self._try(line, echoes=True)
            if self.prompt.is_over:
                return

    def _terminal(self) -> int:
        from toyvisor.ui.prompt.line_editor import editing

        pressed = False  # Ctrl-C, and nothing else since
        with editing(self.prompt.desk):
            while not self.prompt.is_over:
                try:
                    line = input(PROMPT)
                    pressed = False
                    self._try(line)
                except EOFError:
                    _say("")
                    break
                except KeyboardInterrupt:
                    _say("")
                    if pressed:
                        return EXIT_INTERRUPTED
                    pressed = True
        return 0

    def _try(self, line: str, *, echoes: bool = False) -> None:
        try:
            self._execute(line, echoes=echoes)
        except ToyvisorError as error:
            sys.stdout.flush()
            for text in error_lines(error):
                print(text, file=sys.stderr, flush=True)

    def _execute(self, line: str, *, echoes: bool = False) -> None:
        """Do it; `echoes`: print it first, so that a transcript reads as if it had been typed."""
        with self._ctrl_c.stops_the_guest():
            if echoes:
                _say(f"{PROMPT}{printable(line.rstrip())}".rstrip())
                sys.stdout.flush()
            self.prompt.execute(line)
        sys.stdout.flush()
        if self._ctrl_c.presses > 1:  # pressed again before the guest had stopped
            raise KeyboardInterrupt


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
