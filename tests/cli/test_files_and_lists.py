"""asm, disasm, programs, doctor and completion."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, requires

import pytest
from asking import HALT, PROGRAMS, process

from toyvisor.commands import doctor
from toyvisor.guest.disassembler import disassemble
from toyvisor.guest.library import guest_programs_dir
from toyvisor.guest.program import load_program
from toyvisor.modes import CpuMode

ADD = bytes.fromhex("baf80300d80430eeb00aeef4")


def test_asm_says_what_it_made(toyvisor, folder):
    assert toyvisor("asm", "add").text == "add: 12 bytes, 0x1000-0x100b, entry 0x1000\n"
    answer = toyvisor("asm", "add", "-o", "add.bin")
    assert answer.text == "add: 12 bytes to add.bin, 0x1000-0x100b, entry 0x1000\n"
    assert (folder / "add.bin").read_bytes() == ADD


def test_asm_to_standard_output_is_the_binary_alone(toyvisor):
    assert toyvisor("asm", "add", "-o", "-").output == ADD


def test_asm_of_nothing_and_of_one_byte(toyvisor, folder):
    (folder / "empty.s").touch()
    (folder / "one.s").write_text("hlt")
    assert toyvisor("asm", "empty.s").text == "empty.s: 0 bytes, entry 0x100000\n"
    assert toyvisor("asm", "one.s").text == "one.s: 1 byte, 0x100000-0x100000, entry 0x100000\n"


def test_asm_with_a_mode_and_an_origin(toyvisor, folder):
    (folder / "boot.s").write_text("jmp short $\nmov ax, [0x7c00]\n")
    real = ("--mode", "real", "--origin", "0x7c00")
    assert "0x7c00-0x7c04" in toyvisor("asm", "boot.s", *real, "-o", "boot.bin").text
    answer = toyvisor("disasm", "boot.bin", *real)
    assert "    7c00:  eb fe                           jmp 0x7c00" in answer.lines
    assert toyvisor("disasm", "boot.s", *real).text == answer.text


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_listing_has_every_byte_once(toyvisor, program):
    answer = toyvisor("asm", program, "--listing")
    assembly = load_program(program).assembly
    assert answer.text == assembly.listing.format()
    assert not any(line != line.rstrip() for line in answer.lines)
    assert sum(len(line.data) for line in assembly.listing.lines) == len(assembly.image)


@pytest.mark.parametrize("program", PROGRAMS)
def test_disasm_of_a_program_and_of_its_binary_agree(toyvisor, folder, program):
    loaded = load_program(program)
    toyvisor("asm", program, "-o", "flat")
    assert (folder / "flat").read_bytes() == loaded.assembly.image
    place = ("--mode", str(loaded.spec.mode), "--origin", hex(loaded.assembly.origin))
    answer = toyvisor("disasm", "flat", *place)
    assert answer.text == toyvisor("disasm", program).text
    data = bytes.fromhex("".join(re.match(r" *\w+:  ((?:\w\w )+)", li)[1] for li in answer.lines))
    assert data == loaded.assembly.image


def test_disasm_of_what_is_no_code(toyvisor, folder):
    (folder / "junk.bin").write_bytes(b"\x06\xff\xff\x0f")
    (folder / "nothing.bin").touch()
    lines = toyvisor("disasm", "junk.bin", "--origin", "0").lines
    found = disassemble(b"\x06\xff\xff\x0f", 0, CpuMode.LONG)
    assert [line.split()[0] for line in lines] == [f"{i.address:x}:" for i in found]
    assert toyvisor("disasm", "nothing.bin").output == b""
    answer = toyvisor("disasm", "junk.bin", "--origin", "0xfffffffffffffffe")
    assert "does not fit" in answer.complaint


def test_programs_lists_each_with_its_title(toyvisor):
    lines = toyvisor("programs").lines
    assert [line.split()[0] for line in lines] == PROGRAMS
    assert all(len(line.split(maxsplit=1)) == 2 for line in lines)
    assert max(map(len, lines)) <= 80
    rows = json.loads(toyvisor("programs", "--json").text)
    assert [row["name"] for row in rows] == PROGRAMS
    assert [f"{row['title']}" for row in rows] == [li.split(maxsplit=1)[1] for li in lines]


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_prints_a_source_that_runs_when_saved(toyvisor, folder, program):
    source = toyvisor("programs", program).output
    assert source == (guest_programs_dir() / f"{program}.s").read_bytes()
    (folder / "mine.s").write_bytes(source)
    assert toyvisor("asm", "mine.s").status == 0
    row = json.loads(toyvisor("programs", program, "--json").text)
    assert row["name"] == program
    assert row["title"]
    assert row["source"].encode() == source


def test_doctor_is_content_here(toyvisor):
    answer = toyvisor("doctor")
    assert answer.status == 0, answer.text
    assert not any(line.startswith("NO") for line in answer.lines)
    assert re.search(r"ok +guest 2 \+ 2 +4, halted", answer.text)
    found = json.loads(toyvisor("doctor", "--json").text)
    assert {entry["state"] for entry in found.values()} <= {"ok", "--"}
    assert set(found) == {re.split(r"  +", line)[1] for line in answer.lines}


def test_doctor_names_every_package_the_project_depends_on(toyvisor):
    try:
        required = requires("toyvisor") or []
    except PackageNotFoundError:
        pytest.skip("Toyvisor itself is not installed")
    wanted = {re.match(r"[\w.-]+", r)[0] for r in required if "extra" not in r}
    assert wanted <= set(json.loads(toyvisor("doctor", "--json").text))


@pytest.mark.parametrize("package", ["unicorn", "capstone", "greenlet", "dpkt"])
def test_doctor_says_how_to_get_a_package(toyvisor, monkeypatch, package):
    real = doctor.version

    def version(name: str) -> str:
        if name == package:
            raise PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(doctor, "version", version)
    answer = toyvisor("doctor")
    assert answer.status == 1
    bad = [line for line in answer.lines if line.startswith("NO")]
    assert bad == [f"NO  {package:<22} not installed: python -m pip install {package}"]


def test_doctor_survives_a_processor_that_can_t_be_imported(tmp_path):
    (tmp_path / "greenlet.py").write_text("raise ImportError('no greenlet here')")
    answer = process("doctor", PYTHONPATH=str(tmp_path))
    assert answer.status == 1
    assert not answer.errors
    assert re.search(r"NO +guest 2 \+ 2 +no greenlet here", answer.text)


def test_doctor_says_when_nothing_can_be_kept(toyvisor, folder, monkeypatch):
    (folder / "file").touch()
    monkeypatch.setenv("TOYVISOR_CACHE_DIR", "")
    assert re.search(r"-- +cache +no place to write", toyvisor("doctor").text)
    monkeypatch.setenv("TOYVISOR_CACHE_DIR", "/proc/nowhere")
    assert toyvisor("doctor").status == 0


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion_names_commands_and_options(toyvisor, shell):
    answer = toyvisor("completion", shell)
    assert answer.status == 0
    for word in ("run", "compare", "disasm", "--max-instructions", "--trace"):
        assert word.lstrip("-") in answer.text


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_bash_takes_the_completion_script_and_completes(toyvisor, folder):
    (folder / "done.sh").write_text(toyvisor("completion", "bash").text)
    subprocess.run(["bash", "-n", "done.sh"], check=True)
    script = """
        source done.sh
        COMP_WORDS=(toyvisor run --m) COMP_CWORD=2 COMP_LINE='toyvisor run --m'
        _shtab_toyvisor toyvisor --m run
        echo "${COMPREPLY[@]}"
    """
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["--max-instructions", "--max-seconds"]


@pytest.mark.parametrize("value", ["unset", "/proc/nowhere", "/dev/null", "read-only"])
def test_a_cache_that_can_t_be_used_changes_nothing(folder, value):
    (folder / "mine.s").write_text(HALT)
    where: dict[str, str | None] = {"TOYVISOR_CACHE_DIR": value}
    if value == "unset":
        where = dict.fromkeys(("TOYVISOR_CACHE_DIR", "HOME", "XDG_CACHE_HOME"))
        where["XDG_CACHE_HOME"] = str(folder / "cache")
    elif value == "read-only":
        where["TOYVISOR_CACHE_DIR"] = str(folder / "cache")
        (folder / "cache").mkdir(mode=0o555)
    answer = process("run", "mine.s", "--json", cwd=folder, **where)
    assert (answer.status, answer.errors) == (0, "")
    assert json.loads(answer.text)["outcome"] == "halted"
    if value == "unset":
        assert any(files for _, _, files in os.walk(folder / "cache"))
