"""The documentation as data: its pages, and the fenced blocks, links and names in them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

_FENCE = re.compile(r"```(\w*) ?(.*)")


@dataclass(frozen=True)
class Block:
    """A fenced block. `options` are the words after the language: `asm file=first.s`."""

    page: Path
    line: int  # of its first line of text, from 1
    language: str
    options: frozenset[str]
    text: str

    @property
    def file(self) -> str | None:
        """The name under which the reader is to save it."""
        names = [o.removeprefix("file=") for o in self.options if o.startswith("file=")]
        return names[0] if names else None

    @property
    def needs(self) -> str | None:
        """The tool that the reader has to have for it: without, it is left out."""
        tools = [o.removeprefix("needs=") for o in self.options if o.startswith("needs=")]
        return tools[0] if tools else None

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True)
class Command:
    """A command of a console block, and the lines the page shows below it."""

    line: int
    text: str
    output: tuple[str, ...]

    @property
    def shortened(self) -> bool:
        return any("..." in line for line in self.output)


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page, in order."""
    found: list[Block] = []
    lines = page.read_text(encoding="utf-8").splitlines()
    start = None
    language, options = "", frozenset[str]()
    for number, line in enumerate(lines, 1):
        if start is None and (match := _FENCE.fullmatch(line)):
            start, language, options = number, match[1], frozenset(match[2].split())
        elif start is not None and line == "```":
            text = "\n".join(lines[start : number - 1]) + "\n"
            found.append(Block(page, start + 1, language, options, text))
            start = None
    assert start is None, f"{page.name}:{start}: this block never ends"
    return found


def all_blocks(language: str) -> list[Block]:
    return [b for page in PAGES for b in blocks(page) if b.language == language]


def commands(block: Block) -> list[Command]:
    """What a console block shows: `$ command`, then its output. A `\\` continues a command."""
    found: list[Command] = []
    lines = block.text.splitlines()
    position = 0
    while position < len(lines):
        first = position
        assert lines[first].startswith("$ "), f"{block.place}: output without a command"
        text = lines[first][2:]
        while text.endswith("\\"):
            position += 1
            text += "\n" + lines[position]
        position += 1
        begin = position
        while position < len(lines) and not lines[position].startswith("$ "):
            position += 1
        found.append(Command(block.line + first, text, tuple(lines[begin:position])))
    return found


def prose(page: Path) -> list[tuple[int, str]]:
    """The lines outside fenced blocks, with their numbers."""
    found = []
    fenced = False
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith("```"):
            fenced = not fenced
        elif not fenced:
            found.append((number, line))
    return found


def inline_code(page: Path) -> list[tuple[int, str]]:
    """Everything in single back quotes, with its line; spans do not cross lines."""
    return [
        (number, span)
        for number, line in prose(page)
        for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", line)
    ]
