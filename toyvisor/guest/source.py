"""Reading source files without trusting them, and finding includes inside allowed folders."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from toyvisor.errors import InputError, SourceError, SourceLocation

try:
    # Importing hashlib loads OpenSSL, which takes as long as running a small guest.
    from _blake2 import blake2b
except ImportError:  # an interpreter that has it elsewhere
    from hashlib import blake2b

MAX_SOURCE_BYTES = 4 << 20
MAX_LINE_CHARACTERS = 20_000


class SourceLine(NamedTuple):
    """One line as its author sees it: where it is, and its text without the line end."""

    file: str
    number: int
    text: str
    macro: str | None = None
    """For a line a macro or repetition produced: where it was called from."""

    def at(self, column: int) -> SourceLocation:
        """The location of a column (from 1) of this line."""
        return SourceLocation(self.file, self.number, column)

    def error(self, message: str, column: int, hint: str | None = None) -> SourceError:
        """A SourceError at a column of this line."""
        if self.macro is not None:
            message = f"{message} (in {self.macro})"
        shown = self.text if len(self.text) <= 200 else None  # no caret in a far column
        return SourceError(message, self.at(column), source_line=shown, hint=hint)


class SourceText(NamedTuple):
    """A source file in memory. `name` is what messages call it; `path` is where it lies."""

    name: str
    text: str
    path: Path | None = None

    def lines(self) -> list[SourceLine]:
        """Its lines. Only a newline ends one, as in editors (not U+2028 and friends)."""
        texts = self.text.split("\n")
        if texts[-1] == "":
            texts.pop()
        return [SourceLine(self.name, n, t.removesuffix("\r")) for n, t in enumerate(texts, 1)]


def read_bytes(path: Path, limit: int = MAX_SOURCE_BYTES) -> bytes:
    """The content of a regular file of at most `limit` bytes; else InputError."""
    try:
        status = path.stat()
    except FileNotFoundError:
        raise InputError(f"no such file: {path}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {_reason(error)}") from None
    if stat.S_ISDIR(status.st_mode):
        raise InputError(f"{path} is a directory, not a file")
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{path} is not a regular file")
    if status.st_size > limit:
        raise InputError(f"{path} is too large: {status.st_size} bytes, the limit is {limit}")
    try:
        with path.open("rb") as stream:
            data = stream.read(limit + 1)
    except OSError as error:
        raise InputError(f"cannot read {path}: {_reason(error)}") from None
    if len(data) > limit:
        raise InputError(f"{path} is too large: the limit is {limit} bytes")
    return data


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error)


def decode_source(data: bytes, name: str, path: Path | None = None) -> SourceText:
    """Bytes as UTF-8 source text.

    Raises: InputError for binary data, SourceError at the byte that is not UTF-8.
    """
    nul = data.find(b"\0")
    if nul >= 0:
        line = data.count(b"\n", 0, nul) + 1
        raise InputError(
            f"{name} is not a text file: it has a NUL byte (line {line})",
            hint="give the assembly source, not the assembled binary",
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
        raise SourceError(
            f"byte {data[error.start]:#04x} is not UTF-8 text",
            SourceLocation(name, line, column),
            hint="save the file as UTF-8",
        ) from None
    return check_text(SourceText(name, text, path))


def check_text(source: SourceText) -> SourceText:
    """Refuse what no person wrote: NUL characters, endless lines, megabytes of text."""
    if len(source.text) > MAX_SOURCE_BYTES:
        raise InputError(f"{source.name} is too large: the limit is {MAX_SOURCE_BYTES} characters")
    if source.text.startswith("\ufeff"):  # a byte order mark, from some Windows editors
        source = source._replace(text=source.text[1:])
    if "\0" in source.text:
        line = source.text.count("\n", 0, source.text.index("\0")) + 1
        raise InputError(f"{source.name} is not a text file: it has a NUL byte (line {line})")
    for line_ in source.lines():
        if len(line_.text) > MAX_LINE_CHARACTERS:
            raise line_.error(f"line longer than {MAX_LINE_CHARACTERS} characters", 1)
    return source


def read_source(path: Path, name: str | None = None) -> SourceText:
    """Read a source file; InputError says what is wrong with it."""
    return decode_source(read_bytes(path), name or str(path), path)


class Dependency(NamedTuple):
    """A file whose content (or absence: digest None) the assembled result depends on."""

    path: str
    digest: str | None


def digest(data: bytes) -> str:
    """Content key of some bytes (BLAKE2b, hex)."""
    return blake2b(data, digest_size=32).hexdigest()


class SourceRoots:
    """The only folders a program may read from: its own, then the given and shipped ones.

    Every look at a file is noted in `dependencies`, for the cache.
    """

    __slots__ = ("dependencies", "include_dirs", "program_dir")

    def __init__(self, program_dir: Path | None, include_dirs: tuple[Path, ...] = ()) -> None:
        self.program_dir = program_dir
        self.include_dirs = include_dirs
        self.dependencies: list[Dependency] = []

    def read_include(self, name: str, beside: Path | None) -> SourceText:
        """The include file `name`, seen from the file `beside`; InputError if there is none."""
        roots = self._roots()
        folders = ([beside.parent] if beside is not None else []) + roots
        path, data = self._find(name, folders, roots, MAX_SOURCE_BYTES)
        return decode_source(data, str(path), path)

    def read_binary(self, name: str, beside: Path | None, limit: int) -> bytes:
        """The bytes of `name` for .incbin: only from the program's own folder."""
        if self.program_dir is None:
            raise InputError(".incbin needs a program file to look beside")
        folders = [beside.parent] if beside is not None else []
        return self._find(name, [*folders, self.program_dir], [self.program_dir], limit)[1]

    def _roots(self) -> list[Path]:
        own = [self.program_dir] if self.program_dir is not None else []
        return [*own, *self.include_dirs]

    def _find(
        self, name: str, folders: Iterable[Path], roots: list[Path], limit: int
    ) -> tuple[Path, bytes]:
        if "\0" in name or not name.strip():
            raise InputError("the file name is empty or has a NUL byte")
        if Path(name).is_absolute() or name.startswith(("/", "\\", "~")) or ":" in name:
            raise InputError(
                f"cannot include {name!r}: absolute paths are not allowed",
                hint="name a file beside the program",
            )
        outside = False
        for folder in dict.fromkeys(folders):
            candidate = Path(os.path.normpath(folder / name))
            if not _inside(candidate, roots):
                outside = True
                continue
            if not candidate.exists():
                self.dependencies.append(Dependency(str(candidate.absolute()), None))
                continue
            data = read_bytes(candidate, limit)
            self.dependencies.append(Dependency(str(candidate.absolute()), digest(data)))
            return candidate, data
        if outside:
            raise InputError(
                f"cannot include {name!r}: it lies outside of the program's folder",
                hint="copy the file beside the program",
            )
        raise InputError(f"no such file: {name!r}", hint=_close_names(name, roots))


def _inside(path: Path, roots: Iterable[Path]) -> bool:
    try:
        real = path.resolve()
        return any(real.is_relative_to(root.resolve()) for root in roots)
    except (OSError, RuntimeError):  # a loop of symbolic links, a name too long
        return False


def _close_names(name: str, roots: Iterable[Path]) -> str | None:
    import difflib

    names: list[str] = []
    for root in roots:
        try:
            names += sorted(p.name for p in root.iterdir())[:1000]
        except OSError:
            continue
    close = difflib.get_close_matches(name, names, 3)
    return f"did you mean {' or '.join(close)}?" if close else None
