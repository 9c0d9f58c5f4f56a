"""What an explanation is made of."""

from __future__ import annotations

from typing import NamedTuple


class Explanation(NamedTuple):
    """Words for one point of a run.

    title   one line
    what    what happens, with the values that it happens with
    why     the idea behind it
    source  the real function, or the section of the specification or manual, to read on
    """

    title: str
    what: str
    why: str
    source: str


class Idea(NamedTuple):
    """The two parts of an explanation that are always the same."""

    why: str
    source: str
