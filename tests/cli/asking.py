"""What the command line answered, and the same by a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from toyvisor.guest.library import guest_programs_dir

PROGRAMS = sorted(path.stem for path in guest_programs_dir().glob("*.s"))
BROKEN = sorted((guest_programs_dir() / "broken").glob("*.s"))
ORDINARY = guest_programs_dir() / "captures" / "ordinary.pcap"

MACHINE = '; /// machine\n; mode = "long"\n; devices = ["debugcon"]\n; ///\n'
HALT = MACHINE + "hlt\n"
#: more guest errors than a person reads
MANY_MISTAKES = MACHINE + "mov edi, 0xe0000000\nmov ecx, 30\n1: mov [rdi], eax\nloop 1b\nhlt\n"


@dataclass(slots=True)
class Answer:
    """Exit status and what was printed."""

    status: int
    output: bytes
    errors: str

    @property
    def text(self) -> str:
        return self.output.decode()

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    @property
    def complaint(self) -> str:
        """The one line on standard error."""
        assert "Traceback" not in self.errors
        assert self.errors.count("\n") == 1, self.errors
        assert self.errors.endswith("\n")
        return self.errors.rstrip("\n")


def environment(**changes: str | None) -> dict[str, str]:
    """This process's, with some variables set, or taken away (None)."""
    merged = {**os.environ, **changes}
    return {name: value for name, value in merged.items() if value is not None}


def process(*arguments: str, cwd: Path | None = None, **changes: str | None) -> Answer:
    """`python -m toyvisor ...` in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "toyvisor", *arguments],
        capture_output=True,
        check=False,
        cwd=cwd,
        env=environment(**changes),
        timeout=60,
    )
    return Answer(done.returncode, done.stdout, done.stderr.decode())
