"""What the keys do to a session: plain functions, run on the session's thread."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from toyvisor.debug.breakpoints import Breakpoint
from toyvisor.debug.moment import Stop, Unit
from toyvisor.errors import InputError

if TYPE_CHECKING:
    from toyvisor.debug.session import Session
    from toyvisor.ui.stepper.timeline_cells import Timeline


def step(session: Session, unit: Unit, count: int, device: str | None) -> Stop:
    """`count` steps; backwards if it is below 0."""
    chosen = device if unit is Unit.DEVICE else None
    if count < 0:
        return session.step_back(unit, -count, device=chosen)
    return session.step(unit, count, device=chosen)


def go_to(session: Session, text: str) -> Stop:
    """Travel to where a person says: see `EXAMPLES`. Raises InputError."""
    word = text.strip()
    if word in ("start", "end"):
        return session.go_to_start() if word == "start" else session.go_to_end()
    number = word.replace(",", "").replace("_", "").removeprefix("@")
    if number.isdecimal():
        return session.go_to_instruction(int(number))
    if word.startswith(("#", "event ")):
        return session.go_to_event(_number(word.removeprefix("#").removeprefix("event")))
    if word.startswith("exit "):
        return _go_to_exit(session, _number(word.removeprefix("exit")))
    if word.startswith("back "):
        return session.run_back_to(_place(word.removeprefix("back ")))
    return session.run_to(_place(word))


#: What `go_to` understands.
EXAMPLES = "120 (tick)  #45 (event)  exit 7  next_frame  :102 (line)  back :102  end"


def _place(word: str) -> str:
    word = word.strip()
    for prefix in (":", "line "):
        if word.startswith(prefix):
            return word.removeprefix(prefix).strip()
    return word


def _number(word: str) -> int:
    try:
        return int(word.strip().replace(",", ""), 0)
    except ValueError:
        raise InputError(f"{word.strip()!r} is no number", hint=EXAMPLES) from None


def _go_to_exit(session: Session, number: int) -> Stop:
    exits = session.events.exits
    if not 1 <= number <= len(exits):
        raise InputError(f"there is no exit {number}: {len(exits)} are recorded")
    return session.go_to_event(exits[number - 1])


def along(session: Session, timeline: Timeline, cells: int) -> Stop:
    """So many cells of the strip on or back; behind the last one by exits that are new."""
    position = timeline.position + cells
    if position < 0:
        return session.go_to_start()
    if position < len(timeline.cells):
        return session.go_to_event(timeline.cells[position].event)
    return session.step(Unit.EXIT, cells)


def toggle_breakpoint(session: Session, address: int, text: str) -> str:
    """Set one at `address`, or delete those that are there. What was done, in words."""
    there = [one for one in session.breakpoints if _is_at(one, address)]
    for one in there:
        session.delete(one.number)
    if there:
        return f"deleted the breakpoint at {text}"
    made = session.break_at(f"{address:#x}")
    made.text = text
    return f"breakpoint {made.number} at {text}"


def _is_at(one: Breakpoint, address: int) -> bool:
    return one.kind == "breakpoint" and one.address == address


def line_name(file: str, line: int) -> str:
    """A line as a person names it."""
    return f"{Path(file).name}:{line}"
