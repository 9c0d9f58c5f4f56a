"""The one exception hierarchy of Toyvisor.

Whatever a person can cause (a syntax error, a missing file, an unknown device) is a
`ToyvisorError`: the command line prints it and exits with its `exit_status`. Anything
else that escapes is a bug and may show its traceback.
"""

from __future__ import annotations

from typing import NamedTuple


class ToyvisorError(Exception):
    """Base of all errors a user can act on. `str()` is the one line to print."""

    exit_status = 2

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        if self.hint is None:
            return f"error: {self.message}"
        return f"error: {self.message} (hint: {self.hint})"


class UsageError(ToyvisorError):
    """The command line or an option value makes no sense."""


class InputError(ToyvisorError):
    """An input file is missing, unreadable or not what it should be."""


class MachineError(ToyvisorError):
    """This machine lacks something (a library, /dev/kvm, a permission)."""


class GuestError(ToyvisorError):
    """The guest broke a rule: of the machine, of a device, of the VIRTIO specification.

    Raised inside a device model and caught where the guest's access entered it; a guest
    can never make one escape. `rule` is a stable name such as "virtio.split.chain-loop",
    `section` where the rule stands, e.g. "VIRTIO 1.2, 2.7.5.2".
    """

    exit_status = 1

    def __init__(
        self, message: str, *, rule: str, section: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.rule = rule
        self.section = section


class SourceLocation(NamedTuple):
    """A place in a source file; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class SourceError(InputError):
    """An error at a place in a guest program's source.

    `str()` is `file:line:col: error: message` and, below it, the source line, a caret
    and the hint: the shape of gcc and clang, which editors know how to jump to.
    """

    def __init__(
        self,
        message: str,
        location: SourceLocation,
        *,
        source_line: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.location = location
        self.source_line = source_line

    def __str__(self) -> str:
        lines = [f"{self.location}: error: {self.message}"]
        if self.source_line:  # an empty one shows nothing
            # Tabs stay tabs, so that the caret stands under its character.
            before = self.source_line[: self.location.column - 1]
            indent = "".join("\t" if c == "\t" else " " for c in before)
            lines += [f"    {self.source_line}", f"    {indent}^"]
        if self.hint is not None:
            lines.append(f"hint: {self.hint}")
        return "\n".join(lines)
