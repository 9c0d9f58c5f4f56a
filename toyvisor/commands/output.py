"""Writing a command's result where the user wants it."""

from __future__ import annotations

import sys
from pathlib import Path

from toyvisor.errors import InputError


def write_output(path: str | None, data: str | bytes) -> None:
    """Write text or bytes to a file, or to standard output for None and "-".

    Raises InputError if the file can't be written.
    """
    if path is None or path == "-":
        if isinstance(data, bytes):
            sys.stdout.buffer.write(data)
        else:
            sys.stdout.write(data)
        return
    try:
        if isinstance(data, bytes):
            Path(path).write_bytes(data)
        else:
            Path(path).write_text(data, encoding="utf-8")
    except OSError as error:
        raise InputError(f"can't write {path}: {error.strerror}") from None


def check_writable(path: str | None) -> None:
    """Fail before the work, not after it, if `path` can't be written. Changes nothing."""
    if path is None or path == "-":
        return
    target = Path(path)
    existed = target.exists()
    try:
        with target.open("ab"):
            pass
        if not existed:
            target.unlink()
    except OSError as error:
        raise InputError(f"can't write {path}: {error.strerror}") from None
