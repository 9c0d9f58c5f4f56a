"""`help`, `history`, `echo`, `quit`."""

from __future__ import annotations

from toyvisor.ui.prompt.desk import Desk


def history(desk: Desk, argument: str) -> None:
    """`history [COUNT]`: the commands so far."""
    count = desk.count(argument, "COUNT") if argument else len(desk.lines)
    first = max(0, len(desk.lines) - count)
    for number, line in enumerate(desk.lines[first:], first + 1):
        desk.say(f"{number:>4}  {line}")


def echo(desk: Desk, argument: str) -> None:
    """`echo TEXT`: for transcripts."""
    desk.say(argument)


def quit_prompt(desk: Desk, _argument: str) -> None:
    """`quit`."""
    desk.is_over = True
