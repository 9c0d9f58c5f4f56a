"""The shipped guest programs: where they are, what they are called, how to find one."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from toyvisor.errors import InputError, SourceError

SUFFIXES = (".s", ".asm")


class ShippedProgram(NamedTuple):
    """A program that comes with Toyvisor; `title` is from its machine block."""

    name: str
    title: str
    path: Path


def guest_programs_dir() -> Path:
    """The folder of the shipped programs and includes.

    In an installed wheel it lies inside the package, in a checkout beside it.
    """
    package = Path(__file__).resolve().parent.parent
    installed = package / "guest_programs"
    return installed if installed.is_dir() else package.parent / "guest_programs"


def shipped_programs() -> list[ShippedProgram]:
    """All shipped programs by name, without assembling any. Broken ones have an empty title."""
    found = [ShippedProgram(path.stem, _title(path), path) for path in _files()]
    return sorted(found, key=lambda program: program.name)


def _files() -> list[Path]:
    try:
        return [p for p in guest_programs_dir().iterdir() if p.suffix in SUFFIXES and p.is_file()]
    except OSError:
        return []


def _title(path: Path) -> str:
    from toyvisor.guest.program import read_machine
    from toyvisor.guest.source import read_source

    try:
        return read_machine(read_source(path)).title
    except (InputError, SourceError):
        return ""


#: Where the shipped programs with a mistake each are.
_BROKEN = Path("broken")


def find_program(name_or_path: str | Path) -> Path:
    """The file of a program given by path or by the name of a shipped one.

    It is a path if it has a slash or the suffix .s or .asm, or if such a file exists; but for
    broken/NAME, where there is no such folder: a shipped program with a mistake.
    Raises InputError with names like it.
    """
    text = str(name_or_path)
    path = Path(text)
    given_as_path = isinstance(name_or_path, Path) or "/" in text or "\\" in text
    if not text or "\0" in text:
        raise InputError("no program named", hint="`toyvisor programs` lists the shipped ones")
    if given_as_path or path.suffix.lower() in SUFFIXES or _is_file(path):
        if _exists(path):
            return path
        shipped = guest_programs_dir() / path.name
        if path.name == text and _is_file(shipped):
            return shipped
        if path.parent == _BROKEN:
            for name in (text, f"{text}.s"):
                if _is_file(guest_programs_dir() / name):
                    return guest_programs_dir() / name
        raise InputError(f"no such file: {text}", hint=_hint(path.stem))
    for suffix in SUFFIXES:
        candidate = guest_programs_dir() / f"{text}{suffix}"
        if _is_file(candidate):
            return candidate
    raise InputError(f"no program named {text!r}", hint=_hint(text))


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _hint(name: str) -> str:
    import difflib

    close = difflib.get_close_matches(name, [p.stem for p in _files()], 3)
    if close:
        return f"did you mean {' or '.join(close)}?"
    broken = guest_programs_dir() / "broken"
    if any(_is_file(broken / f"{name}{suffix}") for suffix in SUFFIXES):
        return f"that one makes a mistake on purpose: {broken / name}.s"
    return "`toyvisor programs` lists the shipped ones"
