"""Places in a guest program by the names that a person has for them.

0x100010          an address
loop              a label, also with an offset: loop+4, buffer-0x10
12                a line of the program's own file: its first instruction, or the next one
pic.inc:30        a line of another file
"""

from __future__ import annotations

import difflib
import re
from bisect import bisect_left
from functools import cached_property
from pathlib import PurePath

from toyvisor.errors import InputError
from toyvisor.guest.assembly import Assembly
from toyvisor.guest.listing import ListingLine

_OFFSET = re.compile(r"(?P<label>[^+\-]+?)\s*(?P<sign>[+-])\s*(?P<offset>0x[0-9a-fA-F]+|\d+)$")


class Places:
    """The lines and labels of one program."""

    def __init__(self, assembly: Assembly, main_file: str) -> None:
        self._assembly = assembly
        self._main = PurePath(main_file).name

    def line_at(self, address: int) -> ListingLine | None:
        """The source line that made the byte at an address."""
        return self._assembly.listing.at(address)

    def line_key(self, address: int) -> object | None:
        """The same for all addresses of one line. One line in a loop of macros is one line."""
        line = self.line_at(address)
        return None if line is None else (line.location.file, line.location.line)

    def resolve(self, place: str) -> int:
        """The address of a place. Raises InputError, naming what is near."""
        text = place.strip().removeprefix("*")
        if not text:
            raise InputError("no place given", hint="an address, a label, a line, or file:line")
        if re.fullmatch(r"0[xX][0-9a-fA-F]+", text):
            return int(text, 16)
        if text.isdecimal():
            return self._line(self._main, int(text))
        symbols = self._assembly.symbols
        if text in symbols:
            return symbols[text]
        if found := _OFFSET.match(text):
            offset = int(found["offset"], 0) * (-1 if found["sign"] == "-" else 1)
            return (self.resolve(found["label"]) + offset) & (1 << 64) - 1
        file, colon, line = text.rpartition(":")
        if colon and line.isdecimal():
            return self._line(file, int(line))
        close = difflib.get_close_matches(text, symbols, 3, 0.5)
        hint = f"did you mean {' or '.join(close)}?" if close else "`info labels` lists them"
        raise InputError(f"there is no label '{text}'", hint=hint)

    def _line(self, file: str, number: int) -> int:
        name = PurePath(file).name
        lines = self._by_file.get(name)
        if lines is None:
            raise InputError(
                f"no code comes from a file {file}", hint=f"there is {', '.join(self._by_file)}"
            )
        position = bisect_left(lines, (number, 0))
        if position == len(lines):
            raise InputError(
                f"there is no code at line {number} of {name}, nor behind it",
                hint=f"its last line with code is {lines[-1][0]}",
            )
        return lines[position][1]

    @cached_property
    def _by_file(self) -> dict[str, list[tuple[int, int]]]:
        found: dict[str, list[tuple[int, int]]] = {}
        for line in self._assembly.listing.lines:
            if line.data:
                rows = found.setdefault(PurePath(line.location.file).name, [])
                rows.append((line.location.line, line.address))
        for rows in found.values():
            rows.sort()
        return found
