"""Runs what the documentation says to type, and compares with what it says comes back.

Commands run in `sh`, in an empty folder for each page, on a terminal of 80 columns without
colours. In the shown output a line `...` stands for any lines, `...` within a line for any
text of that line.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from pages import Block, Command, blocks, commands

TIME_LIMIT = 60


class Shell:
    """A reader at a terminal."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "page"
        self.home.mkdir()
        tools = folder / "bin"
        tools.mkdir()
        toyvisor = tools / "toyvisor"
        toyvisor.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m toyvisor "$@"\n')
        toyvisor.chmod(0o755)
        self._environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("COV", "PYTEST"))},
            "PATH": f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "TOYVISOR_CACHE_DIR": str(folder / "cache"),
            "COLUMNS": "80",
            "NO_COLOR": "1",
            "PYTHONUNBUFFERED": "1",  # so that both output streams keep their order
            "PYTHONIOENCODING": "utf-8",
            "PYTHONPATH": os.pathsep.join(sys.path[1:]),
        }

    def run(self, command: str) -> list[str]:
        """The lines that a command prints, on both its outputs."""
        done = subprocess.run(
            ["sh", "-c", command],
            cwd=self.home,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TIME_LIMIT,
            check=False,
        )
        return trimmed(done.stdout.decode("utf-8").splitlines())


def trimmed(lines: Sequence[str]) -> list[str]:
    """Without blanks at the ends of lines, and without empty lines at the end."""
    found = [line.rstrip() for line in lines]
    while found and not found[-1]:
        found.pop()
    return found


def matches(shown: Sequence[str], printed: Sequence[str]) -> bool:
    """Whether the output is as shown, where `...` stands for what was left out."""
    pattern = ""
    for line in trimmed(shown):
        if line.strip() == "...":
            pattern += r"(?:.*\n)*?"
        else:
            pattern += ".*?".join(re.escape(part) for part in line.split("...")) + r"\n"
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in printed)) is not None


def walk(page: Path, folder: Path) -> Iterator[tuple[Block, Command, list[str]]]:
    """Do what a page says from top to bottom: save its files, run its commands."""
    shell = Shell(folder)
    for block in blocks(page):
        if block.file is not None:
            (shell.home / block.file).write_text(block.text, encoding="utf-8")
        if block.needs is not None and shutil.which(block.needs) is None:
            continue
        if block.language == "console":
            for command in commands(block):
                yield block, command, shell.run(command.text)
