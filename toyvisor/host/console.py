"""Where the machine's character output ends: what `-serial stdio` is to QEMU."""

from __future__ import annotations

from collections.abc import Callable


class Console:
    """The kernel's side of the file that serial port and debug console write to.

    The first `limit` bytes are kept, so that a guest that never stops printing cannot fill
    the host's memory; `on_output` hears all of them.
    """

    LIMIT = 1 << 20

    __slots__ = ("dropped", "limit", "name", "on_output", "output")

    def __init__(
        self,
        name: str = "console",
        *,
        on_output: Callable[[bytearray], None] | None = None,
        limit: int = LIMIT,
    ) -> None:
        self.name = name
        self.on_output = on_output
        self.limit = limit
        self.output = bytearray()
        #: bytes that came after the first `limit`
        self.dropped = 0

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
