"""The command line in a real terminal: tmux at both sizes, keys as a person types them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from stepper_kit import NARROW, WIDE

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")


class Terminal:
    """A tmux server of our own, with one window that runs `toyvisor step`."""

    def __init__(self, socket: Path, size: tuple[int, int], *arguments: str) -> None:
        self._tmux = ["tmux", "-S", str(socket), "-f", "/dev/null"]
        width, height = map(str, size)
        command = [sys.executable, "-m", "toyvisor", "step", *arguments]
        shown = f"{' '.join(command)}; echo status $?; exec cat"
        environment = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "TMUX")}
        self._run("new-session", "-d", "-x", width, "-y", height, shown, env=environment)

    def _run(self, *arguments: str, env: dict[str, str] | None = None) -> str:
        return subprocess.run(
            [*self._tmux, *arguments], check=True, capture_output=True, text=True, env=env,
            cwd=ROOT, timeout=20,
        ).stdout  # fmt: skip

    def press(self, *keys: str) -> None:
        self._run("send-keys", *keys)

    def resize(self, width: int, height: int) -> None:
        self._run("resize-window", "-x", str(width), "-y", str(height))

    @property
    def rows(self) -> list[str]:
        return self._run("capture-pane", "-p").split("\n")

    def until(self, words: str, seconds: float = 30) -> str:
        """The screen, as soon as it has `words`."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            text = "\n".join(self.rows)
            if words in text:
                return text
            time.sleep(0.05)
        raise AssertionError(f"no {words!r} on the screen:\n{text}")

    def close(self) -> None:
        subprocess.run([*self._tmux, "kill-server"], check=False, capture_output=True)


@pytest.fixture
def terminal(tmp_path):
    opened = []

    def open_terminal(size, *arguments) -> Terminal:
        opened.append(Terminal(tmp_path / f"tmux{len(opened)}", size, *arguments))
        return opened[-1]

    yield open_terminal
    for one in opened:
        one.close()


@pytest.mark.parametrize("size", [NARROW, WIDE])
def test_a_walk_there_and_back(terminal, size) -> None:
    screen = terminal(size, "virtio_net_tx")
    screen.until("next: mov edi, MMIO_BASE")
    screen.until("exit 0 of 57")
    screen.press("e", "e")
    screen.until("exit 2 of 57")
    screen.press("v", "v")
    screen.until("KVM_EXIT_MMIO")
    screen.press("V", "E")
    screen.until("exit 2 of 57")
    screen.press("6")
    screen.until("receiveq of virtio-net (1 of 2")
    screen.press("c")
    screen.until("the run is over")
    screen.press("q")
    screen.until("status 0")


def test_ctrl_c_in_a_real_terminal(terminal) -> None:
    screen = terminal(NARROW, "spin", "--max-instructions", "1000000000000")
    screen.until("next: jmp")
    screen.press("c")
    screen.until("Ctrl-C stops the guest")
    screen.press("C-c")
    screen.until("stopped while the guest ran")
    screen.press("C-c")
    screen.until("once more")
    screen.press("C-c")
    screen.until("status 130")


def test_resizing_and_the_prompt(terminal) -> None:
    screen = terminal(NARROW, "hello_mmio")
    screen.until("exit 0 of 77")
    screen.resize(*WIDE)
    text = screen.until("disassembly")
    assert "console" in text
    screen.press(":")
    screen.until("Tab completes")
    screen.press("info exits", "Enter")
    screen.until("(toyvisor) info exits")
    screen.press("Escape")  # on its own: with a key behind it, a terminal takes it for Alt
    screen.until("disassembly")
    screen.press("?")
    screen.until("You walk through one run")
    screen.press("q")
    screen.until("disassembly")
    screen.press("q")
    screen.until("status 0")


def test_a_program_that_is_not_there(terminal) -> None:
    screen = terminal(NARROW, "no_such_program")
    text = screen.until("status 2")
    assert "no program named 'no_such_program'" in text
    assert "Traceback" not in text
