"""Commands for breakpoints and watchpoints, and for expressions shown at each stop."""

from __future__ import annotations

import re

from toyvisor.debug.breakpoints import Breakpoint, BreakpointKind
from toyvisor.debug.expressions import parse
from toyvisor.errors import UsageError
from toyvisor.ui.prompt.desk import Desk, Display
from toyvisor.ui.prompt.moving import forget
from toyvisor.ui.prompt.place_text import source_text
from toyvisor.ui.prompt.values import LETTERS, address_text, display_text

_IF = re.compile(r"(?:^|\s)if(?=[\s(])")


def break_at(desk: Desk, argument: str) -> None:
    """`break [PLACE] [if CONDITION]`."""
    _break(desk, argument, temporary=False)


def break_once(desk: Desk, argument: str) -> None:
    """`tbreak [PLACE] [if CONDITION]`."""
    _break(desk, argument, temporary=True)


def _break(desk: Desk, argument: str, *, temporary: bool) -> None:
    place, condition = _place_and_condition(argument)
    where = place or f"{desk.session.instruction_address():#x}"
    made = desk.session.break_at(where, condition=condition, temporary=temporary)
    desk.say(_about(desk, made))


def watch(desk: Desk, argument: str) -> None:
    """`watch WHAT [if CONDITION]`."""
    what, condition = _place_and_condition(argument)
    if not what:
        raise UsageError("WHAT is missing", hint="watch rax, watch buffer:16, watch tx.used.idx")
    desk.say(_about(desk, desk.session.watch(what, condition=condition)))


def _place_and_condition(argument: str) -> tuple[str, str | None]:
    """What stands before and behind the word `if`."""
    found = _IF.search(argument)
    if found is None:
        return argument.strip(), None
    return argument[: found.start()].strip(), argument[found.end() :].strip()


def delete(desk: Desk, argument: str) -> None:
    """`delete [NUMBER...]`, `delete checkpoint NAME`, `delete display NUMBER`."""
    words = argument.split()
    if words[:1] == ["checkpoint"]:
        forget(desk, " ".join(words[1:]))
    elif words[:1] == ["display"]:
        undisplay(desk, " ".join(words[1:]))
    else:
        for one in _chosen(desk, argument):
            desk.session.delete(one.number)
            desk.say(f"deleted {one.kind} {one.number}: {one.text}")


def condition(desk: Desk, argument: str) -> None:
    """`condition NUMBER [CONDITION]`: none takes it away."""
    number, _, text = argument.partition(" ")
    (one,) = _chosen(desk, number, needs_number=True)
    if text.strip():
        expression = parse(text.strip())
        expression.check(desk.names)
        one.condition = expression
    else:
        one.condition = None
    desk.say(_about(desk, one))


def ignore(desk: Desk, argument: str) -> None:
    """`ignore NUMBER COUNT`."""
    number, _, count = argument.partition(" ")
    (one,) = _chosen(desk, number, needs_number=True)
    times = desk.value(count) if count else 0
    one.ignore = min(times, 10**15)
    desk.say(_about(desk, one))


def enable(desk: Desk, argument: str) -> None:
    """`enable [NUMBER...]`."""
    _switch(desk, argument, on=True)


def disable(desk: Desk, argument: str) -> None:
    """`disable [NUMBER...]`."""
    _switch(desk, argument, on=False)


def _switch(desk: Desk, argument: str, *, on: bool) -> None:
    for one in _chosen(desk, argument):
        one.enabled = on
        desk.say(_about(desk, one))


def _chosen(desk: Desk, argument: str, *, needs_number: bool = False) -> list[Breakpoint]:
    """The breakpoints of these numbers; all of them if no number is given."""
    known = {str(one.number): one for one in desk.session.breakpoints}
    words = argument.replace(",", " ").split()
    if not words and needs_number:
        raise UsageError("NUMBER is missing", hint="`info breakpoints` lists them")
    for word in words:
        if word not in known:
            there = ", ".join(known) or "none"
            raise UsageError(f"there is no breakpoint {word}", hint=f"there is {there}")
    return [known[word] for word in dict.fromkeys(words)] if words else list(known.values())


def info_breakpoints(desk: Desk, _argument: str) -> None:
    """`info breakpoints`."""
    if not desk.session.breakpoints:
        desk.say("no breakpoints")
    for one in desk.session.breakpoints:
        desk.say(_about(desk, one))


def _about(desk: Desk, one: Breakpoint) -> str:
    """One breakpoint in one line."""
    parts = [f"{one.kind} {one.number}: {one.text}"]
    if one.kind is BreakpointKind.ADDRESS:
        at = address_text(desk.session, one.address)
        line = source_text(desk.session, one.address).partition("  ")[0]
        parts = [f"{one.kind} {one.number}: {at}" + (f" {line}" if ":" in line else "")]
    elif one.kind is BreakpointKind.MEMORY:
        parts = [f"{one.kind} {one.number}: {one.length} bytes at {one.address:#x} ({one.text})"]
    if one.condition is not None:
        parts.append(f"if {one.condition.text}")
    if one.temporary:
        parts.append("once")
    if not one.enabled:
        parts.append("disabled")
    if one.ignore:
        parts.append(f"ignored {one.ignore} more times")
    if one.hits:
        parts.append(f"hit {one.hits} times" if one.hits > 1 else "hit once")
    return ", ".join(parts)


# Shown at each stop -----------------------------------------------------------------------


def display(desk: Desk, argument: str) -> None:
    """`display[/FORMAT] EXPRESSION`; without one, all that are displayed."""
    letter, text = letter_and_text(argument)
    if text:
        expression = parse(text)
        expression.check(desk.names)
        desk.last_display += 1
        one = Display(text, letter, expression)
        desk.displays[desk.last_display] = one
        desk.say(display_text(desk.last_display, one, desk))
        return
    if not desk.displays:
        desk.say("nothing is displayed")
    for number, shown in desk.displays.items():
        desk.say(display_text(number, shown, desk))


def undisplay(desk: Desk, argument: str) -> None:
    """`undisplay [NUMBER...]`."""
    words = argument.split()
    for word in words:
        if not word.isdecimal() or int(word) not in desk.displays:
            there = ", ".join(map(str, desk.displays)) or "none"
            raise UsageError(f"there is no display {word}", hint=f"there is {there}")
    for number in [int(word) for word in words] or list(desk.displays):
        desk.displays.pop(number, None)


def letter_and_text(argument: str) -> tuple[str, str]:
    """`/x rax` is ("x", "rax"). Raises UsageError for a format that there is not."""
    if not argument.startswith("/"):
        return "", argument
    letter, _, text = argument[1:].partition(" ")
    if letter not in LETTERS:
        raise UsageError(f"there is no format {letter!r}", hint=f"formats: {' '.join(LETTERS)}")
    return letter, text.strip()
