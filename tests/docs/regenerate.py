"""Renew what in the documentation is made from the code: `python tests/docs/regenerate.py`.

The generated tables, the figure, and the output below each command. Output that is shortened
with `...` is left as it is; where it no longer fits, the place is printed.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import tables
from pages import PAGES, ROOT
from shell import matches, walk


def renew_output(page: Path) -> list[str]:
    """Put in what the commands print now; returns the places to be mended by hand."""
    lines = page.read_text(encoding="utf-8").splitlines()
    by_hand = []
    changes = []
    with tempfile.TemporaryDirectory() as folder:
        for _, command, printed in walk(page, Path(folder)):
            if matches(command.output, printed):
                continue
            if command.shortened:
                by_hand.append(f"{page.relative_to(ROOT)}:{command.line}: $ {command.text}")
            else:
                start = command.line + command.text.count("\n")
                changes.append((start, len(command.output), printed))
    for start, length, printed in reversed(changes):
        lines[start : start + length] = printed
    page.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return by_hand


def main() -> int:
    by_hand = []
    for page in PAGES:
        page.write_text(tables.renew(page.read_text(encoding="utf-8")), encoding="utf-8")
        by_hand += renew_output(page)
    tables.FIGURE.write_text(tables.figure(), encoding="utf-8")
    for place in by_hand:
        print(f"{place}: shortened output no longer fits, mend it by hand")
    return 1 if by_hand else 0


if __name__ == "__main__":
    sys.exit(main())
