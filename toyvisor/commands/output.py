"""Writing a command's result where the user wants it."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable

from toyvisor.errors import InputError


def write_output(path: str | None, data: str | bytes) -> None:
    """Write text or bytes to a file, or to standard output for None and "-".

    Raises InputError if the file can't be written.
    """
    if path is None or path == "-":
        if isinstance(data, bytes):
            write_bytes(data)
        else:
            sys.stdout.write(data)
        return
    content = data if isinstance(data, bytes) else data.encode("utf-8", "backslashreplace")
    try:
        with open(path, "wb") as file:
            file.write(content)
    except (OSError, ValueError) as error:
        raise InputError(f"can't write {path}: {_reason(error)}") from None


def write_lines(path: str | None, lines: Iterable[str]) -> None:
    """Write lines (with their newlines) one by one: a stream of events may be long."""
    if path is None or path == "-":
        sys.stdout.writelines(lines)
        return
    try:
        with open(path, "w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            file.writelines(lines)
    except (OSError, ValueError) as error:
        raise InputError(f"can't write {path}: {_reason(error)}") from None


def write_bytes(data: bytes | bytearray) -> None:
    """Bytes to standard output, in order with the text that was printed, and at once."""
    sys.stdout.flush()
    try:
        stream = sys.stdout.buffer
    except AttributeError:  # replaced by an object for text only
        sys.stdout.write(data.decode("utf-8", errors="replace"))
    else:
        stream.write(data)
    sys.stdout.flush()


def abandon_output() -> None:
    """What is still to be written to standard output goes nowhere, without complaint."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):  # replaced by something that is no file
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def check_writable(path: str | None, *sources: str | os.PathLike[str]) -> None:
    """Fail before the work, not after it, if `path` can't be written. Changes nothing.

    `sources` are files that the command reads; writing over one is refused as well.
    """
    if path is None or path == "-":
        return
    if any(_same_file(path, source) for source in sources):
        raise InputError(f"can't write {path}: it is the input", hint="choose another name")
    try:
        existed = os.path.lexists(path)
        if existed and _is_special(path):
            return  # /dev/null, a pipe: opening one just to look may already mean something
        with open(path, "ab"):
            pass
        if not existed:
            os.unlink(path)
    except (OSError, ValueError) as error:
        raise InputError(f"can't write {path}: {_reason(error)}") from None


def _is_special(path: str) -> bool:
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:  # a link to nowhere
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _same_file(one: str, other: str | os.PathLike[str]) -> bool:
    try:
        return os.path.isfile(one) and os.path.samefile(one, other)
    except (OSError, ValueError):
        return False


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
