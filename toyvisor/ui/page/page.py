"""Makes the page: template, style and script from the package, and the run as data.

The page asks nothing of any network, and may not: its Content-Security-Policy lets in the one style
and the one script that are in it, by their hashes, and nothing else. What the guest made is data
only, and the script puts it on the page as text only.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from toyvisor.ui.page.plan import MOST_STEPS, plan
from toyvisor.ui.page.steps import MOST_CONSOLE, Steps, sources
from toyvisor.ui.stepper.source_files import SourceFiles
from toyvisor.ui.stepper.timeline_cells import LETTERS

if TYPE_CHECKING:
    from toyvisor.debug.session import Session

#: What a page may have at most, in characters. One that would be larger shows fewer steps.
MOST_CHARACTERS = 5_000_000
_MOST_SOURCE = 300_000
#: What the script understands.
_FORMAT = 1
#: In the order in which they need each other.
_SCRIPTS = ("run.js", "lanes.js", "panes.js", "page.js")


def run_page(session: Session, *, most_steps: int = MOST_STEPS) -> str:
    """The whole run as one HTML file; the session stands where it stood afterwards.

    The guest runs to its end first, if it has not. The same run makes the same page, to the byte.
    """
    moment, stop = session.moment, session.stop
    try:
        session.go_to_end()
        while True:
            page = _render(session, run_data(session, most_steps))
            if len(page) <= MOST_CHARACTERS or most_steps < 10:
                return page
            most_steps //= 2
    finally:
        session.go_to(moment)
        session.stop = stop


def run_data(session: Session, most_steps: int) -> dict[str, Any]:
    """All that the page shows, as it is embedded: see `run.js` for how it is read."""
    planned = plan(session, most_steps)
    steps = Steps(session)
    for stop in planned.stops:
        steps.add(stop)
    session.go_to_end()
    notes = [planned.note, _incomplete(session), _changed(session)]
    if len(steps.console) >= MOST_CONSOLE:
        notes.append("The end of what the guest printed is left out.")
    names = SourceFiles(session.program)
    machine = session.machine
    return {
        "format": _FORMAT,
        "program": session.program.name,
        "title": session.program.spec.title,
        "ending": _ending(session),
        "notes": [note for note in notes if note],
        "events": len(session.events),
        "exits": len(session.events.exits),
        "instructions": session.frontier.instructions,
        "letters": _letters(),
        "kinds": steps.ways.kinds.items,
        "keys": steps.differences.keys.items,
        "texts": steps.texts.items,
        "explanations": steps.explanations.items,
        "places": steps.ways.places.items,
        "ways": steps.ways.rows,
        "steps": steps.rows,
        "queues": _queues(machine),
        "devices": _devices(machine),
        "files": sources(steps.files, steps.visited, names.lines, _MOST_SOURCE),
        "console": steps.console,
    }


def _letters() -> dict[str, str]:
    """What the letters of the timeline mean; some have two reasons."""
    found: dict[str, list[str]] = {}
    for letter, words in LETTERS.values():
        if words not in found.setdefault(letter, []):
            found[letter].append(words)
    return {letter: ", or ".join(words) for letter, words in found.items()}


def _queues(machine: Any) -> list[str]:
    from toyvisor.debug.views.virtqueue import virtqueues

    return [f"{queue.device}, queue {queue.index}: {queue.name}" for queue in virtqueues(machine)]


def _devices(machine: Any) -> list[str]:
    from toyvisor.debug.views.devices import devices

    return [f"{device.name} at {device.where}" for device in devices(machine)]


def _ending(session: Session) -> str:
    ending = session.ending
    return "" if ending is None else f"{ending.outcome}: {ending.explanation}"


def _incomplete(session: Session) -> str:
    if session.ending is not None:
        return ""
    return "The run goes on behind what is recorded."


def _changed(session: Session) -> str:
    if not session.branch:
        return ""
    return "Somebody changed registers or memory on the way: the guest alone would not run so."


def _render(session: Session, data: dict[str, Any]) -> str:
    style, script = _resource("page.css"), _script()
    title = f"{session.program.name}: {session.program.spec.title}".removesuffix(": ")
    parts = {
        "policy": f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}",
        "title": escape(title),
        "style": style,
        "script": script,
        "run": embedded(data),
    }
    # In one go: what is put in is not looked through for more marks.
    return re.sub(r"\{\{(\w+)\}\}", lambda mark: parts[mark[1]], _resource("page.html"))


def _script() -> str:
    """The parts as one: in a block, whose names get into nobody's way."""
    return "\n".join(['"use strict";', "{", *map(_resource, _SCRIPTS), "}", ""])


def embedded(data: object) -> str:
    """Data as JSON that can stand in a `script` element, whatever is in it."""
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _hash(text: str) -> str:
    """As Content-Security-Policy has it (CSP level 3, 2.3.1)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _resource(name: str) -> str:
    return files("toyvisor.ui.page").joinpath(name).read_text(encoding="utf-8")
