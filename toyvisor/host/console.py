"""Where the machine's characters go and come from: what `-serial stdio` is to QEMU."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from toyvisor.host.syscalls import CharInput

if TYPE_CHECKING:
    from toyvisor.host.console_input import InputFile


class Console:
    """The kernel's side of the file that serial port and debug console write to.

    The first `limit` bytes are kept, so that a guest that never stops printing cannot fill
    the host's memory; `on_output` hears all of them. `input` is what the serial port gets to
    read, if anything (console_input.py).
    """

    LIMIT = 1 << 20

    __slots__ = ("dropped", "input", "limit", "name", "on_output", "output")

    def __init__(
        self,
        name: str = "console",
        *,
        on_output: Callable[[bytearray], None] | None = None,
        limit: int = LIMIT,
        input: CharInput | None = None,
    ) -> None:
        self.name = name
        self.input = input
        self.on_output = on_output
        self.limit = limit
        self.output = bytearray()
        #: bytes that came after the first `limit`
        self.dropped = 0

    @property
    def real_files(self) -> tuple[InputFile, ...]:
        """What a `Poller` has to ask the real kernel about."""
        if self.input is None:
            return ()
        from toyvisor.host.console_input import InputFile

        return (self.input,) if isinstance(self.input, InputFile) else ()

    def accept(self, data: bytearray) -> None:
        """Keep the bytes of one write() and pass them on."""
        kept = max(0, min(len(data), self.limit - len(self.output)))
        self.output += data[:kept]
        self.dropped += len(data) - kept
        if self.on_output is not None:
            self.on_output(data)

    @property
    def text(self) -> str:
        """The output as text; bytes that are not UTF-8 become U+FFFD."""
        return self.output.decode("utf-8", errors="replace")
