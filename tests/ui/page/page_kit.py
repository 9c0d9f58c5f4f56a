"""Pages of shipped programs and of a few lines of assembly, and what is in them."""

from __future__ import annotations

import json
import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from toyvisor.commands.run import default_net
from toyvisor.debug.session import Session
from toyvisor.guest.program import Program, load_program
from toyvisor.host.net import open_net
from toyvisor.ui.page.page import run_page

_RUN = re.compile(r'<script id="run" type="application/json">(.*?)</script>', re.DOTALL)


def session_of(program: Program, **more: Any) -> Session:
    return Session(program, open_net(default_net(program)), **more)


@cache
def page_of(name: str) -> str:
    """The page of a shipped program's run, made once."""
    with session_of(load_program(name)) as session:
        return run_page(session)


def page_of_source(source: str, tmp_path: Path, devices: str = '["debugcon"]') -> str:
    path = tmp_path / "guest.s"
    path.write_text(f'; /// machine\n; mode = "long"\n; devices = {devices}\n; ///\n{source}\n')
    with session_of(load_program(path, use_cache=False)) as session:
        return run_page(session)


def data_in(page: str) -> dict[str, Any]:
    found = _RUN.search(page)
    assert found
    return json.loads(found[1])


class State:
    """The flat table of a page at one step after the other: what page.js works out."""

    def __init__(self, data: dict[str, Any]) -> None:
        self._data = data
        self.table: dict[str, str] = {}

    def add(self, step: list[Any]) -> set[str]:
        """Go on to a step; the keys that it changes."""
        changed = set()
        differences = step[6]
        for key, text in zip(differences[::2], differences[1::2], strict=True):
            name = self._data["keys"][key]
            changed.add(name)
            if text < 0:
                del self.table[name]
            else:
                self.table[name] = self._data["texts"][text]
        return changed


class Elements(HTMLParser):
    """All elements of a page, as (tag, attributes)."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def values(self, attribute: str) -> list[str]:
        return [str(attrs[attribute]) for _, attrs in self.found if attribute in attrs]
