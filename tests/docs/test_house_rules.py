"""Who may import whom: the house has floors, and imports only go down.

docs/architecture.md draws the house; `MAY_IMPORT` is that picture.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from pages import ROOT

PACKAGE = ROOT / "toyvisor"

GROUND = {"trace", "errors", "memory", "modes", "exit_reasons"}
BELOW_QEMU = GROUND | {"guest", "virtio", "kvm", "host"}
BELOW_LEARN = BELOW_QEMU | {"qemu"}
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "modes": set(),
    "memory": {"errors"},
    "exit_reasons": set(),
    "trace": {"errors", "exit_reasons"},
    "cpu": GROUND,
    "guest": GROUND,
    "virtio": GROUND,
    "kvm": GROUND | {"cpu", "guest"},
    "host": GROUND | {"virtio"},
    "qemu": BELOW_QEMU,
    "debug": BELOW_LEARN | {"cpu"},
    "learn": BELOW_LEARN | {"debug"},
    "ui": BELOW_LEARN | {"debug", "learn"},
    "commands": BELOW_LEARN | {"debug", "learn", "ui"},
    "cli": BELOW_LEARN | {"debug", "learn", "ui", "commands"},
}
#: packages of others, and the one room that may touch each
BEHIND = {
    "unicorn": "cpu",
    "greenlet": "cpu",
    "keystone": "guest",
    "capstone": "guest",
    "platformdirs": "guest",
    "dpkt": "host",
    "rich_argparse": "cli",
    "shtab": "commands",
    "textual": "ui",
}
#: Imports against the rules that are still to be paid off.
DEBTS: set[tuple[str, str]] = set()


@dataclass(frozen=True)
class Import:
    """One import statement: by whom, of which module, of which name in it."""

    importer: str
    module: str
    name: str | None
    line: int
    lazy: bool  # inside a function, or for type checkers only

    def __str__(self) -> str:
        what = self.module if self.name is None else f"{self.module}: {self.name}"
        return f"{self.importer} (line {self.line}) imports {what}"


@cache
def modules() -> dict[str, Path]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        found[name] = path
    return found


def _statements(name: str, path: Path) -> Iterator[Import]:
    def visit(node: ast.AST, lazy: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            inner = lazy or isinstance(child, ast.FunctionDef)
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                inner = True
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield Import(name, alias.name, None, child.lineno, inner)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{name}: imports say the whole name"
                for alias in child.names:
                    whole = f"{child.module}.{alias.name}"
                    if whole in modules():
                        yield Import(name, whole, None, child.lineno, inner)
                    else:
                        yield Import(name, str(child.module), alias.name, child.lineno, inner)
            else:
                yield from visit(child, inner)

    yield from visit(ast.parse(path.read_text()), lazy=False)


@cache
def imports() -> tuple[Import, ...]:
    return tuple(found for name, path in modules().items() for found in _statements(name, path))


def room(module: str) -> str:
    """The room of a module; "" for the package itself, which has the version only."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def ours(found: Import) -> bool:
    return found.module.split(".")[0] == "toyvisor"


def test_every_room_is_in_the_picture() -> None:
    rooms = {room(name) for name in modules()} - {"", "__main__"}
    assert rooms <= set(MAY_IMPORT)


def test_imports_only_go_down() -> None:
    breaches = {
        (found.importer, found.module): str(found)
        for found in imports()
        if ours(found)
        and room(found.importer) not in ("", "__main__")
        and room(found.module) not in ("", room(found.importer))
        and room(found.module) not in MAY_IMPORT[room(found.importer)]
    }
    new = [text for pair, text in breaches.items() if pair not in DEBTS]
    assert not new, "\n".join(new)
    paid = DEBTS - set(breaches)
    assert not paid, f"no longer there, so take it off DEBTS: {sorted(paid)}"


@pytest.mark.parametrize("package", sorted(BEHIND))
def test_one_room_touches(package: str) -> None:
    users = {room(found.importer) for found in imports() if found.module.split(".")[0] == package}
    assert users <= {BEHIND[package]}


def test_only_screens_and_commands_know_rich() -> None:
    users = {room(found.importer) for found in imports() if found.module.split(".")[0] == "rich"}
    assert users <= {"ui", "commands"}


def test_nobody_imports_what_is_private_to_another_module() -> None:
    private = [str(i) for i in imports() if ours(i) and (i.name or "").startswith("_")
               and not (i.name or "").startswith("__")]  # fmt: skip
    private += [
        str(i) for i in imports() if ours(i) and any(p.startswith("_") for p in i.module.split("."))
    ]
    assert not private, "\n".join(private)


def _cycle(graph: dict[str, set[str]]) -> list[str] | None:
    """Some way through the graph that comes back to where it began."""
    done: set[str] = set()

    def follow(node: str, path: list[str]) -> list[str] | None:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in done:
            return None
        for following in sorted(graph[node]):
            found = follow(following, [*path, node])
            if found:
                return found
        done.add(node)
        return None

    for start in sorted(graph):
        found = follow(start, [])
        if found:
            return found
    return None


def test_no_module_imports_itself_in_a_circle() -> None:
    """When modules are loaded; what a function imports when it runs can't bite."""
    graph: dict[str, set[str]] = defaultdict(set)
    for found in imports():
        if ours(found) and not found.lazy and room(found.module):
            graph[found.importer].add(found.module)
    assert _cycle(graph) is None


def test_no_room_needs_itself_in_a_circle() -> None:
    graph: dict[str, set[str]] = defaultdict(set)
    for found in imports():
        if (
            ours(found)
            and (found.importer, found.module) not in DEBTS
            and room(found.module) not in ("", room(found.importer))
        ):
            graph[room(found.importer)].add(room(found.module))
    assert _cycle(graph) is None


def test_the_picture_itself_has_no_circle() -> None:
    graph = defaultdict(set, MAY_IMPORT)
    assert _cycle(graph) is None


def test_the_encoder_process_needs_nothing_of_ours() -> None:
    """guest/encoder_worker.py is started by its path, without Toyvisor in reach."""
    worker = [i for i in imports() if i.importer == "toyvisor.guest.encoder_worker"]
    assert worker
    assert not [str(i) for i in worker if ours(i)]


def test_a_circle_is_found() -> None:
    assert _cycle(defaultdict(set, {"a": {"b"}, "b": {"c"}, "c": {"a"}})) == ["a", "b", "c", "a"]
    assert _cycle(defaultdict(set, {"a": {"b", "c"}, "b": {"c"}})) is None
