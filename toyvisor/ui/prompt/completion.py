"""What may come next in a line: commands, labels, registers, devices, rings, breakpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import PurePath

from toyvisor.debug.register_names import PARTS
from toyvisor.errors import ToyvisorError
from toyvisor.ui.prompt.commands import COMMANDS, find_command
from toyvisor.ui.prompt.desk import Desk
from toyvisor.ui.prompt.topics import TOPICS, find_topic

#: Where a word begins that can be completed: behind one of these.
DELIMITERS = " \t\n()[]+*/%&|^~<>=!,"


def candidates(desk: Desk, before: str, word: str) -> list[str]:
    """Words that begin with `word`, in order; `before` is the line up to it."""
    begun = word.lower()
    found = dict.fromkeys(_possible(desk, before))
    return sorted(name for name in found if name.lower().startswith(begun))


def _possible(desk: Desk, before: str) -> Iterable[str]:
    words = before.split()
    if not words:
        return [command.name for command in COMMANDS]
    try:
        kind = find_command(words[0].split("/")[0]).completes
        if kind == "topic" and len(words) > 1:
            kind = find_topic(words[1]).completes
        elif kind == "topic":
            return [topic.name for topic in TOPICS]
    except ToyvisorError:
        return ()
    if kind == "place" and "if" in words[1:]:
        kind = "expression"
    return _KINDS[kind](desk) if kind in _KINDS else ()


def _places(desk: Desk) -> Iterable[str]:
    assembly = desk.session.program.assembly
    end = assembly.origin + len(assembly.image)
    yield from (n for n, value in assembly.symbols.items() if assembly.origin <= value < end)
    yield from {f"{PurePath(li.location.file).name}:" for li in assembly.listing.lines if li.data}
    yield "if"


def _rings(desk: Desk) -> Iterable[str]:
    from toyvisor.debug.views.virtqueue import virtqueues

    return [view.name for view in virtqueues(desk.session.machine)]


def _command_names(_desk: Desk) -> Iterable[str]:
    return [*(command.name for command in COMMANDS), "expressions"]


_KINDS: dict[str, Callable[[Desk], Iterable[str]]] = {
    "expression": lambda desk: (*desk.names.known(), "and", "or", "not", "if", "signed"),
    "place": _places,
    "breakpoint": lambda desk: [str(one.number) for one in desk.session.breakpoints],
    "device": lambda desk: list(desk.session.machine.devices),
    "ring": _rings,
    "register": lambda _desk: (*PARTS, "all"),
    "command": _command_names,
    "checkpoint": lambda desk: list(desk.kept),
    "goto": lambda desk: ("start", "end", "event", *desk.kept),
}
