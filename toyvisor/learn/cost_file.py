"""Reading cost tables: the shipped one, and the changes a person makes to it.

A file is TOML. An entry is a number, `vmexit = 1300`, or a table with `cycles` and, if you
like, `basis` and `source`. Every error names file, line and column.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from functools import cache
from math import isfinite
from pathlib import Path
from typing import Any

from toyvisor.errors import InputError, SourceError, SourceLocation
from toyvisor.learn.cost_model import KEYS, Cost, CostTable

SHIPPED = Path(__file__).with_name("costs.toml")
MOST_CYCLES = 1e12
_MAX_BYTES = 1 << 20
_FIELDS = ("cycles", "basis", "source")


def read_costs(path: str | Path) -> CostTable:
    """The shipped table with the entries of a file in place of its own.

    Raises InputError if the file can't be read, SourceError for what is wrong in it.
    """
    name = str(path)
    shipped = shipped_costs()
    costs = _Parser(name, _read(name)).costs()
    return shipped.changed({key: _cited(cost, shipped[key], name) for key, cost in costs.items()})


def to_toml(costs: Mapping[str, Cost], heading: str) -> str:
    """A file that read_costs() reads, `heading` its comment."""
    lines = [f"# {line}".rstrip() for line in heading.splitlines()]
    for key, cost in costs.items():
        source = cost.source.replace("\\", "\\\\").replace('"', '\\"')
        lines += ["", f"[{key}]", f"cycles = {cost.cycles:.6g}", f'basis = "{cost.basis}"']
        lines.append(f'source = "{source}"')
    return "\n".join(lines) + "\n"


def _cited(cost: Cost, shipped: Cost, name: str) -> Cost:
    """Where a shipped figure was changed but its source left, the source is the file."""
    if cost.cycles != shipped.cycles and cost.source == shipped.source:
        return Cost(cost.cycles, "yours", name)
    return cost


@cache
def shipped_costs() -> CostTable:
    """The table that comes with Toyvisor."""
    return CostTable(_Parser(SHIPPED.name, SHIPPED.read_text("utf-8")).costs())


def _read(name: str) -> str:
    try:
        with open(name, "rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{name}: can't read the cost table: {reason}") from None
    if len(data) > _MAX_BYTES:
        raise InputError(f"{name}: a cost table of more than {_MAX_BYTES} bytes")
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InputError(
            f"{name}: the cost table is not UTF-8 text: byte {data[error.start]:#04x} "
            f"in line {line}"
        ) from None


class _Parser:
    """One file's text, its TOML, and the places of what is in it."""

    def __init__(self, name: str, text: str) -> None:
        self._name = name
        self._lines = text.split("\n")
        self._table = self._parse(text)

    def costs(self) -> dict[str, Cost]:
        """The entries, validated."""
        return {key: self._cost(key, value) for key, value in self._table.items()}

    def _parse(self, text: str) -> dict[str, Any]:
        try:
            return tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            match = re.search(r" \(at (?:line (\d+), column (\d+)|end of document)\)\Z", str(error))
            what = str(error)[: match.start()] if match else str(error)
            line, column = len(self._lines), 1
            if match and match.group(1):
                line, column = int(match.group(1)), int(match.group(2))
            raise self._error(f"not TOML: {what}", (line, column)) from None
        except RecursionError:
            raise self._error("nested too deep", (1, 1)) from None

    def _cost(self, key: str, value: Any) -> Cost:
        if key not in KEYS:
            raise self._unknown(key, "there is no cost", key, KEYS)
        if not isinstance(value, Mapping):
            return Cost(self._cycles(key, None, value), "yours", self._name)
        for name in value:
            if name not in _FIELDS:
                raise self._unknown(name, f"{key} has no", name, _FIELDS, key)
        if "cycles" not in value:
            raise self._error(f"{key} has no cycles", self._place(key), f"[{key}] cycles = 100")
        return Cost(
            self._cycles(key, "cycles", value["cycles"]),
            self._text(key, "basis", value, "yours"),
            self._text(key, "source", value, self._name),
        )

    def _cycles(self, key: str, name: str | None, value: Any) -> float:
        place = self._place(key, name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._error(f"{key} is a number of cycles, not {value!r}", place, f"{key} = 100")
        if isinstance(value, float) and not isfinite(value):
            raise self._error(f"{key} is a number of cycles, not {value}", place)
        if value < 0:
            raise self._error(f"{key} can't cost less than nothing: {value}", place)
        if value > MOST_CYCLES:
            raise self._error(f"{key} is out of range: at most {MOST_CYCLES:.0e} cycles", place)
        return value

    def _text(self, key: str, name: str, value: Mapping[str, Any], default: str) -> str:
        text = value.get(name, default)
        if not isinstance(text, str):
            raise self._error(f"{key}.{name} is a text in quotes", self._place(key, name))
        return " ".join(text.split())

    def _unknown(
        self, wrong: str, what: str, key: str, known: tuple[str, ...], inside: str | None = None
    ) -> SourceError:
        close = difflib.get_close_matches(wrong.lower().replace("-", "_"), known, 1)
        hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"
        place = self._place(key) if inside is None else self._place(inside, key)
        return self._error(f"{what} '{wrong}'", place, hint)

    def _place(self, key: str, name: str | None = None) -> tuple[int, int]:
        """Line and column of an entry, or of a name inside of it; (1, 1) if it hides."""
        start = self._find(rf"""^\s*(?:\[\s*)?["']?({re.escape(key)})["']?\s*[\]=.]""", 0)
        if start is None:
            return 1, 1
        if name is None:
            return start
        pattern = rf"""(?:^\s*|[{{,.]\s*)["']?({re.escape(name)})["']?\s*="""
        return self._find(pattern, start[0] - 1) or start

    def _find(self, pattern: str, first: int) -> tuple[int, int] | None:
        compiled = re.compile(pattern)
        for number in range(first, len(self._lines)):
            match = compiled.search(self._lines[number])
            if match:
                return number + 1, match.start(1) + 1
        return None

    def _error(self, message: str, place: tuple[int, int], hint: str | None = None) -> SourceError:
        line, column = place
        text = self._lines[line - 1] if 0 < line <= len(self._lines) else None
        return SourceError(
            message, SourceLocation(self._name, line, column), source_line=text, hint=hint
        )
