"""The event stream as JSON lines: one object an event, in order, stable names.

{"seq": 12, "clock": 26, "layer": "QEMU", "thread": "VCPU", "event": "ioctl",
 "request": "KVM_RUN"}
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from toyvisor.errors import InputError
from toyvisor.trace.events import EventView
from toyvisor.trace.ledger import Hop

#: What every event has, in this order, and what it is.
FIXED = {"seq": int, "clock": int, "layer": str, "thread": str, "event": str}


def to_dict(event: EventView) -> dict[str, Any]:
    """One event as a plain object: its five fixed names, then its own fields."""
    fields = {
        name: value.name if isinstance(value, Hop) else value
        for name, value in event.fields.items()
    }
    return {
        "seq": event.seq,
        "clock": event.clock,
        "layer": event.layer.name,
        "thread": event.thread.name,
        "event": event.kind.name,
        **fields,
    }


def to_line(event: dict[str, Any]) -> str:
    """One event as a line, without its newline."""
    return json.dumps(event, separators=(", ", ": "))


def to_jsonl(events: Iterable[EventView]) -> Iterator[str]:
    """All events as lines with their newlines."""
    for event in events:
        yield to_line(to_dict(event)) + "\n"


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Read a stream back, a line at a time. Raises InputError with the line where it is none."""
    try:
        # Only a newline ends a line: JSON texts may contain U+2028 and its like.
        with open(path, encoding="utf-8", newline="\n") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _read(line, f"{path}:{number}")
    except UnicodeDecodeError:
        raise InputError(f"{path} is not text: not an event stream") from None
    except OSError as error:
        raise InputError(f"can't read {path}: {error.strerror}") from None
    except ValueError as error:  # a name that no file can have
        raise InputError(f"can't read {str(path)!r}: {error}") from None


def _read(line: str, place: str) -> dict[str, Any]:
    hint = "`toyvisor run PROGRAM --trace FILE` writes such files"
    try:
        event = json.loads(line)
    except ValueError as error:
        raise InputError(f"{place}: not JSON: {error}") from None
    except RecursionError:
        raise InputError(f"{place}: not an event: too deeply nested") from None
    if not isinstance(event, dict):
        raise InputError(f"{place}: not an event: no object", hint=hint)
    missing = [name for name in FIXED if name not in event]
    if missing:
        raise InputError(f"{place}: not an event: no {', '.join(missing)}", hint=hint)
    for name, kind in FIXED.items():
        if type(event[name]) is not kind:
            what = "a whole number" if kind is int else "a text"
            raise InputError(f"{place}: not an event: {name} is not {what}", hint=hint)
    return event
