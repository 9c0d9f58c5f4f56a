"""The result of assembling, and its form in the cache."""

from __future__ import annotations

import base64
from typing import Any, NamedTuple

from toyvisor.errors import SourceLocation
from toyvisor.guest.listing import Listing, ListingLine


class Assembly(NamedTuple):
    """A flat binary for one load address, with its symbols and source map.

    `entry` is the label `_start` or `start` if there is one, else `origin`.
    """

    origin: int
    image: bytes
    entry: int
    symbols: dict[str, int]
    listing: Listing

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `from_json` reads back."""
        return {
            "origin": self.origin,
            "image": base64.b64encode(self.image).decode("ascii"),
            "entry": self.entry,
            "symbols": self.symbols,
            "lines": [
                [li.address, len(li.data), li.location.file, li.location.line,
                 li.location.column, li.text]
                for li in self.listing.lines
            ],
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Assembly:
        """The Assembly of a JSON object. Raises KeyError, ValueError or TypeError if it is none."""
        origin, image = int(data["origin"]), base64.b64decode(data["image"], validate=True)
        lines = [
            ListingLine(
                address,
                image[address - origin : address - origin + size],
                SourceLocation(file, line, column),
                text,
            )
            for address, size, file, line, column, text in data["lines"]
        ]
        symbols = {str(name): int(value) for name, value in data["symbols"].items()}
        return cls(origin, image, int(data["entry"]), symbols, Listing(lines))
