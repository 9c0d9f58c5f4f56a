"""What the documentation tells the reader to do, done."""

from __future__ import annotations

from pathlib import Path

import pytest
from pages import PAGES, ROOT, Block, all_blocks, blocks, commands
from shell import matches, walk

from toyvisor.errors import SourceError
from toyvisor.guest.assembler import assemble_text
from toyvisor.guest.program import load_program
from toyvisor.modes import CpuMode
from toyvisor.qemu import catalog
from toyvisor.qemu.machine import Machine

LANGUAGES = {"console", "asm", "sh", "text", "python", "toml"}


def block_id(block: Block) -> str:
    return block.place


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_print_what_the_page_shows(page: Path, tmp_path: Path) -> None:
    wrong = []
    for _, command, printed in walk(page, tmp_path):
        if not matches(command.output, printed):
            shown = "\n".join(command.output)
            what = "\n".join(printed)
            where = f"{page.name}:{command.line}: $ {command.text}"
            wrong.append(f"{where}\n--- shown\n{shown}\n--- printed\n{what}")
    assert not wrong, "\n\n".join([*wrong, "python tests/docs/regenerate.py renews the pages"])


@pytest.mark.parametrize("block", all_blocks("asm"), ids=block_id)
def test_assembly_is_as_the_page_says(block: Block, tmp_path: Path) -> None:
    """A whole program runs to its expected end; `refused` and `each-refused` do not assemble."""
    if "/// machine" in block.text and "refused" not in block.options:
        path = tmp_path / (block.file or "program.s")
        path.write_text(block.text)
        program = load_program(path, use_cache=False)
        with Machine(program) as machine:
            ending = machine.run(200_000)
        assert ending.outcome.replace("halted", "halt") == program.spec.expect
        return
    mode = CpuMode.REAL if "real" in block.options else CpuMode.LONG
    if "refused" in block.options and "/// machine" in block.text:
        path = tmp_path / "program.s"
        path.write_text(block.text)
        with pytest.raises(SourceError):
            Machine(load_program(path, use_cache=False))
    elif "refused" in block.options:
        with pytest.raises(SourceError):
            assemble_text(block.text, mode=mode)
    elif "each-refused" in block.options:
        for line in filter(None, map(str.strip, block.text.splitlines())):
            with pytest.raises(SourceError):
                assemble_text(f"label:\n{line}", mode=mode)
    else:
        assemble_text(block.text, mode=mode, origin=0x1000)


@pytest.mark.parametrize("block", all_blocks("python"), ids=block_id)
def test_python_runs(block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    """Examples in Python say with `assert` what comes out."""
    monkeypatch.setattr(catalog, "DEVICE_TYPES", dict(catalog.DEVICE_TYPES))
    exec(compile(block.text, block.place, "exec"), {"__name__": "example"})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_are_of_a_kind_that_is_tested(page: Path) -> None:
    for block in blocks(page):
        assert block.language in LANGUAGES, f"{block.place}: {block.language or 'no language'}"
        if block.language == "console":
            assert commands(block)


def test_make_is_asked_for_targets_it_has() -> None:
    targets = {
        line.split(":")[0]
        for line in (ROOT / "Makefile").read_text().splitlines()
        if line[:1].isalpha() and ":" in line and ":=" not in line
    }
    asked = [line for block in all_blocks("sh") for line in block.text.splitlines()]
    made = {word for line in asked if line.startswith("make ") for word in line.split()[1:2]}
    assert {"demo", "test"} <= made <= targets


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        (["a", "b"], ["a", "b"], True),
        (["a", "b"], ["a", "c"], False),
        (["a"], ["a", "b"], False),
        (["a", "..."], ["a", "b", "c"], True),
        (["...", "c"], ["a", "b", "c"], True),
        (["a", "...", "c"], ["a", "b"], False),
        (["file .../x.s: 3 bytes"], ["file /home/me/x.s: 3 bytes"], True),
        (["file .../x.s: 3 bytes"], ["file /home/me/x.s: 4 bytes"], False),
        (["a (b) [c]  "], ["a (b) [c]"], True),
    ],
)
def test_only_an_ellipsis_leaves_something_out(
    shown: list[str], printed: list[str], same: bool
) -> None:
    assert matches(shown, printed) is same
