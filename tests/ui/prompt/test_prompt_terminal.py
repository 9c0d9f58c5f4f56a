"""The prompt in a real terminal: editing, completion, history, Ctrl-C."""

from __future__ import annotations

import os
import re
import select
import signal
import sys
import time
from pathlib import Path

import pytest

pty = pytest.importorskip("pty")
pytest.importorskip("readline")

PATIENCE = 30
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """`toyvisor step PROGRAM --plain` with somebody at the keys."""

    def __init__(self, home: Path, *arguments: str) -> None:
        command = [sys.executable, "-m", "toyvisor", "step", *arguments]
        environment = {
            **os.environ, "TERM": "dumb", "XDG_STATE_HOME": str(home / "state"),
            "TOYVISOR_CACHE_DIR": str(home / "cache"), "INPUTRC": "/dev/null",
        }  # fmt: skip
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.execve(sys.executable, command, environment)
        self.seen = ""

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def until(self, wanted: str, *, again: str = "") -> str:
        """What comes, up to `wanted`; now and then `again` is typed."""
        deadline = time.monotonic() + PATIENCE
        while wanted not in self.seen:
            left = deadline - time.monotonic()
            assert left > 0, f"{wanted!r} did not come in {self.seen!r}"
            if select.select([self._fd], [], [], min(left, 2 if again else left))[0]:
                self.seen += self._read()
            else:
                self.type(again)
        before, _, self.seen = self.seen.partition(wanted)
        return before + wanted

    def interrupt(self, wanted: str) -> None:
        """Ctrl-C. Between two reads of a key, readline notices a signal with the next one only."""
        self.type("\x03")
        self.until(wanted, again="\x03")

    def _read(self) -> str:
        try:
            data = os.read(self._fd, 65536)
        except OSError:  # Linux's way of saying that the other side has closed
            data = b""
        assert data, f"it ended: {self.seen!r}"
        return _ESCAPES.sub("", data.decode()).replace("\r", "").replace("\x07", "")

    def status(self) -> int:
        """How it ends."""
        while select.select([self._fd], [], [], PATIENCE)[0]:
            try:
                if not os.read(self._fd, 65536):
                    break
            except OSError:
                break
        _, status = os.waitpid(self.pid, 0)
        self.pid = 0
        return os.waitstatus_to_exitcode(status)

    def close(self) -> None:
        os.close(self._fd)
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)


@pytest.fixture
def open_terminal(tmp_path):
    opened = []

    def open_one(*arguments: str) -> Terminal:
        opened.append(Terminal(tmp_path, *arguments))
        opened[-1].until("(toyvisor) ")
        return opened[-1]

    yield open_one
    for terminal in opened:
        terminal.close()


def test_completing_a_command_a_topic_and_a_label(open_terminal):
    terminal = open_terminal("virtio_net_tx", "--plain")
    terminal.type("disas\t")
    terminal.until("disassemble ")
    terminal.type("wait_r\t\n")
    assert "wait_reset:" in terminal.until("(toyvisor) ")
    terminal.type("info ri\tx\x7f\t tx\n")  # rings, or ring: no choice is made
    terminal.until("(toyvisor) ")
    terminal.type("p exits.mm\t\n")
    assert "\n0\n" in terminal.until("(toyvisor) ")
    terminal.type("\x04")
    assert terminal.status() == 0


def test_lines_are_remembered_from_one_session_to_the_next(open_terminal, tmp_path):
    terminal = open_terminal("one_store", "--plain")
    terminal.type("echo so it was\n")
    terminal.until("\nso it was\n")
    terminal.type("q\n")
    assert terminal.status() == 0
    assert (tmp_path / "state/toyvisor/step_history").exists()
    terminal = open_terminal("one_store", "--plain")
    terminal.type("\x10\x10\n")  # Ctrl-P, twice: the line before `q`
    terminal.until("\nso it was\n")


def test_ctrl_c_stops_the_guest_and_not_the_tool(open_terminal, tmp_path):
    """And the rest of the script."""
    script = tmp_path / "run.txt"
    script.write_text("c\necho never\n")
    terminal = open_terminal("spin", "-x", str(script), "--max-instructions", "1000000000")
    terminal.until("c\n")
    terminal.type("\x03")
    assert "stopped while the guest ran" in terminal.until("(toyvisor) ")
    terminal.type("p instructions >= 0\n")
    assert terminal.until("(toyvisor) ").endswith("\n1\n(toyvisor) ")


def test_ctrl_c_at_the_prompt_clears_the_line_and_twice_leaves(open_terminal):
    terminal = open_terminal("one_store", "--plain")
    terminal.type("nonsense")
    terminal.until("nonsense")
    terminal.interrupt("(toyvisor) ")
    terminal.type("p 7\n")
    assert terminal.until("(toyvisor) ") == "p 7\n7\n(toyvisor) "
    terminal.interrupt("(toyvisor) ")
    terminal.interrupt("\n")
    assert terminal.status() == 130


def test_a_script_comes_first_and_the_keys_behind_it(open_terminal, tmp_path):
    script = tmp_path / "begin.txt"
    script.write_text("si 2\n")
    terminal = open_terminal("one_store", "-x", str(script))
    terminal.until("#2 event 1")
    terminal.until("(toyvisor) ")
    terminal.type("q\n")
    assert terminal.status() == 0
