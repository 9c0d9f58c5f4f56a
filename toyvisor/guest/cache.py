"""Assembled programs kept by content, so that shipped ones start at once.

An entry holds the digests of every file its result depends on, and the files that were
looked for and not there; it counts only while all of that still holds. Writers replace
entries atomically; anything unreadable is simply not there; a home that cannot be written
means no cache.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from toyvisor.guest.assembly import Assembly
from toyvisor.guest.source import Dependency, digest

ASSEMBLER_VERSION = 1
"""To be raised whenever the same source may give other bytes or another listing."""

MAX_ENTRY_BYTES = 96 << 20


def cache_folder() -> Path | None:
    """TOYVISOR_CACHE_DIR, else the user's cache folder; None when it is set to nothing."""
    chosen = os.environ.get("TOYVISOR_CACHE_DIR")
    if chosen is not None:
        return Path(chosen) / "assembled" if chosen else None
    if sys.platform == "linux":  # as platformdirs does it, which takes longer to import
        base = os.environ.get("XDG_CACHE_HOME", "")
        return (
            Path(base if base.strip() else os.path.expanduser("~/.cache"))
            / "toyvisor"
            / "assembled"
        )
    try:
        from platformdirs import user_cache_path

        return user_cache_path("toyvisor", appauthor=False) / "assembled"
    except (ImportError, OSError, RuntimeError):
        return None


def entry_key(**parts: Any) -> str:
    """The name of the entry for these inputs."""
    state = {"version": ASSEMBLER_VERSION, "assembler": _own_state(), **parts}
    text = json.dumps(state, sort_keys=True, default=str)
    return digest(text.encode("utf-8", "surrogatepass"))


def _own_state() -> list[int]:
    """Times of the assembler's own files, so that whoever works on it sees no old results."""
    try:
        times = [entry.stat().st_mtime_ns for entry in os.scandir(Path(__file__).parent)
                 if entry.name.endswith(".py")]  # fmt: skip
    except OSError:
        return []
    return [len(times), max(times, default=0)]


def load(key: str) -> Assembly | None:
    """The Assembly of an entry that still holds, else None."""
    folder = cache_folder()
    if folder is None:
        return None
    try:
        path = folder / f"{key}.json"
        if path.stat().st_size > MAX_ENTRY_BYTES:
            return None
        entry = json.loads(path.read_bytes())
        if entry["key"] != key or not all(_holds(*one) for one in entry["dependencies"]):
            return None
        return Assembly.from_json(entry["assembly"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _holds(path: str, wanted: str | None) -> bool:
    try:
        return digest(Path(path).read_bytes()) == wanted
    except FileNotFoundError:
        return wanted is None
    except OSError:
        return False


def store(key: str, assembly: Assembly, dependencies: Iterable[Dependency]) -> None:
    """Keep an Assembly; failing to is no error."""
    folder = cache_folder()
    if folder is None:
        return
    entry = {
        "key": key,
        "dependencies": [[d.path, d.digest] for d in dict.fromkeys(dependencies)],
        "assembly": assembly.to_json(),
    }
    import tempfile  # slow to import, and a hit does not need it

    temporary: str | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=".new-", suffix=".json")
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump(entry, stream)
        os.replace(temporary, folder / f"{key}.json")
    except (OSError, ValueError):
        if temporary is not None:
            _remove(temporary)


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)
