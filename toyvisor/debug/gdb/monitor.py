"""`monitor ...` in gdb: the layers below the guest, which gdb has no words for.

`COMMANDS` is the one table of them; what they print is made in monitor_texts.py.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from typing import NamedTuple

from toyvisor.debug.gdb import monitor_texts
from toyvisor.debug.moment import Stop, Unit
from toyvisor.debug.session import Session
from toyvisor.errors import ToyvisorError, UsageError

_SHOWN_EVENTS = 10
#: gdb keeps registers and stack until it has moved the guest itself.
_STALE = "gdb shows this after `maintenance flush register-cache`"


class Command(NamedTuple):
    """One command. `parameters` are for its help; `run` returns what is printed."""

    parameters: str
    summary: str
    run: Callable[[Session, Sequence[str]], str]


class Monitor:
    """Runs the commands on a session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def run(self, line: str) -> str:
        """What a command prints, with its newline; what is wrong with it, in one line."""
        name, *arguments = line.split() or ["help"]
        command = COMMANDS.get(name)
        try:
            if command is None:
                raise _unknown(name)
            text = command.run(self._session, arguments)
        except ToyvisorError as error:
            text = str(error)
        return f"{text.rstrip()}\n"


def _unknown(name: str) -> UsageError:
    close = difflib.get_close_matches(name, COMMANDS, 1)
    hint = f"did you mean {close[0]}?" if close else "monitor help"
    return UsageError(f"there is no monitor command {name!r}", hint=hint)


def _whole(text: str) -> int:
    try:
        number = int(text, 0)
    except ValueError:
        number = -1
    if number < 0:
        raise UsageError(f"{text!r} is not a whole number")
    return number


def _count(arguments: Sequence[str], default: int) -> int:
    return _whole(arguments[0]) if arguments else default


# Looking --------------------------------------------------------------------------------


def _show(text_of: Callable[[Session], str]) -> Callable[[Session, Sequence[str]], str]:
    """A command without parameters."""

    def run(session: Session, arguments: Sequence[str]) -> str:
        if arguments:
            raise UsageError(f"{arguments[0]!r}: this command takes nothing")
        return text_of(session)

    return run


def _events(session: Session, arguments: Sequence[str]) -> str:
    return monitor_texts.last_events(session, _count(arguments, _SHOWN_EVENTS))


def _help(_session: Session, _arguments: Sequence[str]) -> str:
    rows = [(f"{name} {c.parameters}".rstrip(), c.summary) for name, c in COMMANDS.items()]
    width = max(len(usage) for usage, _ in rows)
    return "\n".join(f"monitor {usage:<{width}}  {summary}" for usage, summary in rows)


# Moving ---------------------------------------------------------------------------------


def _moved(session: Session, stop: Stop) -> str:
    return "\n".join((stop.text, monitor_texts.where(session), _STALE))


def _step(unit: Unit, *, back: bool = False) -> Callable[[Session, Sequence[str]], str]:
    def run(session: Session, arguments: Sequence[str]) -> str:
        step = session.step_back if back else session.step
        return _moved(session, step(unit, _count(arguments, 1)))

    return run


def _goto(session: Session, arguments: Sequence[str]) -> str:
    match arguments:
        case ["instruction", number]:
            return _moved(session, session.go_to_instruction(_whole(number)))
        case ["event", number]:
            return _moved(session, session.go_to_event(_whole(number)))
        case ["start"]:
            return _moved(session, session.go_to_start())
        case ["end"]:
            return _moved(session, session.go_to_end())
    raise UsageError("goto takes: instruction N, event N, start, end")


def _leave(session: Session, _arguments: Sequence[str]) -> str:
    return _moved(session, session.leave_branch())


COMMANDS: dict[str, Command] = {
    "help": Command("", "this list", _help),
    "where": Command("", "instruction, event, source line", _show(monitor_texts.where)),
    "explain": Command("", "what just happened, or will, and why", _show(monitor_texts.explained)),
    "exits": Command("", "vmexits so far, by reason", _show(monitor_texts.exits)),
    "copies": Command("", "copies so far, by hop", _show(monitor_texts.copies)),
    "ledger": Command("", "all that is counted", _show(monitor_texts.ledger)),
    "rings": Command("", "the virtqueues: who owns what", _show(monitor_texts.rings)),
    "devices": Command("", "the devices' registers", _show(monitor_texts.devices)),
    "pic": Command("", "interrupt controllers, timer, vectors", _show(monitor_texts.pic)),
    "console": Command("", "what the guest has printed", _show(monitor_texts.console)),
    "packets": Command("", "the frames that were sent", _show(monitor_texts.packets)),
    "events": Command("[N]", f"the last N events (default: {_SHOWN_EVENTS})", _events),
    "event-step": Command("[N]", "N events on: into a vmexit", _step(Unit.EVENT)),
    "event-back": Command("[N]", "N events back", _step(Unit.EVENT, back=True)),
    "exit": Command("[N]", "to the next vmexit", _step(Unit.EXIT)),
    "back-exit": Command("[N]", "to the vmexit before", _step(Unit.EXIT, back=True)),
    "goto": Command("WHERE", "instruction N, event N, start, end", _goto),
    "leave": Command("", "undo the last change of a register or memory", _leave),
}
