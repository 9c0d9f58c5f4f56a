"""The listing: which bytes at which address came from which line. The debugger's source map."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from toyvisor.errors import SourceLocation

BYTES_SHOWN = 10


class ListingLine(NamedTuple):
    """`data` at guest address `address`, made by `text` at `location`.

    A label alone on its line has no data.
    """

    address: int
    data: bytes
    location: SourceLocation
    text: str


class Listing:
    """All lines by ascending address."""

    __slots__ = ("_filled", "_starts", "lines")

    def __init__(self, lines: Sequence[ListingLine] = ()) -> None:
        self.lines = list(lines)
        self._starts: list[int] = []
        self._filled: list[ListingLine] = []

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Listing) and self.lines == other.lines

    __hash__ = None  # type: ignore[assignment]  # a list, by value

    def at(self, address: int) -> ListingLine | None:
        """The line whose bytes include `address`, or None. O(log n)."""
        if not self._starts:
            self._filled = [line for line in self.lines if line.data]
            self._starts = [line.address for line in self._filled]
        position = bisect_right(self._starts, address) - 1
        if position < 0:
            return None
        line = self._filled[position]
        return line if address < line.address + len(line.data) else None

    def format(self) -> str:
        """The listing as text: address, bytes, line number, source. Ends with a newline."""
        rows: list[str] = []
        digits = max((len(f"{line.address:x}") for line in self.lines), default=0)
        digits = max(digits, 4)
        file = ""
        for line in self.lines:
            if line.location.file != file:
                file = line.location.file
                rows.append(f"# {file}")
            shown = line.data[:BYTES_SHOWN].hex()
            shown += ".." if len(line.data) > BYTES_SHOWN else ""
            rows.append(
                f"{line.address:0{digits}x}  {shown:<{2 * BYTES_SHOWN + 2}} "
                f"{line.location.line:>5}  {line.text.rstrip()}".rstrip()
            )
        return "\n".join(rows) + "\n" if rows else ""
