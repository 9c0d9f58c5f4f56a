"""Whatever the documentation names is there, under that name."""

from __future__ import annotations

import ast
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
from pages import PAGES, ROOT, all_blocks, blocks, commands, inline_code, prose

import toyvisor.qemu.virtio.rules  # noqa: F401  (fills the catalogue)
from toyvisor.cli import build_parser
from toyvisor.virtio.errors import Rule

#: where a file named in the text may lie
FOLDERS = (ROOT, ROOT / "toyvisor", ROOT / "guest_programs", ROOT / "tests")
FILE = re.compile(r"([\w./-]*\w\.(?:py|s|inc|md|toml|pcap|svg))(?:: ([A-Za-z_][\w.]*))?")
FOLDER = re.compile(r"[a-z_][\w/-]*/")
MODULE = re.compile(r"toyvisor(\.\w+)+")
RULE = re.compile(r"virtio\.\w+\.[\w-]+")

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@cache
def names_in(path: Path) -> set[str]:
    """Functions, classes, methods and assigned names of a module: "Vcpu", "Vcpu.run"."""
    found: set[str] = set()

    def visit(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                found.add(prefix + node.name)
                if isinstance(node, ast.ClassDef):
                    visit(node.body, f"{prefix}{node.name}.")
            elif isinstance(node, ast.Assign):
                for target in node.targets:
                    found.update(prefix + n.id for n in ast.walk(target) if isinstance(n, ast.Name))
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                found.add(prefix + node.target.id)

    visit(ast.parse(path.read_text()).body, "")
    return found


def made_by_the_reader(page: Path) -> set[str]:
    """Files that the page has its reader write, or a command on it does."""
    files = {block.file for block in blocks(page) if block.file}
    typed = [c.text for b in blocks(page) if b.language == "console" for c in commands(b)]
    return files | {word for text in typed for word in re.split(r"[\s,:>]+", text)}


@pages
def test_files_and_names_in_code_exist(page: Path) -> None:
    own = made_by_the_reader(page)
    for number, span in inline_code(page):
        where = f"{page.name}:{number}: `{span}`"
        if match := FILE.fullmatch(span):
            candidates = [folder / match[1] for folder in (*FOLDERS, page.parent)]
            found = [path for path in candidates if path.is_file()]
            assert found or match[1] in own, f"{where}: no such file"
            if match[2]:
                assert match[2] in names_in(found[0]), f"{where}: no such name"
        elif FOLDER.fullmatch(span):
            assert any((folder / span).is_dir() for folder in FOLDERS), f"{where}: no such folder"
        elif MODULE.fullmatch(span):
            assert find_spec(span) is not None, f"{where}: no such module"
        elif RULE.fullmatch(span):
            assert span in Rule.catalogue, f"{where}: no such rule"


@pages
def test_links_lead_somewhere(page: Path) -> None:
    for number, line in prose(page):
        for target in re.findall(r"\]\(([^)\s]+)\)", line):
            if target.startswith(("http://", "https://")):
                continue
            name, _, anchor = target.partition("#")
            path = (page.parent / name).resolve() if name else page
            assert path.exists(), f"{page.name}:{number}: {target}"
            if anchor:
                headings = [ln for _, ln in prose(path) if ln.startswith("#")]
                anchors = {slug(heading.lstrip("#")) for heading in headings}
                assert anchor in anchors, f"{page.name}:{number}: {target}"


def slug(heading: str) -> str:
    """The anchor that GitHub makes of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pages
def test_lines_fit_a_terminal(page: Path) -> None:
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        assert len(line) <= 100, f"{page.name}:{number}: {len(line)} characters"
        assert "\t" not in line, f"{page.name}:{number}: a tab"


@pages
def test_every_page_is_reached_from_the_readme(page: Path) -> None:
    readme = (ROOT / "README.md").read_text()
    name = page.relative_to(ROOT).as_posix()
    assert name == "README.md" or f"]({name}" in readme


@pages
def test_options_named_in_the_text_exist(page: Path) -> None:
    known = {"toyvisor": set[str]()}
    actions = build_parser()._subparsers._group_actions[0].choices  # type: ignore[union-attr]
    for name, parser in actions.items():
        known[name] = set(parser._option_string_actions)
    for number, span in inline_code(page):
        words = span.split()
        if words[0] == "toyvisor" and len(words) > 1 and not words[1].startswith("-"):
            assert words[1] in known, f"{page.name}:{number}: `{span}`"
            for word in words[2:]:
                if word.startswith("-"):
                    assert word in known[words[1]], f"{page.name}:{number}: `{span}`"
        elif re.fullmatch(r"--[a-z-]+", words[0]):
            everywhere = set().union(*known.values())
            assert words[0] in everywhere, f"{page.name}:{number}: `{span}`"


def test_there_are_examples() -> None:
    """A parser that finds nothing would pass all of the above."""
    assert len(all_blocks("console")) > 20
    assert len(all_blocks("asm")) > 8
    assert sum(len(inline_code(page)) for page in PAGES) > 200
