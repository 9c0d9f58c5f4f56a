"""The cache of assembled programs: quick, by content, and never in the way."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from toyvisor.guest import cache
from toyvisor.guest.assembler import Assembly, assemble_file
from toyvisor.modes import CpuMode


def assemble(path: Path, **symbols: int) -> Assembly:
    return assemble_file(path, mode=CpuMode.LONG, origin=0, symbols=symbols)


@pytest.fixture
def program(tmp_path) -> Path:
    path = tmp_path / "p.s"
    path.write_text('.include "a.inc"\nstart: mov eax, VALUE\nhlt ; end\n.zero 20\n')
    (tmp_path / "a.inc").write_text("VALUE = 5\n")
    return path


@pytest.fixture
def count(monkeypatch) -> list[int]:
    """How often something was really assembled."""
    from toyvisor.guest import assembler

    calls: list[int] = []
    original = assembler._assemble

    def counted(*arguments: object) -> Assembly:
        calls.append(1)
        return original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(assembler, "_assemble", counted)
    return calls


def test_a_cached_program_is_the_same(program: Path, count: list[int]) -> None:
    first, second = assemble(program), assemble(program)
    assert len(count) == 1
    assert first == second
    assert second.listing.format() == first.listing.format()
    line = second.listing.at(5)
    assert line is not None
    assert line.text == "hlt ; end"


def test_a_change_anywhere_counts(program: Path, count: list[int]) -> None:
    assert assemble(program).image[1] == 5
    (program.parent / "a.inc").write_text("VALUE = 6\n")
    assert assemble(program).image[1] == 6
    program.write_text("mov eax, 7\n")
    assert assemble(program).image[1] == 7
    assemble(program, COUNT=1)
    assemble(program, COUNT=2)
    assert len(count) == 5


def test_an_include_that_appears_before_another_counts(tmp_path, monkeypatch) -> None:
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    (shipped / "a.inc").write_text("VALUE = 1\n")
    monkeypatch.setattr("toyvisor.guest.assembler.guest_programs_dir", lambda: shipped)
    (tmp_path / "own").mkdir()
    program = tmp_path / "own" / "p.s"
    program.write_text('.include "a.inc"\n.byte VALUE\n')
    assert assemble(program).image == b"\1"
    (tmp_path / "own" / "a.inc").write_text("VALUE = 2\n")
    assert assemble(program).image == b"\2"


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b'{"key": 1}', b"\xff" * 9, b"[" * 9999]
)
def test_a_corrupt_entry_is_no_entry(program: Path, content: bytes) -> None:
    wanted = assemble(program)
    folder = cache.cache_folder()
    assert folder is not None
    (entry,) = folder.iterdir()
    entry.write_bytes(content)
    assert assemble(program) == wanted
    assert entry.read_bytes() != content


def test_without_a_place_to_write_it_works_too(program: Path, tmp_path, monkeypatch) -> None:
    (tmp_path / "file").write_text("")
    for place in (str(tmp_path / "file"), "", "/proc/nothing"):
        monkeypatch.setenv("TOYVISOR_CACHE_DIR", place)
        assert assemble(program).image[1] == 5


def test_writers_at_once_do_no_harm(program: Path) -> None:
    results: list[Assembly] = []
    threads = [threading.Thread(target=lambda: results.append(assemble(program))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    assert all(result == results[0] for result in results)
    folder = cache.cache_folder()
    assert folder is not None
    assert len(list(folder.iterdir())) == 1


def test_a_hit_imports_neither_keystone_nor_capstone_nor_the_lexer(program: Path) -> None:
    program.write_text('; /// machine\n; mode = "long"\n; ///\nhlt\n')
    script = f"""if True:
        import sys
        from toyvisor.guest.program import load_program
        image = load_program({str(program)!r}).assembly.image.hex()
        own = [f"toyvisor.guest.{{m}}" for m in ("lexer", "parser", "layout", "encoder")]
        heavy = ["keystone", "capstone", "subprocess", *own]
        print(image, [m for m in heavy if m in sys.modules])"""
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    outputs = [
        subprocess.run(
            [sys.executable, "-c", script],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for _ in range(2)
    ]
    assert outputs[0].startswith("f4 [")
    assert outputs[1] == "f4 []"
