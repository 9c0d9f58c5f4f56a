"""Lines of a screen as what a terminal gets, and as a drawing; the same whatever runs it."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO
from xml.sax.saxutils import escape

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

#: Dark, with the hues of Okabe and Ito where ANSI has its eight colours.
THEME = TerminalTheme(
    (16, 20, 24),
    (230, 230, 230),
    [(69, 80, 91), (255, 122, 46), (44, 199, 156), (230, 159, 0), (86, 180, 233), (221, 149, 188),
     (86, 180, 233), (230, 230, 230)],
    [(163, 173, 183), (255, 154, 94), (79, 224, 182), (255, 191, 51), (143, 208, 245),
     (240, 179, 211), (143, 208, 245), (255, 255, 255)],
)  # fmt: skip
#: As rich's own, without the fonts that it would have a browser load from elsewhere.
_SVG = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">
    <title>{title}</title>
    <style>
    .{unique_id}-matrix {{
        font-family: "DejaVu Sans Mono", Menlo, Consolas, monospace;
        font-size: {char_height}px;
        line-height: {line_height}px;
        font-variant-east-asian: full-width;
    }}
    .{unique_id}-title {{
        font-size: 18px;
        font-weight: bold;
        font-family: system-ui, sans-serif;
    }}
    {styles}
    </style>
    <defs>
    <clipPath id="{unique_id}-clip-terminal">
      <rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
    </clipPath>
    {lines}
    </defs>
    {chrome}
    <g transform="translate({terminal_x}, {terminal_y})"
      clip-path="url(#{unique_id}-clip-terminal)">
    {backgrounds}
    <g class="{unique_id}-matrix">
    {matrix}
    </g>
    </g>
</svg>
"""


def _console(width: int, height: int, *, record: bool = False) -> Console:
    """One that the environment has no say in."""
    return Console(
        file=StringIO(), force_terminal=True, color_system="standard", width=width, height=height,
        highlight=False, legacy_windows=False, record=record, _environ={},
    )  # fmt: skip


def ansi_lines(lines: Sequence[Text], width: int) -> list[str]:
    """Each line with its escape sequences."""
    console = _console(width, len(lines))
    found = []
    for line in lines:
        with console.capture() as capture:
            console.print(line, end="", no_wrap=True, overflow="crop")
        found.append(capture.get())
    return found


def svg(lines: Sequence[Text], width: int, title: str) -> str:
    """The screen as a drawing that stands alone."""
    console = _console(width, len(lines), record=True)
    for line in lines:
        console.print(line, no_wrap=True, overflow="crop")
    about = escape(title).replace("{", "{{").replace("}", "}}")
    form = _SVG.replace("{title}", about)
    return console.export_svg(title=title, theme=THEME, code_format=form, unique_id="toyvisor")
