"""A stub without gdb, gdb itself in batch mode, and small guests for both."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from toyvisor.commands.run import default_net
from toyvisor.debug.gdb.stub import Stub
from toyvisor.debug.session import Session
from toyvisor.guest.program import load_program
from toyvisor.host.net import open_net

GDB = shutil.which("gdb")
needs_gdb = pytest.mark.skipif(GDB is None, reason="no gdb on this machine")

_REPLY = re.compile(rb"T(?P<signal>[0-9a-f]{2})(?P<pairs>(?:[^:;]+:[^;]*;)*)")

#: Counts to five in memory, and prints nothing.
COUNTER = """\
_start:
        mov     ecx, 5
again:
        inc     dword ptr [count]
        nop
        dec     ecx
        jnz     again
        hlt
count:  .long   0
"""


def program_of(folder: Path, source: str, mode: str = "long", more: str = "") -> Path:
    """A program file with a machine around some code."""
    path = folder / "guest.s"
    path.write_text(f'; /// machine\n; mode = "{mode}"\n{more}; ///\n{source}')
    return path


class Client:
    """Asks a stub as gdb would, packet by packet."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.said = b""
        self.stub = Stub(session, self._say)

    def _say(self, text: bytes) -> None:
        self.said += text

    def ask(self, packet: str) -> str:
        answer = self.stub.answer(packet.encode("latin-1"))
        assert answer is not None
        return answer.decode("latin-1")

    def stop(self, packet: str) -> Mapping[str, str]:
        """Move, and what the stop reply says: its signal, and its pairs by name."""
        found = _REPLY.fullmatch(self.ask(packet).encode("latin-1"))
        assert found is not None
        pairs = [pair.partition(":") for pair in found["pairs"].decode().split(";")[:-1]]
        return {
            "signal": str(int(found["signal"], 16)),
            **{name: value for name, _, value in pairs},
        }

    def monitor(self, command: str) -> str:
        self.said = b""
        assert self.ask(f"qRcmd,{command.encode().hex()}") == "OK"
        return self.said.decode()

    def register(self, name: str) -> int:
        """A register by `p`, found by its name in the target description."""
        document = self.ask("qXfer:features:read:target.xml:0,fffff")
        names = re.findall(r'<reg name="(\w+)"', document)
        return int.from_bytes(bytes.fromhex(self.ask(f"p{names.index(name):x}")), "little")


@contextmanager
def client(program: str | Path) -> Iterator[Client]:
    """A client of a session with the program's own frames."""
    of = load_program(program)
    with Session(of, open_net(default_net(of))) as session:
        yield Client(session)


def gdb(
    program: str | Path, *commands: str, options: str = "", before: Sequence[str] = ()
) -> list[str]:
    """The lines that an unmodified gdb prints for some commands, in batch mode.

    `before`: commands before it connects.
    """
    assert GDB is not None
    command = f"{shlex.quote(sys.executable)} -m toyvisor gdb {shlex.quote(str(program))} --stdio"
    settings = (
        "set confirm off",
        "set pagination off",
        "set width 0",
        "set debuginfod enabled off",
    )
    lines = [*settings, *before, f"target remote | {command} {options}", *commands, "kill"]
    done = subprocess.run(
        [GDB, "-nx", "-q", "-batch", *(word for line in lines for word in ("-ex", line))],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=60,
    )
    return done.stdout.splitlines()
