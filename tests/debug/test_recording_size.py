"""What a recording takes of the host's memory."""

from __future__ import annotations

import subprocess
import sys

import pytest

resource = pytest.importorskip("resource", reason="the host does not tell how much was used")

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
import resource, sys
from toyvisor.debug.session import Session
from toyvisor.guest.program import load_program
with Session(load_program(sys.argv[1], use_cache=False)) as session:
    session.go_to_end()
    session.go_to_instruction(500_000)
    print(session.frontier.instructions, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_a_million_instructions_are_recorded_in_less_than_200_mib(tmp_path: object) -> None:
    path = f"{tmp_path}/long.s"
    with open(path, "w", encoding="utf-8") as file:
        file.write(PROGRAM.lstrip())
    child = subprocess.run(
        [sys.executable, "-c", CHILD, path], capture_output=True, text=True, check=True
    )
    instructions, kib = map(int, child.stdout.split())
    assert instructions > 990_000
    assert kib / (1 if sys.platform != "darwin" else 1024) < 200 * 1024
