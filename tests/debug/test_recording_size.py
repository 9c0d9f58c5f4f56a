"""What a recording takes of the host's memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

STATUS = Path("/proc/self/status")

PROGRAM = """
; /// machine
; mode = "long"
; devices = ["mmio-nic", "debugcon"]
; ///
        mov     edi, 0xd0000000
        mov     r15d, 4000
round:  mov     ecx, 121
work:   dec     ecx
        jnz     work
        mov     eax, [rdi]
        mov     al, '.'
        out     0xe9, al
        dec     r15d
        jnz     round
        hlt
"""
CHILD = """
import re, sys
from toyvisor.debug.session import Session
from toyvisor.guest.program import load_program
with Session(load_program(sys.argv[1], use_cache=False)) as session:
    session.go_to_end()
    session.go_to_instruction(500_000)
    peak = re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]
    print(session.frontier.instructions, peak)
"""


@pytest.mark.skipif(not STATUS.exists(), reason="this host does not tell how much was used")
def test_a_million_instructions_are_recorded_in_less_than_200_mib(tmp_path: Path) -> None:
    path = tmp_path / "long.s"
    path.write_text(PROGRAM.lstrip(), encoding="utf-8")
    child = subprocess.run(
        [sys.executable, "-c", CHILD, path], capture_output=True, text=True, check=True
    )
    instructions, kib = map(int, child.stdout.split())
    assert instructions > 990_000
    assert kib < 200 * 1024
