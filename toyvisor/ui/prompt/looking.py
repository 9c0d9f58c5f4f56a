"""Commands that show the program and single values: print, list, disassemble, explain."""

from __future__ import annotations

from pathlib import PurePath

from toyvisor.debug.breakpoints import BreakpointKind
from toyvisor.errors import UsageError
from toyvisor.ui.prompt.desk import Desk
from toyvisor.ui.prompt.place_text import INDENT, printable
from toyvisor.ui.prompt.stopping import letter_and_text
from toyvisor.ui.prompt.values import value_text

LINES = 10
_MOST_INSTRUCTIONS = 1000


def print_value(desk: Desk, argument: str) -> None:
    """`print[/FORMAT] EXPRESSION`."""
    letter, text = letter_and_text(argument)
    if not text:
        raise UsageError("EXPRESSION is missing", hint="print rax + 4, print/x u32[rdi]")
    desk.say(value_text(desk.session, desk.value(text), letter))


def list_source(desk: Desk, argument: str) -> None:
    """`list [PLACE]`: ten lines of source, around the place; again: the next ten."""
    session, listed = desk.session, desk.listed
    if argument or listed.file is None:
        listed.file, middle = _source_place(desk, argument)
        listed.line = max(1, middle - LINES // 2)
    lines = desk.sources.lines(listed.file)
    if listed.line > len(lines):
        raise UsageError(f"{PurePath(listed.file).name} has {len(lines)} lines")
    marks = _breakpoint_lines(desk, listed.file)
    now = session.line_at(session.instruction_address())
    current = now.location.line if now and now.location.file == listed.file else 0
    for number in range(listed.line, min(listed.line + LINES, len(lines) + 1)):
        arrow = "=>" if number == current else ""
        mark = marks.get(number, "")
        desk.say(f"{arrow:<2}{mark:1} {number:>4}  {printable(lines[number - 1])}".rstrip())
    listed.line += LINES


def _source_place(desk: Desk, argument: str) -> tuple[str, int]:
    """File and line of a place; a line need not have code."""
    session = desk.session
    listing = session.program.assembly.listing
    files = {PurePath(line.location.file).name: line.location.file for line in listing.lines}
    name, _, number = argument.rpartition(":")
    if number.isdecimal() and len(number) < 9 and (not name or PurePath(name).name in files):
        return files.get(PurePath(name).name, str(session.program.path)), int(number)
    address = session.resolve(argument) if argument else session.instruction_address()
    line = session.line_at(address)
    if line is None:
        where = argument or f"{address:#x}"
        raise UsageError(f"no source line made {where}", hint="disassemble shows its bytes")
    return line.location.file, line.location.line


def _breakpoint_lines(desk: Desk, file: str) -> dict[int, str]:
    """Lines with a breakpoint: `*`, or `-` if it is disabled."""
    found = {}
    for one in desk.session.breakpoints:
        line = desk.session.line_at(one.address)
        if one.kind is BreakpointKind.ADDRESS and line and line.location.file == file:
            found[line.location.line] = "*" if one.enabled else "-"
    return found


def disassemble(desk: Desk, argument: str) -> None:
    """`disassemble [PLACE] [COUNT]`: instructions from the place on, ten if no count is given."""
    from toyvisor.debug.views.disassembly import disassembly

    session = desk.session
    place, _, count = argument.partition(" ")
    address = session.resolve(place) if place else session.instruction_address()
    many = desk.count(count, "COUNT", _MOST_INSTRUCTIONS) if count else LINES
    rows = disassembly(session.machine, session.program, address, 0, many - 1)
    if not rows:
        raise UsageError(f"there is no memory at {address:#x}")
    current = session.instruction_address()
    for row in rows:
        for label in row.labels:
            desk.say(f"{label}:")
        arrow = "=>" if row.address == current else ""
        changed = "  (changed since it was assembled)" if row.is_modified else ""
        desk.say(f"{arrow:<2} {row.address:#x}:  {printable(row.text)}{changed}")


def explain(desk: Desk, _argument: str) -> None:
    """`explain`: what just happened or is about to, why, and where it is written."""
    from toyvisor.debug.explain import explain as explained

    found = explained(desk.session)
    desk.say(found.title)
    for part in (found.what, found.why):
        for line in part.splitlines():
            desk.say(f"{INDENT}{printable(line)}")
    if found.source:
        desk.say(f"{INDENT}See: {printable(found.source)}")
