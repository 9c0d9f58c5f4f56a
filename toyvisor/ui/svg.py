"""A few SVG elements, text escaped: enough for a chart without a library."""

from __future__ import annotations

from xml.sax.saxutils import escape, quoteattr

FONT = "system-ui, 'Segoe UI', 'Helvetica Neue', Arial, sans-serif"
INK, FAINT_INK, GRID, PAPER = "#1a1a1a", "#555555", "#d9d9d9", "#ffffff"


class Drawing:
    """An SVG document of `width` x `height` pixels, on white."""

    def __init__(self, width: float, height: float, title: str, description: str) -> None:
        self._width, self._height = width, height
        self._parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
            f'width="{width:g}" height="{height:g}" role="img" font-family={quoteattr(FONT)}>',
            f"<title>{escape(title)}</title>",
            f"<desc>{escape(description)}</desc>",
            f'<rect width="{width:g}" height="{height:g}" fill="{PAPER}"/>',
        ]

    def text(
        self,
        x: float,
        y: float,
        text: str,
        size: int = 14,
        *,
        anchor: str = "start",
        color: str = INK,
        bold: bool = False,
        halo: bool = False,
    ) -> None:
        """A line of text; `anchor` is start, middle or end. `halo` keeps lines off it."""
        shape = f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}"'
        weight = ' font-weight="600"' if bold else ""
        if halo:  # an element of its own: not every program knows paint-order
            around = f'stroke="{PAPER}" stroke-width="5" stroke-linejoin="round" fill="{PAPER}"'
            self._parts.append(f'{shape} {around} aria-hidden="true">{escape(text)}</text>')
        self._parts.append(f'{shape} fill="{color}"{weight}>{escape(text)}</text>')

    def rectangle(
        self, x: float, y: float, width: float, height: float, color: str, about: str = ""
    ) -> None:
        """A filled rectangle; `about` is shown when pointed at."""
        tip = f"<title>{escape(about)}</title>" if about else ""
        self._parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" '
            f'fill="{color}">{tip}</rect>'
        )

    def line(
        self, start: tuple[float, float], end: tuple[float, float], color: str, width: float = 1
    ) -> None:
        """A straight line."""
        self._parts.append(
            f'<line x1="{start[0]:.1f}" y1="{start[1]:.1f}" x2="{end[0]:.1f}" '
            f'y2="{end[1]:.1f}" stroke="{color}" stroke-width="{width:g}"/>'
        )

    def dot(self, x: float, y: float, radius: float, color: str, about: str = "") -> None:
        """A filled circle."""
        tip = f"<title>{escape(about)}</title>" if about else ""
        self._parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" fill="{color}">{tip}</circle>'
        )

    def render(self) -> str:
        """The document."""
        return "\n".join([*self._parts, "</svg>", ""])
