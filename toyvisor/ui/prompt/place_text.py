"""Where the guest stands, and why, in a few lines that never change their form.

    #<instructions> event <n>  <file>:<line>  <source text>
      <the reason of the stop>
      <the event, if it stands inside an exit>

Event n is the last that has happened. Where no source made the instruction, its address and
the instruction itself stand in the place of file and text.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING

from toyvisor.trace.events import EventView
from toyvisor.trace.jsonl import to_dict
from toyvisor.trace.text import to_text

if TYPE_CHECKING:
    from toyvisor.debug.session import Session

INDENT = "  "


def place_text(session: Session) -> str:
    """The first line: how far, and where in the program."""
    moment = session.moment
    branch = f" branch {session.branch}" if session.branch else ""
    events = f"event {moment.events - 1}" if moment.events else "no event"
    source = source_text(session, session.instruction_address())
    return f"#{moment.instructions} {events}{branch}  {source}"


def stop_lines(session: Session) -> list[str]:
    """All lines of a stop."""
    lines = [place_text(session), INDENT + session.stop.text]
    moment = session.moment
    if not moment.between and moment.events:
        lines.append(INDENT + event_text(session.events[moment.events - 1]))
    return lines


def event_text(event: EventView) -> str:
    """One event: number, guest instructions, layer, what happened."""
    return printable(to_text(to_dict(event)))


def source_text(session: Session, address: int) -> str:
    """`file:line  text` of an instruction, or its address and the instruction itself."""
    line = session.line_at(address)
    if line is not None:
        name = PurePath(line.location.file).name
        return f"{name}:{line.location.line}  {' '.join(printable(line.text).split())}".rstrip()
    return f"{address:#x}  {instruction_text(session, address)}"


def instruction_text(session: Session, address: int) -> str:
    """The instruction at a linear address, from its bytes."""
    from toyvisor.debug.views.disassembly import instruction_at

    found = instruction_at(session.machine, address)
    if found is not None:
        return found.text
    code = code_at(session, address, 1)
    return f".byte {code[0]:#04x}" if code else "no memory"


def code_at(session: Session, address: int, length: int) -> bytes:
    """Bytes from a linear address on, as many as there are up to `length`."""
    return session.vcpu.cpu.view.read(address, length)


def printable(text: str) -> str:
    """Text in which a control character is an escape: a guest's bytes do nothing to a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def quoted(data: bytes) -> str:
    """Bytes that the guest printed, as a text in quotes."""
    text = data.decode("utf-8", "backslashreplace")
    return '"' + printable(text.replace("\\", "\\\\").replace('"', '\\"')) + '"'
