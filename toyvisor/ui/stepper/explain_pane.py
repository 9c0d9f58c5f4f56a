"""What just happened, why, and where it is written; between instructions: what comes next."""

from __future__ import annotations

from toyvisor.ui.stepper.pane import Pane
from toyvisor.ui.stepper.picture import Picture
from toyvisor.ui.stepper.rows import Role, Row, dim, row, wrapped


class ExplainPane(Pane):
    """Title, what happened with its values, the idea behind it, the source."""

    heading = "why"

    def title_for(self, picture: Picture) -> str:
        """Whether it tells of what comes or of what was."""
        return "what comes next" if picture.moment.between else "what just happened"

    def build(self, picture: Picture, width: int) -> list[Row]:
        """Paragraphs, as wide as the pane."""
        told = picture.explanation
        if told is None:
            return [row(dim("nothing has happened yet"))]
        rows = wrapped(told.title, width, Role.STRONG)
        rows += wrapped(told.what, width)
        if told.why:
            rows += wrapped(f"Why: {told.why}", width)
        if told.source:
            rows += wrapped(f"See {told.source}", width, Role.DIM)
        return rows
