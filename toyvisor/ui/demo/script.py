"""Demo scripts: a TOML file that says how far to go, what to say there, and for how long.

    title = "The life of one store"
    program = "one_store"               # the name of a shipped program, or a file beside this one
    device = ["virtio-net,vhost=on"]    # as `toyvisor run --device` has it; may be left out

    [[step]]
    go = "event vm_exit"                # see moves.py
    count = 2                           # so many times; once, if it is left out
    beat = 0.3                          # seconds at each moment on the way; without: straight there
    say = "{exits.total} exits so far"  # {expressions} are worked out there
    pause = 6                           # seconds; without, as long as it takes to read
    show = "queue"                      # what the right half shows: registers, queue, console, way

A script for `my.s` lies beside it as `my.demo.toml`; the shipped ones are in `scripts/`.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from toyvisor.errors import InputError
from toyvisor.guest.library import guest_programs_dir
from toyvisor.guest.program import Program
from toyvisor.guest.source import read_source

SUFFIX = ".demo.toml"
_KEYS = ("title", "program", "device", "step")
_STEP_KEYS = ("go", "count", "beat", "say", "pause", "show")
#: Limits that keep a typing mistake from becoming a show that never ends.
MOST_STEPS, MOST_COUNT, LONGEST_PAUSE = 500, 1000, 600.0


class Show(StrEnum):
    """What the right half of the screen shows."""

    REGISTERS = "registers"
    QUEUE = "queue"
    CONSOLE = "console"
    WAY = "way"  # the events of the exit


class ScriptStep(NamedTuple):
    """One step of a script. `pause` and `beat` in seconds; None: not given."""

    go: str
    say: str
    count: int = 1  # type: ignore[assignment]  # the name of tuple's method, too
    beat: float | None = None
    pause: float | None = None
    show: Show | None = None


class Script(NamedTuple):
    """A whole script. `name` is what messages call it, `path` where it lies (None: nowhere)."""

    name: str
    title: str
    program: str
    steps: tuple[ScriptStep, ...]
    device: tuple[str, ...] = ()
    path: Path | None = None

    def error(self, number: int, message: str, hint: str | None = None) -> InputError:
        """What is wrong with a step, from 1 on."""
        return InputError(f"{self.name}: step {number}: {message}", hint=hint)


def shipped_scripts() -> dict[str, Path]:
    """The scripts that come with Toyvisor, by name."""
    folder = Path(__file__).resolve().parent / "scripts"
    return {path.name.removesuffix(".toml"): path for path in sorted(folder.glob("*.toml"))}


def script_of(program: Program) -> Script | None:
    """The script of a program: beside it, or for a shipped one the shipped script of its name."""
    beside = program.path.with_name(f"{program.path.stem}{SUFFIX}")
    if beside.is_file():
        return read_script(beside)
    path = shipped_scripts().get(program.name)
    is_shipped = program.path.parent == guest_programs_dir()
    return read_script(path) if path is not None and is_shipped else None


def read_script(path: Path) -> Script:
    """Read and check a script. Raises InputError that names the step and what to do."""
    name = path.name
    source = read_source(path, name)
    try:
        table = tomllib.loads(source.text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{name} is not TOML: {error}") from None
    _check_keys(name, table, _KEYS)
    rows = table.get("step", [])
    if not isinstance(rows, list) or not rows:
        raise InputError(f"{name} has no steps", hint='[[step]], go = "exit", say = "..."')
    if len(rows) > MOST_STEPS:
        raise InputError(f"{name} has {len(rows)} steps; {MOST_STEPS} are allowed")
    steps = tuple(_step(f"{name}: step {number}", row) for number, row in enumerate(rows, 1))
    program = _text(name, table, "program")
    if program and (path.parent / program).is_file():
        program = str(path.parent / program)
    device = table.get("device", [])
    if not isinstance(device, list) or not all(isinstance(one, str) for one in device):
        raise InputError(f"{name}: device is a list of texts", hint='["virtio-net,vhost=on"]')
    return Script(name, _text(name, table, "title"), program, steps, tuple(device), path)


def _step(place: str, row: object) -> ScriptStep:
    if not isinstance(row, dict):
        raise InputError(f"{place} is no table", hint="each begins with [[step]]")
    _check_keys(place, row, _STEP_KEYS)
    if "go" not in row:
        raise InputError(f"{place} does not say where to go", hint='go = "exit"')
    show = _text(place, row, "show")
    if show and show not in list(Show):
        raise InputError(f"{place}: show is {', '.join(Show)}, not {show!r}")
    count = row.get("count", 1)
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= MOST_COUNT:
        raise InputError(f"{place}: count is a whole number from 1 to {MOST_COUNT}")
    return ScriptStep(
        _text(place, row, "go"),
        " ".join(_text(place, row, "say").split()),
        count,
        _seconds(place, row, "beat"),
        _seconds(place, row, "pause"),
        Show(show) if show else None,
    )


def _check_keys(place: str, table: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in table:
        if key not in known:
            close = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"
            raise InputError(f"{place}: unknown key '{key}'", hint=hint)


def _text(place: str, table: Mapping[str, Any], key: str) -> str:
    value = table.get(key, "")
    if not isinstance(value, str):
        raise InputError(f"{place}: {key} is a text in quotes")
    return value.strip()


def _seconds(place: str, table: Mapping[str, Any], key: str) -> float | None:
    value = table.get(key)
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise InputError(f"{place}: {key} is a number of seconds")
    if not 0 <= value <= LONGEST_PAUSE:
        raise InputError(f"{place}: {key} is from 0 to {LONGEST_PAUSE:g} seconds")
    return float(value)
