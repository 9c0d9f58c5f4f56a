"""The command palette: every command by its name."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from textual.command import DiscoveryHit, Hit, Hits, Provider

from toyvisor.ui.stepper.keys import Command, all_commands


class Commands(Provider):
    """Searched by name and by key."""

    async def discover(self) -> Hits:
        """All, before anything is typed."""
        for command, run in self._commands():
            yield DiscoveryHit(_name(command), run, help=command.meaning)

    async def search(self, query: str) -> Hits:
        """Those that fit."""
        matcher = self.matcher(query)
        for command, run in self._commands():
            name = _name(command)
            score = matcher.match(name)
            if score > 0:
                yield Hit(score, matcher.highlight(name), run, help=command.meaning)

    def _commands(self) -> Iterator[tuple[Command, Any]]:
        for command in all_commands():
            if command.action != "command_palette":
                yield command, partial(self._run, command)

    async def _run(self, command: Command) -> None:
        await self.app.run_action(command.action)


def _name(command: Command) -> str:
    return f"{command.title} ({command.key_names})"
