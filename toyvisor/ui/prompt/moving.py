"""Commands that move the session, and what they say when it has moved."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from toyvisor.debug.expressions import parse
from toyvisor.debug.moment import Stop, StopReason, Unit
from toyvisor.errors import UsageError
from toyvisor.ui.prompt.changes import Before
from toyvisor.ui.prompt.desk import Desk, Kept
from toyvisor.ui.prompt.place_text import INDENT, instruction_text, stop_lines
from toyvisor.ui.prompt.values import display_text

if TYPE_CHECKING:
    from toyvisor.debug.session import Session

Handler = Callable[[Desk, str], None]


def move(desk: Desk, how: Callable[[], Stop], *, shows_registers: bool = False) -> None:
    """Do it, and say where the session stands now and what has happened on the way."""
    before = Before.of(desk.session)
    try:
        how()
    finally:
        desk.examined.address = None
        desk.listed.file = None
    report(desk, before, shows_registers=shows_registers)


def report(desk: Desk, before: Before | None = None, *, shows_registers: bool = False) -> None:
    """Where the session stands, and what is different from `before`."""
    lines = stop_lines(desk.session)
    if before is not None:
        lines += before.differences(desk.session, shows_registers=shows_registers)
    lines += [INDENT + display_text(number, one, desk) for number, one in desk.displays.items()]
    for line in lines:
        desk.say(line)


def forward(unit: Unit) -> Handler:
    """A command for steps forward: `step 3`."""

    def step(desk: Desk, argument: str) -> None:
        if unit is Unit.INTERRUPT and argument[:1].isalpha():
            raise UsageError("i goes to the next interrupt", hint=f"`info {argument}`")
        count = desk.count(argument)
        shows = unit in (Unit.INSTRUCTION, Unit.LINE, Unit.OVER, Unit.OUT)
        move(desk, lambda: desk.session.step(unit, count), shows_registers=shows)

    return step


def backward(unit: Unit) -> Handler:
    """A command for steps back: `reverse-step 3`."""

    def step_back(desk: Desk, argument: str) -> None:
        count = desk.count(argument)
        move(desk, lambda: desk.session.step_back(unit, count))

    return step_back


def device(desk: Desk, argument: str) -> None:
    """`device [NAME] [COUNT]`: to the next access of a device."""
    name, count = _device_and_count(desk, argument)
    move(desk, lambda: desk.session.step(Unit.DEVICE, count, device=name))


def device_back(desk: Desk, argument: str) -> None:
    """`reverse-device [NAME] [COUNT]`."""
    name, count = _device_and_count(desk, argument)
    move(desk, lambda: desk.session.step_back(Unit.DEVICE, count, device=name))


def _device_and_count(desk: Desk, argument: str) -> tuple[str | None, int]:
    words = argument.split()
    if not words:
        return None, 1
    if words[0].isdecimal():
        return None, desk.count(argument)
    return words[0].replace("_", "-"), desk.count(" ".join(words[1:]))


def next_instruction(desk: Desk, argument: str) -> None:
    """`nexti`: a call, or a repeated string instruction, as a whole."""
    count = desk.count(argument)
    move(desk, lambda: _repeated(_over, desk.session, count), shows_registers=True)


def next_instruction_back(desk: Desk, argument: str) -> None:
    """`reverse-nexti`."""
    count = desk.count(argument)
    move(desk, lambda: _repeated(_over_back, desk.session, count))


def _repeated(once: Callable[[Session], Stop], session: Session, count: int) -> Stop:
    for _ in range(count):
        stop = once(session)
        if stop.reason is not StopReason.STEP:
            break
    return stop


def _over(session: Session) -> Stop:
    moment, rip = session.moment, session.linear_rip()
    text = instruction_text(session, rip)
    if not moment.between:
        return session.step()
    if text.startswith("call"):
        stop = session.step()
        if stop.reason is StopReason.STEP and session.moment.instructions > moment.instructions:
            return session.step(Unit.OUT)
        return stop
    if text.startswith("rep"):
        while (stop := session.step()).reason is StopReason.STEP:
            if session.linear_rip() != rip:
                return stop
        return stop
    return session.step()


def _over_back(session: Session) -> Stop:
    stop = session.step_back()
    if stop.reason is not StopReason.STEP or not session.moment.between:
        return stop
    rip = session.linear_rip()
    text = instruction_text(session, rip)
    if text.startswith("ret"):
        return session.step_back(Unit.OUT)
    if not text.startswith("rep"):
        return stop
    first = session.moment
    while session.step_back().reason is StopReason.STEP and session.linear_rip() == rip:
        first = session.moment
    session.go_to(first)
    session.stop = stop
    return stop


def go_on(desk: Desk, argument: str) -> None:
    """`continue [COUNT]`: to the next breakpoint; it may be the COUNTth."""
    _to_breakpoints(desk, desk.session.run, argument)


def go_back(desk: Desk, argument: str) -> None:
    """`reverse-continue [COUNT]`."""
    _to_breakpoints(desk, desk.session.run_back, argument)


def _to_breakpoints(desk: Desk, run: Callable[[], Stop], argument: str) -> None:
    count = desk.count(argument)

    def through() -> Stop:
        for _ in range(count):
            stop = run()
            if stop.reason not in (StopReason.BREAKPOINT, StopReason.WATCHPOINT):
                break
        return stop

    move(desk, through)


def run_to(desk: Desk, argument: str) -> None:
    """`run-to PLACE`."""
    move(desk, lambda: desk.session.run_to(_given(argument, "PLACE")))


def run_back_to(desk: Desk, argument: str) -> None:
    """`back-to PLACE`."""
    move(desk, lambda: desk.session.run_back_to(_given(argument, "PLACE")))


def until(desk: Desk, argument: str) -> None:
    """`until EXPRESSION`."""
    if parse(_given(argument, "EXPRESSION")).is_constant(desk.names):
        raise UsageError(f"{argument} never changes", hint=f"`run-to {argument}`, if it is a place")
    move(desk, lambda: desk.session.run_until(argument))


def go_to(desk: Desk, argument: str) -> None:
    """`goto N`, `goto event N`, `goto start`, `goto end`, `goto NAME`."""
    session = desk.session
    word, _, rest = _given(argument, "N, event N, start, end, or a kept NAME").partition(" ")
    if word in desk.kept and not rest:
        restart(desk, word)
    elif word == "start" and not rest:
        move(desk, session.go_to_start)
    elif word == "end" and not rest:
        move(desk, session.go_to_end)
    elif word == "event" and rest:
        number = desk.value(rest)
        move(desk, lambda: session.go_to_event(number))
    elif word.startswith("#") and word[1:].isdecimal() and not rest:
        move(desk, lambda: session.go_to_instruction(int(word[1:])))
    else:
        count = desk.value(argument)
        move(desk, lambda: session.go_to_instruction(count))


def _given(argument: str, what: str) -> str:
    if not argument:
        raise UsageError(f"{what} is missing")
    return argument


# Moments with names -----------------------------------------------------------------------


def checkpoint(desk: Desk, argument: str) -> None:
    """`checkpoint [NAME]`: give the present moment a name; a number if none is given."""
    name = argument or str(next(n for n in range(1, len(desk.kept) + 2) if str(n) not in desk.kept))
    if len(name.split()) != 1 or name in ("start", "end", "event"):
        raise UsageError(f"{name!r} can't be a name", hint="one word, but not start, end or event")
    desk.kept[name] = Kept(desk.session.moment, desk.path)
    desk.say(f"checkpoint {name}: #{desk.session.moment.instructions}; back here: restart {name}")


def restart(desk: Desk, argument: str) -> None:
    """`restart NAME`: be at that moment again."""
    kept = desk.kept.get(_given(argument, "NAME"))
    if kept is None:
        known = ", ".join(desk.kept) or "none: `checkpoint NAME` makes one"
        raise UsageError(f"there is no checkpoint {argument!r}", hint=f"there is {known}")
    if desk.path[: len(kept.path)] != kept.path:
        raise UsageError(f"the branch of checkpoint {argument} was left, and is gone")

    def there() -> Stop:
        while len(desk.path) > len(kept.path):
            desk.session.leave_branch()
            desk.path = desk.path[:-1]
        return desk.session.go_to(kept.moment)

    move(desk, there)


def forget(desk: Desk, argument: str) -> None:
    """`delete checkpoint NAME`."""
    if desk.kept.pop(argument, None) is None:
        raise UsageError(f"there is no checkpoint {argument!r}")
