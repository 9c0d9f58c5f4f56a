"""Collecting several errors of one program, so that a student mends them in one go."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from toyvisor.errors import SourceError

MAX_ERRORS = 20
"""After so many the rest is most likely a consequence of the first."""


class AssemblyErrors(SourceError):  # noqa: N818 - it is several
    """All errors found in one program; `str()` joins them in source order."""

    def __init__(self, errors: Sequence[SourceError], *, more: bool = False) -> None:
        first = errors[0]
        super().__init__(
            first.message, first.location, source_line=first.source_line, hint=first.hint
        )
        self.errors = tuple(errors)
        self.more = more

    def __str__(self) -> str:
        parts = [str(error) for error in self.errors]
        if self.more:
            parts.append(f"(stopped after {len(self.errors)} errors)")
        return "\n".join(parts)


class Diagnostics:
    """The errors so far. `raise_if_any()` ends the phase that filled it."""

    def __init__(self) -> None:
        self.errors: list[SourceError] = []

    def add(self, error: SourceError) -> None:
        """Note an error; at MAX_ERRORS give up and raise them all."""
        same = (error.location, error.message)
        if any((known.location, known.message) == same for known in self.errors):
            return
        self.errors.append(error)
        if len(self.errors) >= MAX_ERRORS:
            raise AssemblyErrors(self.errors, more=True)

    @contextmanager
    def collect(self) -> Iterator[None]:
        """Turn a SourceError of the block into a note, and go on after it."""
        try:
            yield
        except AssemblyErrors:
            raise
        except SourceError as error:
            self.add(error)

    def raise_if_any(self) -> None:
        """Raise the one error as itself, several as AssemblyErrors."""
        if len(self.errors) == 1:
            raise self.errors[0]
        if self.errors:
            if len({error.location.file for error in self.errors}) == 1:
                self.errors.sort(key=lambda error: error.location.line)
            raise AssemblyErrors(self.errors)
