"""What a prompt remembers between its commands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from toyvisor.debug.moment import Moment
from toyvisor.debug.names import SessionNames
from toyvisor.errors import UsageError
from toyvisor.ui.prompt.source_texts import SourceTexts

if TYPE_CHECKING:
    from toyvisor.debug.expressions import Expression
    from toyvisor.debug.session import Session


class Kept(NamedTuple):
    """A moment that was given a name. `path` are the changes that led to its branch."""

    moment: Moment
    path: tuple[int, ...]


class Display(NamedTuple):
    """An expression to be shown at each stop."""

    text: str
    letter: str
    expression: Expression


@dataclass(slots=True)
class Examined:
    """How `x` goes on: the next address, and what was asked for last."""

    address: int | None = None
    letter: str = "x"
    size: int = 8
    is_physical: bool = False


@dataclass(slots=True)
class Listed:
    """How `list` goes on: the file and its next line."""

    file: str | None = None
    line: int = 0


@dataclass(slots=True)
class Desk:
    """The session, and what the commands keep. `say` takes a line of the answer."""

    session: Session
    say: Callable[[str], None]
    names: SessionNames
    sources: SourceTexts
    kept: dict[str, Kept] = field(default_factory=dict)
    displays: dict[int, Display] = field(default_factory=dict)
    last_display: int = 0
    examined: Examined = field(default_factory=Examined)
    listed: Listed = field(default_factory=Listed)
    lines: list[str] = field(default_factory=list)
    #: The changes that led here, numbered; one for each branch we are deep.
    path: tuple[int, ...] = ()
    changes: int = 0
    is_over: bool = False

    @classmethod
    def of(cls, session: Session, say: Callable[[str], None]) -> Desk:
        """A new one."""
        return cls(session, say, SessionNames(session), SourceTexts(session.program))

    def follow_branch(self) -> None:
        """Somebody else may have changed the guest, or left a branch, meanwhile."""
        deep = self.session.branch
        while len(self.path) < deep:
            self.changes += 1
            self.path = (*self.path, self.changes)
        self.path = self.path[:deep]

    def value(self, text: str) -> int:
        """What an expression is now. Raises ExpressionError."""
        from toyvisor.debug.expressions import parse

        return parse(text).evaluate(self.names)

    def count(self, text: str, what: str = "how often", most: int = 10**15) -> int:
        """A number of times, 1 if nothing is given. Raises UsageError."""
        if not text:
            return 1
        number = self.value(text)
        if not 1 <= number <= most:
            raise UsageError(f"{what}: {number} is not between 1 and {most}")
        return number
