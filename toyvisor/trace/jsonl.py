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

REQUIRED = ("seq", "clock", "layer", "thread", "event")


def to_dict(event: EventView) -> dict[str, Any]:
    """One event as a plain object: its five fixed names, then its own fields."""
    return {
        "seq": event.seq,
        "clock": event.clock,
        "layer": event.layer.name,
        "thread": event.thread.name,
        "event": event.kind.name,
        **event.fields,
    }


def to_line(event: dict[str, Any]) -> str:
    """One event as a line, without its newline."""
    return json.dumps(event, separators=(", ", ": "))


def to_jsonl(events: Iterable[EventView]) -> Iterator[str]:
    """All events as lines with their newlines."""
    for event in events:
        yield to_line(to_dict(event)) + "\n"


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Read a stream back. Raises InputError with the line where it is none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(f"can't read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not text: not an event stream") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            event = json.loads(line)
        except ValueError as error:
            raise InputError(f"{path}:{number}: not JSON: {error}") from None
        missing = [n for n in REQUIRED if not isinstance(event, dict) or n not in event]
        if missing:
            raise InputError(
                f"{path}:{number}: not an event: no {', '.join(missing)}",
                hint="`toyvisor run PROGRAM --trace FILE` writes such files",
            )
        yield event
