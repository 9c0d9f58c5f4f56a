"""The ELF file: what binutils read in it is what the assembler knows."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from struct import unpack_from

import pytest
from gdb_kit import gdb, needs_gdb, program_of
from hypothesis import given
from hypothesis import strategies as st

from toyvisor.debug.gdb.dwarf import Row, line_sections
from toyvisor.debug.gdb.symbol_file import symbol_file
from toyvisor.guest.library import guest_programs_dir
from toyvisor.guest.program import Program, load_program

READELF = shutil.which("readelf")
needs_readelf = pytest.mark.skipif(READELF is None, reason="no readelf on this machine")
PROGRAMS = sorted(path.stem for path in guest_programs_dir().glob("*.s"))


def readelf(content: bytes, folder: Path, *options: str) -> str:
    assert READELF is not None
    path = folder / "guest.elf"
    path.write_bytes(content)
    done = subprocess.run(
        [READELF, *options, str(path)],
        capture_output=True, text=True, check=True, env={**os.environ, "LC_ALL": "C"},
    )  # fmt: skip
    assert not done.stderr, done.stderr
    return done.stdout


def symbols(text: str) -> dict[str, tuple[int, str]]:
    rows = re.findall(r"^ +\d+: ([0-9a-f]+) +\d+ NOTYPE +GLOBAL DEFAULT +(\w+) (\S+)$", text, re.M)
    return {name: (int(value, 16), section) for value, section, name in rows}


def lines_of(text: str) -> list[tuple[str, int, int]]:
    """(file name's end, line, address) of each row."""
    rows = re.findall(r"^(\S+) +(\d+) +(0x[0-9a-f]+|0) +(?:\d+ +)?x *$", text, re.M)
    return [(name[-10:], int(line), int(address, 16)) for name, line, address in rows]


def expected_lines(program: Program) -> list[tuple[str, int, int]]:
    found: list[tuple[str, int, int]] = []
    for line in program.assembly.listing.lines:
        if line.data:
            row = (line.location.file[-10:], line.location.line, line.address)
            if not found or found[-1][:2] != row[:2]:
                found.append(row)
    return found


@needs_readelf
@pytest.mark.parametrize("name", PROGRAMS)
def test_labels_and_lines_of_a_shipped_program(name, tmp_path):
    program = load_program(name)
    assembly = program.assembly
    text = readelf(
        symbol_file(program), tmp_path, "-W", "-h", "-l", "-s", "--debug-dump=decodedline"
    )
    found = symbols(text)
    labels = {n: value for n, (value, section) in found.items() if section == "1"}
    assert "_start" in labels or assembly.entry == assembly.origin
    assert all(assembly.symbols[n] == value for n, (value, _) in found.items())
    end = assembly.origin + len(assembly.image)
    assert all(assembly.origin <= value <= end for value in labels.values())
    assert not labels.keys() & {"COM1", "UART_LSR", "DEBUGCON"}
    assert lines_of(text) == expected_lines(program)
    assert f"Entry point address:               {assembly.entry:#x}" in text
    assert re.search(rf"LOAD +0x001000 0x0*{assembly.origin:x} ", text)


@pytest.mark.parametrize(("name", "bits", "machine"), [("add", 1, 0), ("hello_protected", 1, 3),
                                                        ("hello_serial", 2, 62)])  # fmt: skip
def test_the_machine_is_the_modes(name, bits, machine):
    """EM_NONE for real mode: the target description says that it is an 8086."""
    program = load_program(name)
    content = symbol_file(program)
    assert content[:5] == b"\x7fELF" + bytes((bits,))
    assert unpack_from("<H", content, 18) == (machine,)
    image = program.assembly.image
    assert content[0x1000 : 0x1000 + len(image)] == image


def decoded(table: bytes, address_size: int) -> list[tuple[int, str, int] | None]:
    """A reader of line number programs, as short as ours needs it; None ends a sequence."""
    header_length = unpack_from("<I", table, 6)[0]
    end_of_header = 10 + header_length
    files = [part.decode() for part in re.findall(rb"(/\w+\.\w+)\0\0\0\0", table[:end_of_header])]
    position, found = end_of_header, []
    address, file, line = 0, 1, 1

    def leb128(*, signed: bool = False) -> int:
        nonlocal position
        value = shift = 0
        while True:
            byte = table[position]
            position += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return value - (1 << shift) if signed and byte & 0x40 else value

    while position < len(table):
        opcode = table[position]
        position += 1
        if opcode == 0 and table[position + 1] == 1:
            position += 2
            found.append(None)
            address, file, line = 0, 1, 1
        elif opcode == 0:
            assert table[position : position + 2] == bytes((address_size + 1, 2))
            address = int.from_bytes(table[position + 2 : position + 2 + address_size], "little")
            position += 2 + address_size
        elif opcode == 1:
            found.append((address, files[file - 1], line))
        elif opcode == 2:
            address += leb128()
        elif opcode == 3:
            line += leb128(signed=True)
        else:
            assert opcode == 4
            file = leb128()
    return found


SIZES, GAPS, LINES = st.integers(1, 300), st.sampled_from([0, 0, 1, 200]), st.integers(1, 5000)
FILES = st.sampled_from(["/a.s", "/b.inc", "/c.inc"])


@given(
    st.lists(st.tuples(SIZES, GAPS, LINES, FILES), min_size=1, max_size=12),
    st.sampled_from([4, 8]),
)
def test_any_lines_at_all(rows, address_size):
    """Sizes, gaps, jumps in both directions, several files."""
    address, given_rows, expected = 0x1000, [], []
    for size, gap, line, file in rows:
        given_rows.append(Row(address, size, file, line))
        if not expected or expected[-1] is None or expected[-1][1:] != (file, line):
            expected.append((address, file, line))
        address += size + gap
        if gap:
            expected.append(None)
    if expected[-1] is not None:
        expected.append(None)
    sections = line_sections(given_rows, "/a.s", address_size)
    assert sections.keys() == {".debug_line", ".debug_info", ".debug_abbrev"}
    table = sections[".debug_line"]
    assert unpack_from("<I", table)[0] == len(table) - 4
    assert decoded(table, address_size) == expected


def test_a_program_without_code_has_no_lines(tmp_path):
    assert line_sections([], "/a.s", 8) == {}


@needs_gdb
def test_gdb_finds_the_sources_from_another_folder(tmp_path, monkeypatch):
    program_of(tmp_path, "_start:\n\tnop\n\thlt\n")
    monkeypatch.chdir(tmp_path)
    assert gdb("guest.s", "cd /", "list 5,6")[-3:-1] == ["5\t\tnop", "6\t\thlt"]


@needs_gdb
def test_gdb_reads_the_file_that_symbols_writes(tmp_path):
    path = tmp_path / "hello.elf"
    path.write_bytes(symbol_file(load_program("hello_serial")))
    lines = gdb("hello_serial", "info symbol 0x100013", before=[f"file {path}"])
    assert "wait_room + 1 in section .text" in lines
    assert not any("from remote target" in line for line in lines)
