"""Breakpoints and watchpoints: what they are, not how they are found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from toyvisor.debug.expressions import Expression


class BreakpointKind(StrEnum):
    """What a breakpoint waits for."""

    ADDRESS = "breakpoint"  # an instruction is about to be executed
    MEMORY = "watchpoint"  # bytes of guest memory change, whoever writes them
    VALUE = "value watchpoint"  # the value of an expression changes


@dataclass(slots=True)
class Breakpoint:
    """One breakpoint. `text` is what the user typed to name the place.

    ADDRESS: `address` is linear. MEMORY: `length` bytes from guest-physical `address`.
    VALUE: `watched` is the expression. `condition` must be true (not 0) for it to stop;
    `ignore` more hits are counted and passed by. A temporary one is gone after its first stop.
    """

    number: int
    kind: BreakpointKind
    text: str
    address: int = 0
    length: int = 1
    watched: Expression | None = None
    condition: Expression | None = None
    enabled: bool = True
    temporary: bool = False
    ignore: int = 0
    hits: int = 0
