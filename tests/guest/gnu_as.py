"""GNU as as an oracle: many statements in one run, the bytes of each."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

needs_gnu_as = pytest.mark.skipif(
    shutil.which("as") is None or shutil.which("objcopy") is None,
    reason="GNU as and objcopy are not installed",
)

_HEAD = {
    16: ".code16\n.intel_syntax noprefix\n",
    32: ".code32\n.intel_syntax noprefix\n",
    64: ".code64\n.intel_syntax noprefix\n",
}


def assemble(statements: list[str], bits: int, folder: Path) -> list[bytes | None]:
    """The code GNU as makes of each statement, None where it refuses."""
    refused: set[int] = set()
    for _ in range(4):
        complaints = _run(statements, refused, bits, folder)
        if not complaints:
            break
        refused |= complaints
    else:
        raise AssertionError("GNU as keeps refusing")
    text = _section(folder, ".text")
    marks = struct.unpack(f"<{len(statements) + 1}I", _section(folder, ".marks"))
    return [None if n in refused else text[marks[n] : marks[n + 1]] for n in range(len(statements))]


def _run(statements: list[str], refused: set[int], bits: int, folder: Path) -> set[int]:
    head = _HEAD[bits]
    first = head.count("\n") + 1
    # One line a statement, so that an error's line number names it.
    body = "".join(
        f"mark{n}: {'' if n in refused else s}\n" for n, s in enumerate(statements)
    ) + f"mark{len(statements)}:\n.section .marks,\"a\"\n" + "".join(
        f".long mark{n}\n" for n in range(len(statements) + 1)
    )  # fmt: skip
    source = folder / "all.s"
    source.write_text(head + body)
    width = "--64" if bits == 64 else "--32"
    ran = subprocess.run(
        ["as", width, "-msyntax=intel", "-mnaked-reg", "-o", folder / "all.o", source],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    lines = {int(n) - first for n in re.findall(r"all\.s:(\d+): Error", ran.stderr)}
    assert lines or ran.returncode == 0, ran.stderr
    if not lines:
        subprocess.run(["ld", "-m", "elf_x86_64" if bits == 64 else "elf_i386", "-Ttext=0",
                        "--section-start=.marks=0x1000000", "-e0", "-o", folder / "all.elf",
                        folder / "all.o"], check=True, capture_output=True)  # fmt: skip
    return lines


def _section(folder: Path, name: str) -> bytes:
    out = folder / f"section{name}"
    subprocess.run(["objcopy", "-O", "binary", "-j", name, folder / "all.elf", out], check=True)
    return out.read_bytes()
