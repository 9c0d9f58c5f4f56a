"""Where each name is defined, and which definition a use of it means."""

from __future__ import annotations

import difflib
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field

from toyvisor.errors import SourceError
from toyvisor.guest import registers
from toyvisor.guest.source import SourceLine


@dataclass(frozen=True, slots=True)
class Definition:
    """One definition of a name, made by the statement of that index."""

    statement: int
    line: SourceLine
    kind: str
    """label, fixed (equ: once) or set (may be given again)."""


@dataclass(slots=True)
class SymbolTable:
    """All definitions in order. `given` are names with values from outside the program."""

    given: dict[str, int] = field(default_factory=dict)
    definitions: dict[str, list[Definition]] = field(default_factory=dict)
    numeric: dict[str, list[int]] = field(default_factory=dict)
    """Numeric label to the statements that define it, ascending."""

    def is_defined(self, name: str) -> bool:
        """Whether the program itself defines it so far."""
        return name in self.definitions

    def add_label(self, line: SourceLine, name: str, column: int, statement: int) -> None:
        """Define a label; SourceError if the name is taken."""
        self._add(line, name, column, Definition(statement, line, "label"))

    def add_assignment(
        self, line: SourceLine, name: str, column: int, statement: int, *, fixed: bool
    ) -> None:
        """Define a constant; SourceError if the name is taken and may not be set again."""
        self._add(line, name, column, Definition(statement, line, "fixed" if fixed else "set"))

    def _add(self, line: SourceLine, name: str, column: int, new: Definition) -> None:
        if name in self.given:
            raise line.error(
                f"'{name}' already has a value from outside the program", column,
                f"put .ifndef {name} ... .endif around its default",
            )  # fmt: skip
        known = self.definitions.setdefault(name, [])
        if known and not (new.kind == known[0].kind == "set"):
            first = known[0].line
            what = "label" if new.kind == "label" else "constant"
            hint = "to change a constant's value, define it with .set" if what != "label" else None
            raise line.error(
                f"{what} '{name}' is already defined at {first.file}:{first.number}", column, hint
            )
        known.append(new)

    def add_numeric(self, number: str, statement: int) -> None:
        """Define `1:`; a numeric label may be defined any number of times."""
        self.numeric.setdefault(number, []).append(statement)

    def find(self, name: str, at: int) -> int | None:
        """The statement that defines `name` as seen by statement `at`.

        The nearest earlier definition, else the first one (a forward reference).
        """
        known = self.definitions.get(name)
        if not known:
            return None
        if len(known) == 1:
            return known[0].statement
        earlier = bisect_left(known, at, key=lambda d: d.statement)
        return known[max(earlier - 1, 0)].statement

    def find_numeric(self, text: str, at: int) -> int | None:
        """The statement `1b` or `1f` means at statement `at`."""
        places = self.numeric.get(text[:-1], [])
        position = bisect_right(places, at)
        if text[-1] == "b":
            return places[position - 1] if position > 0 else None
        return places[position] if position < len(places) else None

    def undefined(self, name: str, line: SourceLine, column: int) -> SourceError:
        """The error for a name nobody defines, with names like it."""
        shown = name[name.index(".", 1) :] if "." in name[1:] and name[0] != "." else name
        close = difflib.get_close_matches(name, [*self.definitions, *self.given], 3, 0.65)
        folded = [n for n in self.definitions if n.lower() == name.lower()]
        suggestions = list(dict.fromkeys([*folded, *close]))
        if suggestions:
            hint = f"did you mean {' or '.join(suggestions)}?"
        elif shown != name:
            hint = f"'{shown}' is looked up as '{name}', a local label of '{name.split('.')[0]}'"
        elif name.lower().lstrip("$%") in registers.ALL:
            hint = "registers are written without % in Intel syntax"
        else:
            hint = None
        return line.error(f"'{shown}' is not defined", column, hint)
