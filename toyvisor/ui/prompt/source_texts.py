"""The texts of a program's source files, for `list`."""

from __future__ import annotations

from pathlib import Path

from toyvisor.errors import InputError
from toyvisor.guest.program import Program
from toyvisor.guest.source import read_source


class SourceTexts:
    """Reads each file once. Of one that is gone, the listing has the lines that made bytes."""

    def __init__(self, program: Program) -> None:
        self._listing = program.assembly.listing
        self._texts: dict[str, list[str]] = {}

    def lines(self, file: str) -> list[str]:
        """The lines of a file, with blanks for tabs."""
        if file not in self._texts:
            self._texts[file] = [text.expandtabs(8) for text in self._read(file)]
        return self._texts[file]

    def _read(self, file: str) -> list[str]:
        try:
            return [line.text for line in read_source(Path(file)).lines()]
        except InputError:
            known = {
                line.location.line: line.text
                for line in self._listing.lines
                if line.location.file == file
            }
            return [known.get(number, "") for number in range(1, max(known, default=0) + 1)]
