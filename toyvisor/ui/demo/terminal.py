"""The terminal as a stage: rich's live display on the alternate screen."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console, Group
from rich.live import Live

from toyvisor.errors import UsageError
from toyvisor.ui.demo.screen import SMALLEST, Frame, draw


class Terminal:
    """A context manager: the screen is given back as it was."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._live = Live(console=self._console, screen=True, auto_refresh=False)
        self._size = (0, 0)

    def __enter__(self) -> Terminal:
        width, height = self._now()
        if width < SMALLEST[0] or height < SMALLEST[1]:
            raise UsageError(
                f"the terminal has {width}x{height} characters, a demo needs "
                f"{SMALLEST[0]}x{SMALLEST[1]}",
                hint="--plain shows it line by line",
            )
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._live.stop()

    def show(self, frame: Frame) -> None:
        """Draw a frame."""
        width, height = self._size = self._now()
        lines = draw(frame, max(width, 40), max(height, 16))
        self._live.update(Group(*lines), refresh=True)

    def has_changed(self) -> bool:
        """The size is another one since the last frame."""
        return self._now() != self._size

    def _now(self) -> tuple[int, int]:
        width, height = self._console.size
        return width, height
