"""The sources of a program, by file: their text, and which lines have made instructions."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from toyvisor.debug.breakpoints import BreakpointKind
from toyvisor.errors import InputError
from toyvisor.guest.source import read_source
from toyvisor.ui.stepper.picture import SourceState
from toyvisor.ui.stepper.rows import printable

if TYPE_CHECKING:
    from toyvisor.debug.session import Session
    from toyvisor.guest.program import Program


class SourceFiles:
    """Reads each file once. What can't be read any more is shown from the listing."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._texts: dict[str, tuple[str, ...]] = {}
        self._code: dict[str, dict[int, int]] = defaultdict(dict)
        for line in program.assembly.listing.lines:
            if line.data:
                place = self._code[line.location.file]
                place.setdefault(line.location.line, line.address)
        self._last = str(program.path)

    def code_at(self, file: str, line: int) -> int:
        """Where the code of a line begins, or of the next line that has any; else InputError."""
        code = self._code.get(file, {})
        following = [number for number in code if number >= line]
        if not following:
            raise InputError(f"{Path(file).name}: there is no code at line {line} or below it")
        return code[min(following)]

    def labels(self) -> tuple[str, ...]:
        """Names of places in the program, in order of the alphabet."""
        assembly = self._program.assembly
        end = assembly.origin + len(assembly.image)
        return tuple(
            sorted(n for n, value in assembly.symbols.items() if assembly.origin <= value < end)
        )

    def state(self, session: Session, rip: int) -> SourceState:
        """The file that the guest is in; where there is none, the last one it was in."""
        line = session.line_at(rip)
        if line is not None:
            self._last = line.location.file
        file = self._last
        breakpoints: dict[int, bool] = {}
        for one in session.breakpoints:
            if one.kind is BreakpointKind.ADDRESS:
                at = session.line_at(one.address)
                if at is not None and at.location.file == file:
                    breakpoints[at.location.line] = one.enabled
        return SourceState(
            file,
            self.lines(file),
            line.location.line if line is not None else None,
            breakpoints,
            frozenset(self._code.get(file, ())),
        )

    def unvisited(self, file: str) -> SourceState:
        """A file that the guest is not in."""
        return SourceState(file, self.lines(file), code=frozenset(self._code.get(file, ())))

    def lines(self, file: str) -> tuple[str, ...]:
        """The text of a file, without tabs and what can't be printed."""
        if file not in self._texts:
            self._texts[file] = tuple(
                printable(text.expandtabs(8)) for text in self._read(file)
            )  # fmt: skip
        return self._texts[file]

    def search(self, words: str) -> list[tuple[str, int, str]]:
        """Lines that have `words`, in any case: (file, number, text)."""
        wanted = words.lower()
        files = dict.fromkeys([str(self._program.path), *self._code])
        return [
            (file, number, text)
            for file in files
            for number, text in enumerate(self.lines(file), 1)
            if wanted in text.lower()
        ]

    def _read(self, file: str) -> list[str]:
        try:
            return [line.text for line in read_source(Path(file)).lines()]
        except InputError:
            lines = {
                line.location.line: line.text
                for line in self._program.assembly.listing.lines
                if line.location.file == file
            }
            return [lines.get(number, "") for number in range(1, max(lines, default=0) + 1)]
