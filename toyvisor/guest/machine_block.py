"""Finding the machine block in a program's comments, and the places of what is in it."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from toyvisor.errors import SourceError, SourceLocation
from toyvisor.guest.source import SourceLine, SourceText

_OPEN = re.compile(r"\s*(;|#|//)\s*///\s*(\w+)\s*\Z")
_CLOSE = re.compile(r"\s*(;|#|//)\s*///\s*\Z")
_COMMENT = re.compile(r"\s*(?:;|#|//) ?")

EXAMPLE = """
; /// machine
; title = "my program"
; mode = "long"
; memory = "2M"
; devices = ["serial"]
; ///"""


class MachineBlock(NamedTuple):
    """A parsed block: its TOML table, its lines, and how wide the comment sign before each is."""

    table: dict[str, Any]
    opening: SourceLine
    lines: tuple[SourceLine, ...]
    texts: tuple[str, ...]

    def has(self, key: str) -> bool:
        """Whether the block gives this key."""
        return key in self.table

    def source_line(self, number: int) -> str | None:
        """The text of a line of the block by its number in the file."""
        offset = number - self.opening.number - 1
        return self.lines[offset].text if 0 <= offset < len(self.lines) else None

    def error(self, message: str, key: str | None, hint: str | None = None) -> SourceError:
        """An error at a key, or at the block's beginning."""
        place = self._find_key(key) if key is not None else None
        if place is None:
            return self.opening.error(message, _first_column(self.opening.text), hint)
        line, column = place
        return self.lines[line].error(message, self._column(line, column), hint)

    def entry(self, key: str, index: int, value: Any) -> SourceLocation:
        """Where the `index`-th entry of a list stands: its text, or where the list begins."""
        place = self._find_key(key)
        if place is None:
            return self.opening.at(_first_column(self.opening.text))
        name = value.get("type") if isinstance(value, dict) else value
        wanted = self._find_entry(place, index, name)
        line, column = wanted or place
        return self.lines[line].at(self._column(line, column))

    def _find_entry(self, place: tuple[int, int], index: int, name: Any) -> tuple[int, int] | None:
        """The entry by its own text; of equal ones before it, as many are skipped."""
        if not isinstance(name, str):
            return None
        earlier = self.table["devices"][:index] if "devices" in self.table else []
        names = [e.get("type") if isinstance(e, dict) else e for e in earlier]
        skip = names.count(name)
        pattern = re.compile(rf"""["']{re.escape(name)}["']""")
        for line in range(place[0], len(self.texts)):
            start = place[1] if line == place[0] else 0
            for match in pattern.finditer(self.texts[line], start):
                if skip == 0:
                    return line, match.start()
                skip -= 1
        return None

    def _find_key(self, key: str) -> tuple[int, int] | None:
        pattern = re.compile(rf"""(?:^|[\s{{,\[.]|")({re.escape(key)})"?\s*(?:=|\.|\])""")
        for number, text in enumerate(self.texts):
            match = pattern.search(text)
            if match:
                return number, match.start(1)
        return None

    def _column(self, line: int, column: int) -> int:
        return len(self.lines[line].text) - len(self.texts[line]) + column + 1


def _first_column(text: str) -> int:
    return len(text) - len(text.lstrip()) + 1


def find_block(source: SourceText) -> MachineBlock:
    """The one machine block of a program. Raises SourceError when there is none, or two."""
    lines = source.lines()
    opening: int | None = None
    found: MachineBlock | None = None
    for number, line in enumerate(lines):
        match = _OPEN.match(line.text)
        if match and match.group(2) != "machine" and opening is None:
            raise line.error(
                f"unknown block '{match.group(2)}'", match.start(2) + 1, "did you mean machine?"
            )
        if match and opening is None:
            if found is not None:
                raise line.error(
                    f"a second machine block; the first is in line {found.opening.number}",
                    _first_column(line.text),
                )
            opening = number
        elif opening is not None and _CLOSE.match(line.text):
            found = _parse(lines[opening], lines[opening + 1 : number])
            opening = None
        elif opening is not None and not _COMMENT.match(line.text):
            raise _unterminated(lines[opening])
    if opening is not None:
        raise _unterminated(lines[opening])
    if found is None:
        first = lines[0] if lines else SourceLine(source.name, 1, "")
        raise first.error(
            "this program does not say what machine it runs on", 1, f"begin it with{EXAMPLE}"
        )
    return found


def _unterminated(opening: SourceLine) -> SourceError:
    return opening.error(
        "this machine block is never closed", _first_column(opening.text), "end it with `; ///`"
    )


def _parse(opening: SourceLine, lines: list[SourceLine]) -> MachineBlock:
    import tomllib

    texts = tuple(_COMMENT.sub("", line.text, count=1) for line in lines)
    try:
        table = tomllib.loads("\n".join(texts) + "\n")
    except tomllib.TOMLDecodeError as error:
        raise _toml_error(opening, lines, texts, str(error)) from None
    except RecursionError:
        raise opening.error("the machine block is nested too deep", 1) from None
    return MachineBlock(table, opening, tuple(lines), texts)


def _toml_error(
    opening: SourceLine, lines: list[SourceLine], texts: tuple[str, ...], message: str
) -> SourceError:
    """tomllib says `... (at line 2, column 5)`; students want the line of their file."""
    match = re.search(r" \(at line (\d+), column (\d+)\)\Z", message)
    if match is None or int(match.group(1)) > len(lines):
        what = message[: match.start()] if match else message.removesuffix(" (at end of document)")
        line, column = (lines[-1] if lines else opening), 1
    else:
        what, number = message[: match.start()], int(match.group(1)) - 1
        line = lines[number]
        column = len(line.text) - len(texts[number]) + int(match.group(2))
    hint = 'texts need quotes: mode = "long"' if what == "Invalid value" else None
    return line.error(f"the machine block is not TOML: {what}", column, hint)
