"""Which panes are on the screen, and where: a function of its size and of what was chosen.

From 80x24 up, in three sizes: one pane at a time with the registers beside it; everything
important at once (120x40); and a third column for large screens. The presenter's layout has few
panes and much room.
"""

from __future__ import annotations

from typing import NamedTuple

#: The views by number key; with a short name for the row of tabs.
VIEWS: dict[str, tuple[str, str]] = {
    "source": ("1", "source"),
    "disassembly": ("2", "asm"),
    "registers": ("3", "regs"),
    "explain": ("4", "why"),
    "events": ("5", "events"),
    "queues": ("6", "queues"),
    "device": ("7", "device"),
    "interrupts": ("8", "irqs"),
    "console": ("9", "console"),
    "memory": ("0", "memory"),
}
#: What the lower right pane of the wide layout can show.
SWITCHED = ("events", "queues", "device", "interrupts", "console", "memory")

_LEAST_WIDE, _LEAST_TALL = 100, 32
_LEAST_HUGE = (170, 44)
_REGISTERS_WIDTH = 34


class Place(NamedTuple):
    """A pane's place on the screen, in characters."""

    x: int
    y: int
    width: int
    height: int


class Choice(NamedTuple):
    """What the user chose to see: `view` last of all, `switched` last of SWITCHED."""

    view: str = "source"
    switched: str = "events"
    presenter: bool = False

    def choose(self, view: str) -> Choice:
        """The same with another view."""
        return self._replace(view=view, switched=view if view in SWITCHED else self.switched)


def is_wide(width: int, height: int) -> bool:
    """Whether there is room for everything important at once."""
    return width >= _LEAST_WIDE and height >= _LEAST_TALL


def spacing(width: int, height: int, choice: Choice) -> int:
    """Rows that a line of text takes: two for the projector, if there is room."""
    return 2 if choice.presenter and is_wide(width, height) else 1


def arrange(width: int, height: int, choice: Choice) -> dict[str, Place]:
    """Every pane that can be seen, by name: the views, status, lanes, tabs, timeline, keys."""
    wide = is_wide(width, height)
    lanes = 8 if wide and choice.presenter else 5
    timeline = 3 if wide else 2
    body_top = 2 + lanes
    body = Place(0, body_top, width, max(height - body_top - timeline - 1, 3))
    if choice.presenter:
        panes = _presenter(body, choice)
    elif width >= _LEAST_HUGE[0] and height >= _LEAST_HUGE[1]:
        panes = _huge(body, choice)
    elif wide:
        panes = _wide(body, choice)
    else:
        panes = _narrow(body, choice)
    return {
        "status": Place(0, 0, width, 1),
        "lanes": Place(0, 1, width, lanes),
        "tabs": Place(0, 1 + lanes, width, 1),
        **panes,
        "timeline": Place(0, height - 1 - timeline, width, timeline),
        "keys": Place(0, height - 1, width, 1),
    }


def _narrow(body: Place, choice: Choice) -> dict[str, Place]:
    if choice.view not in ("source", "disassembly"):
        return {choice.view: body}
    why = 4 if body.height >= 12 else 0
    left = max(body.width - _REGISTERS_WIDTH, body.width // 2)
    upper = body.height - why
    panes = {
        choice.view: Place(body.x, body.y, left, upper),
        "registers": Place(body.x + left, body.y, body.width - left, upper),
    }
    if why:
        panes["explain"] = Place(body.x, body.y + upper, body.width, why)
    return panes


def _wide(body: Place, choice: Choice) -> dict[str, Place]:
    left = body.width * 55 // 100
    return {**_code(body, left), **_state(body, left, body.width - left, choice)}


def _huge(body: Place, choice: Choice) -> dict[str, Place]:
    left, middle = body.width * 42 // 100, body.width * 29 // 100
    switched = choice.switched if choice.switched != "events" else "queues"
    return {
        **_code(body, left),
        **_state(body, left, middle, choice._replace(switched=switched)),
        "events": Place(
            body.x + left + middle, body.y, body.width - left - middle, body.height
        ),
    }  # fmt: skip


def _code(body: Place, width: int) -> dict[str, Place]:
    """The left column: source, disassembly, and what it all means."""
    why = max(body.height * 3 // 10, 8)
    asm = max(body.height // 5, 6)
    source = body.height - why - asm
    return {
        "source": Place(body.x, body.y, width, source),
        "disassembly": Place(body.x, body.y + source, width, asm),
        "explain": Place(body.x, body.y + source + asm, width, why),
    }


def _state(body: Place, left: int, width: int, choice: Choice) -> dict[str, Place]:
    """The right column: registers, one view to choose, the console."""
    registers, console = 11, 5
    x, y = body.x + left, body.y + registers
    rest = body.height - registers
    panes = {"registers": Place(x, body.y, width, registers)}
    if choice.switched == "console":
        panes["console"] = Place(x, y, width, rest)
    else:
        panes[choice.switched] = Place(x, y, width, rest - console)
        panes["console"] = Place(x, y + rest - console, width, console)
    return panes


def _presenter(body: Place, choice: Choice) -> dict[str, Place]:
    """One view, and what it means."""
    if choice.view == "explain":
        return {"explain": body}
    if is_wide(body.width, body.height + 12):
        left = body.width * 3 // 5
        return {
            choice.view: Place(body.x, body.y, left, body.height),
            "explain": Place(body.x + left, body.y, body.width - left, body.height),
        }
    why = 5 if body.height >= 12 else 0
    panes = {choice.view: Place(body.x, body.y, body.width, body.height - why)}
    if why:
        panes["explain"] = Place(body.x, body.y + body.height - why, body.width, why)
    return panes
