"""Tables in which each thing is once, and known by its number: what repeats is written once."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)
#: The number of the text of a key that is gone.
GONE = -1


class Interned(Generic[T]):
    """Things in the order in which they first came."""

    __slots__ = ("_numbers", "items")

    def __init__(self) -> None:
        self.items: list[T] = []
        self._numbers: dict[T, int] = {}

    def number(self, item: T) -> int:
        """The number of a thing, a new one if need be."""
        found = self._numbers.get(item)
        if found is None:
            found = self._numbers[item] = len(self.items)
            self.items.append(item)
        return found


class Differences:
    """Flat tables one after the other, each told by what is different from the one before."""

    __slots__ = ("_before", "keys", "texts")

    def __init__(self, texts: Interned[str]) -> None:
        self.keys: Interned[str] = Interned()
        self.texts = texts
        self._before: dict[str, str] = {}

    def next(self, facts: Mapping[str, str]) -> list[int]:
        """Pairs of numbers, one behind the other: of a key, and of its text (or GONE)."""
        found: list[int] = []
        for key, text in facts.items():
            if self._before.get(key) != text:
                found += (self.keys.number(key), self.texts.number(text))
        for key in self._before:
            if key not in facts:
                found += (self.keys.number(key), GONE)
        self._before = dict(facts)
        return found
