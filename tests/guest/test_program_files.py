"""Program files: the machine block, its mistakes, finding and loading programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from toyvisor.errors import InputError, SourceError
from toyvisor.guest import library
from toyvisor.guest.library import find_program, shipped_programs
from toyvisor.guest.program import MachineSpec, load_program, read_machine
from toyvisor.guest.source import SourceText
from toyvisor.modes import CpuMode


def spec_of(block: str) -> MachineSpec:
    return read_machine(SourceText("p.s", block))


def wrong(block: str) -> SourceError:
    with pytest.raises(SourceError) as caught:
        spec_of(block)
    return caught.value


def block(*lines: str, sign: str = ";") -> str:
    return "\n".join(f"{sign} {line}" for line in ("/// machine", *lines, "///")) + "\nhlt\n"


def test_a_whole_block() -> None:
    spec = spec_of(
        block(
            'title = "virtio-net: send one packet"',
            'mode = "long"                      # real | protected | long',
            'memory = "4M"',
            'devices = ["serial", { type = "virtio-net", mac = "52:54:00:12:34:56" }]',
            "registers = { rax = 2, rbx = 0x10 }",
            "origin = 0x200000",
            'expect = "shutdown"',
        )
    )
    assert spec.title == "virtio-net: send one packet"
    assert (spec.mode, spec.memory, spec.origin) == (CpuMode.LONG, 4 << 20, 0x200000)
    assert [d.type for d in spec.devices] == ["serial", "virtio-net"]
    assert spec.devices[1].options == {"mac": "52:54:00:12:34:56"}
    assert spec.registers == {"rax": 2, "rbx": 16}
    assert spec.expect == "shutdown"


@pytest.mark.parametrize("sign", [";", "#", "//"])
def test_any_comment_sign_will_do(sign: str) -> None:
    assert spec_of(block('mode = "real"', sign=sign)).mode is CpuMode.REAL


@pytest.mark.parametrize(
    ("mode", "origin"), [("real", 0x1000), ("protected", 0x100000), ("long", 0x100000)]
)
def test_defaults(mode: str, origin: int) -> None:
    spec = spec_of(block(f'mode = "{mode}"'))
    assert (spec.title, spec.memory, spec.devices, spec.registers) == ("", 2 << 20, (), {})
    assert (spec.origin, spec.expect) == (origin, "halt")


@pytest.mark.parametrize(
    ("size", "bytes_"), [('"64K"', 65536), ('"1G"', 1 << 30), ('"2MiB"', 2 << 20), ("65536", 65536)]
)
def test_sizes_of_memory(size: str, bytes_: int) -> None:
    assert spec_of(block('mode = "long"', f"memory = {size}")).memory == bytes_


@pytest.mark.parametrize(
    ("line", "message", "column"),
    [
        ("titel = 1", "unknown key 'titel'", 3),
        ("title = 1", "title is a text in quotes, not a number", 3),
        ('mode = "longg"', "mode is one of real, protected, long, not 'longg'", 3),
        ("memory = true", "memory is a size, not true or false", 3),
        ('memory = "2X"', "memory '2X' is no size", 3),
        ('memory = "-2M"', "is no size", 3),
        ('memory = "32K"', "from 64K to 1G", 3),
        ('memory = "2G"', "from 64K to 1G", 3),
        ("memory = 65537", "not a multiple of 4096", 3),
        ('devices = "serial"', "devices is a list, not a text", 3),
        ('devices = ["serial", 5]', "a device is a name or a table", 3),
        ('devices = [{ mac = "x" }]', "a device is a name or a table", 3),
        ("registers = [1]", "registers is a table, not a list", 3),
        ("registers = { raxx = 1 }", "there is no register 'raxx'", 17),
        ('registers = { rax = "1" }', "rax is a number, not a text", 17),
        ("registers = { al = 256 }", "al has 8 bits", 17),
        ("origin = -1", "origin is out of range", 3),
        ("origin = 1.5", "origin is a number, not a number with a point", 3),
        ('expect = "hlt"', "expect is one of halt, shutdown, internal-error, budget", 3),
        ("mode = long", "not TOML: Invalid value", 10),
        ("mode", "not TOML", 1),
        ('title = "open', "not TOML", 1),
    ],
)
def test_mistakes_are_told_with_their_place(line: str, message: str, column: int) -> None:
    lines = [line] if line.startswith("mode") else ['mode = "long"', line]
    error = wrong("nop\n" + block(*lines))
    assert message in error.message
    assert error.location.line == 2 + len(lines)
    assert error.location.column == column or column == 1
    assert error.source_line == f"; {line}"


def test_hints_name_what_was_meant() -> None:
    assert wrong(block("titel = 1")).hint == "did you mean title?"
    assert wrong(block('mode = "log"')).hint == "did you mean long?"


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ("nop\n", "does not say what machine", 1),
        ("", "does not say what machine", 1),
        ('; /// machine\n; mode = "long"\nnop\n', "never closed", 1),
        ('nop\n; /// machine\n; mode = "long"\n', "never closed", 2),
        (block('mode = "long"') * 2, "second machine block; the first is in line 1", 5),
        ("; /// machin\n; ///\n", "unknown block 'machin'", 1),
        (block('title = "x"'), "has no mode", 1),
    ],
)
def test_a_missing_or_broken_block(text: str, message: str, line: int) -> None:
    error = wrong(text)
    assert message in error.message
    assert error.location.line == line


def test_a_missing_block_comes_with_one_to_paste() -> None:
    example = str(wrong("nop").hint).split("\n", 1)[1]
    assert spec_of(example).mode is CpuMode.LONG


def test_whoever_knows_the_devices_can_point_at_one() -> None:
    spec = spec_of(
        block('mode = "long"', "devices = [", '  "serial",', '  "floppy", "serial",', "]")
    )
    error = spec.device_error(1, "there is no device 'floppy'", "serial")
    assert (error.location.line, error.location.column) == (5, 5)
    assert error.source_line == ';   "floppy", "serial",'
    assert spec.device_error(2, "x").location.column == 15


def write(path: Path, *lines: str, code: str = "hlt") -> Path:
    path.write_text(block(*lines).replace("hlt\n", code + "\n"))
    return path


def test_a_program_is_loaded_by_path(tmp_path) -> None:
    path = write(tmp_path / "p.s", 'mode = "real"', code="start: mov ax, COUNT\nhlt")
    program = load_program(str(path), symbols={"COUNT": 5})
    assert (program.path, program.name) == (path, "p")
    assert program.assembly.image.hex() == "b80500f4"
    assert program.assembly.origin == program.spec.origin == 0x1000


def test_nasms_org_moves_the_machines_origin(tmp_path) -> None:
    path = write(tmp_path / "p.s", 'mode = "real"', code="org 0x7c00\nhlt")
    assert load_program(path).spec.origin == 0x7C00
    write(path, 'mode = "real"', "origin = 0x1000", code="org 0x7c00\nhlt")
    with pytest.raises(SourceError, match="says org 0x7c00"):
        load_program(path)


def test_a_program_has_to_fit_in_its_memory(tmp_path) -> None:
    path = write(tmp_path / "p.s", 'mode = "real"', 'memory = "64K"', code=".zero 65536")
    with pytest.raises(SourceError, match="beyond the machine's memory"):
        load_program(path)


@pytest.fixture
def shipped(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "guest_programs"
    folder.mkdir()
    write(folder / "hello.s", 'title = "Say hello"', 'mode = "real"')
    write(folder / "bye.asm", 'title = "Say bye"', 'mode = "real"')
    (folder / "broken.s").write_text("nop")
    (folder / "io.inc").write_text("PORT = 0x3f8\n")
    monkeypatch.setattr(library, "guest_programs_dir", lambda: folder)
    monkeypatch.setattr("toyvisor.guest.assembler.guest_programs_dir", lambda: folder)
    return folder


def test_shipped_programs_are_listed_with_their_titles(shipped: Path) -> None:
    titles = [(program.name, program.title) for program in shipped_programs()]
    assert titles == [("broken", ""), ("bye", "Say bye"), ("hello", "Say hello")]


def test_a_program_is_found_by_name_or_path(shipped: Path, tmp_path, monkeypatch) -> None:
    assert find_program("hello") == shipped / "hello.s"
    assert find_program("bye") == shipped / "bye.asm"
    assert find_program("hello.s") == shipped / "hello.s"
    monkeypatch.chdir(tmp_path)
    own = write(tmp_path / "hello.s", 'mode = "long"')
    assert find_program("hello.s") == Path("hello.s")
    assert find_program(own) == own
    assert find_program("./hello.s") == Path("./hello.s")


def test_a_broken_one_is_found_by_its_name_in_their_folder(shipped: Path) -> None:
    (shipped / "broken").mkdir()
    (shipped / "broken" / "late.s").write_text(block('mode = "long"'))
    assert find_program("broken/late") == shipped / "broken" / "late.s"
    assert find_program("broken/late.s") == shipped / "broken" / "late.s"
    with pytest.raises(InputError, match="no such file"):
        find_program("broken/early")


@pytest.mark.parametrize("name", ["helo", "helo.s", "./helo.s", "dir/helo"])
def test_a_program_that_is_not_there_is_met_with_names_like_it(shipped: Path, name: str) -> None:
    with pytest.raises(InputError) as caught:
        find_program(name)
    assert caught.value.hint == "did you mean hello?"


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 5000, "no\nsuch"])
def test_strange_names_are_just_not_found(shipped: Path, name: str) -> None:
    with pytest.raises(InputError):
        find_program(name)


def test_shipped_includes_serve_every_program(shipped: Path, tmp_path) -> None:
    path = write(tmp_path / "p.s", 'mode = "real"', code='.include "io.inc"\nmov dx, PORT')
    assert load_program(path).assembly.image.hex() == "baf803"
