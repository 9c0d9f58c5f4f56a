"""What a command of the prompt is, and how one is found by what was typed."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, TypeVar

from toyvisor.errors import UsageError
from toyvisor.ui.prompt.desk import Desk

Handler = Callable[[Desk, str], None]


class Command(NamedTuple):
    """One command, or one topic of `info`. `completes` says what its argument is (completion.py).

    `repeats`: an empty line does it again. `has_format`: it takes a `/x` right behind its name.
    """

    names: tuple[str, ...]
    argument: str
    meaning: str
    do: Handler
    completes: str = ""
    repeats: bool = False
    has_format: bool = False

    @property
    def name(self) -> str:
        """The name in full."""
        return self.names[0]

    @property
    def usage(self) -> str:
        """`step, s [COUNT]`."""
        return f"{', '.join(self.names)} {self.argument}".rstrip()


def by_name(commands: Iterable[Command]) -> dict[str, Command]:
    """All of them, by each of their names."""
    return {name: command for command in commands for name in command.names}


_Thing = TypeVar("_Thing")


def find(word: str, table: Mapping[str, _Thing], what: str, hint: str) -> _Thing:
    """What a name stands for, or a beginning that only one has.

    Raises UsageError: `what` is not there, did you mean another? `hint` if none is near.
    """
    if word in table:
        return table[word]
    begun = {id(one): name for name, one in table.items() if name.startswith(word)}
    if len(begun) == 1:
        return table[next(iter(begun.values()))]
    near = list(begun.values())[:4] or difflib.get_close_matches(word, table, 3)
    meant = f"did you mean {' or '.join(near)}?" if near else hint
    raise UsageError(f"{what} {word!r}", hint=meant)
