"""`toyvisor demo`: lists, lines, recordings, and a show in a real terminal."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import select
import struct
import subprocess
import sys
import time

import pytest
from asking import HALT, environment
from hypothesis import given, settings
from hypothesis import strategies as st

from toyvisor.cli import main

SHOWS = [
    "mmio_nic_tx", "one_store", "virtio_net_rx", "virtio_net_tx", "virtio_net_tx_sleep",
    "virtio_net_vhost",
]  # fmt: skip


def test_the_list(toyvisor):
    answer = toyvisor("demo", "--list")
    assert answer.status == 0
    assert [line.split()[0] for line in answer.lines[: len(SHOWS)]] == SHOWS
    assert "The life of one store" in answer.text
    assert answer.lines[-1].startswith("Any other program")


def test_in_a_pipe_it_prints_lines_at_once(toyvisor):
    answer = toyvisor("demo")
    assert (answer.status, answer.errors) == (0, "")
    assert answer.lines[0] == "The life of one store to a device"
    assert answer.lines[2] == "[1/13] one_store.s:17  mov edi, MMIO_BASE"
    assert "\x1b" not in answer.text
    assert answer.text == toyvisor("demo", "one_store", "--plain").text


def test_a_show_that_is_no_program(toyvisor):
    answer = toyvisor("demo", "virtio_net_vhost")
    assert answer.status == 0
    assert "tun_sendmsg: tap0" in answer.text


def test_another_machine_gets_the_default_show(toyvisor):
    answer = toyvisor("demo", "virtio_net_tx_sleep", "--device", "virtio-net,vhost=on")
    assert answer.status == 0
    assert "It begins with" in answer.text


def test_ones_own_program_and_ones_own_script(toyvisor, folder):
    (folder / "my.s").write_text(HALT)
    assert "[1/4] my.s:5  hlt" in toyvisor("demo", "my.s").lines
    script = '[[step]]\ngo = "exit"\nsay = "It leaves: {exits.hlt}."\n'
    (folder / "my.demo.toml").write_text(f'title = "mine"\n{script}')
    answer = toyvisor("demo", "my.s")
    assert answer.lines[0] == "mine"
    assert "    It leaves: 1." in answer.lines
    (folder / "other.toml").write_text(f'program = "my.s"\n{script}')
    other = toyvisor("demo", "--script", "other.toml")
    assert "    It leaves: 1." in other.lines
    assert other.lines[0] == "my"


def test_a_copy_of_a_shipped_program_is_ones_own(toyvisor, folder):
    """What it does by now no shipped script can know."""
    (folder / "one_store.s").write_text(HALT)
    assert "It begins with `hlt`." in toyvisor("demo", "one_store.s").text


def test_recordings(toyvisor, folder):
    for suffix in ("html", "cast", "svg", "txt"):
        answer = toyvisor("demo", "one_store", "--record", f"run.{suffix}", "--size", "80x24")
        assert (answer.status, answer.output, answer.errors) == (0, b"", "")
    assert (folder / "run.html").read_text().startswith("<!doctype html>")
    header = json.loads((folder / "run.cast").read_text().splitlines()[0])
    assert (header["width"], header["height"]) == (80, 24)
    assert (folder / "run.txt").read_text() == toyvisor("demo", "one_store").text


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("one_stor",), "no program named 'one_stor' (hint: did you mean one_store"),
        (("add", "--record", "x.gif"), "can't record into 'x.gif'"),
        (("add", "--record", "no/x.html"), "can't write no/x.html: No such file or directory"),
        (("add", "--record", "x.html", "--size", "big"), "--size big is no size"),
        (("add", "--record", "x.html", "--size", "10x10"), "--size 10x10: from 80x24 to 400x200"),
        (("add", "--speed", "0"), "0 is not between 0.05 and 100"),
        (("add", "--speed", "fast"), "'fast' is not a number"),
        (("--script", "none.toml"), "no such file: none.toml"),
        (("--script", "empty.toml"), "empty.toml has no steps"),
        (("--script", "nameless.toml"), "nameless.toml names no program"),
        (("add", "--script", "wrong.toml"), "wrong.toml: step 1: there is no label 'nowhere'"),
        (("add", "--device", "virtio-net,vhost=on"), "add has no virtio-net"),
        (("hello_serial", "--input", "none.txt"), "can't read none.txt"),
    ],
)
def test_mistakes(toyvisor, folder, arguments, complaint):
    (folder / "empty.toml").write_text("")
    (folder / "nameless.toml").write_text('[[step]]\ngo = "end"\n')
    (folder / "wrong.toml").write_text('[[step]]\ngo = "to nowhere"\n')
    answer = toyvisor("demo", *arguments)
    assert answer.status == 2
    assert complaint in answer.complaint
    assert answer.output == b""


def test_a_recording_does_not_write_over_its_program_or_script(toyvisor, folder):
    (folder / "my.txt").write_text('[[step]]\ngo = "end"\n')
    answer = toyvisor("demo", "add", "--script", "my.txt", "--record", "my.txt")
    assert "it is the input" in answer.complaint
    assert (folder / "my.txt").read_text() == '[[step]]\ngo = "end"\n'


ODD = ("go", "say", "count", "beat", "pause", "show", "exit", "event copy", "to", "until", "{rax}",
       "{", "device", "start", "queue", "")  # fmt: skip
VALUES = st.one_of(
    st.sampled_from(ODD), st.text(max_size=6), st.integers(-2, 3), st.floats(), st.booleans()
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(st.dictionaries(st.sampled_from(ODD[:6]), VALUES, max_size=4), max_size=4))
def test_scripts_of_any_content_end_with_a_line(tmp_path_factory, steps):
    """JSON's texts, numbers and booleans are TOML's, too, but for the numbers that are none."""
    lines = []
    for step in steps:
        lines.append("[[step]]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in step.items()]
    path = tmp_path_factory.getbasetemp() / "odd.toml"
    path.write_text("\n".join(lines))
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(["demo", "one_store", "--script", str(path)])
    assert status in (0, 2)
    assert (status == 0) == (not err.getvalue())
    assert "Traceback" not in err.getvalue()


# In a terminal --------------------------------------------------------------------------------


class Terminal:
    """A process with a terminal of its own."""

    def __init__(self, *arguments: str, columns: int = 80, rows: int = 24, **changes) -> None:
        import fcntl
        import termios

        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "toyvisor", *arguments],
            stdin=slave, stdout=slave, stderr=slave, close_fds=True, start_new_session=True,
            env=environment(TERM="xterm-256color", COLUMNS=None, LINES=None, **changes),
        )  # fmt: skip
        os.close(slave)
        self.output = b""

    def until(self, text: str, seconds: float = 30.0) -> None:
        """Read until the terminal got `text`."""
        end = time.monotonic() + seconds
        while text.encode() not in self.output:
            ready, _, _ = select.select([self._master], [], [], max(end - time.monotonic(), 0))
            assert ready, self.output[-2000:]
            try:
                self.output += os.read(self._master, 65536)
            except OSError:  # the process has closed it
                break
        assert text.encode() in self.output

    def press(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def end(self) -> int:
        """Its exit status; all that it wrote is read."""
        try:
            while data := os.read(self._master, 65536):
                self.output += data
        except OSError:
            pass
        os.close(self._master)
        return self.process.wait(30)


def test_a_show_in_a_terminal():
    """Paused, forward, back, and left: the screen is given back, with its cursor."""
    terminal = Terminal("demo", "one_store")
    terminal.until("1/13 ▶")
    terminal.press(b" ")
    terminal.until("1/13 paused")
    terminal.press(b"\x1b[C")
    terminal.until("2/13 paused")
    terminal.press(b"\x1b[C")
    terminal.until("3/13 paused")
    terminal.output = b""
    terminal.press(b"\x1b[D")
    terminal.until("2/13 paused")
    terminal.press(b"q")
    assert terminal.end() == 0
    assert b"\x1b[?1049l" in terminal.output
    assert b"\x1b[?25h" in terminal.output
    assert b"Traceback" not in terminal.output


def test_no_color_means_none():
    terminal = Terminal("demo", "one_store", NO_COLOR="1")
    terminal.until("1/13 ▶")
    terminal.press(b"q")
    assert terminal.end() == 0
    assert b"\x1b[1;36m" not in terminal.output
    assert b"\x1b[36m" not in terminal.output


def test_a_terminal_that_is_too_small_is_told():
    terminal = Terminal("demo", "one_store", columns=60, rows=20)
    assert terminal.end() == 2
    assert b"the terminal has 60x20 characters, a demo needs 80x24" in terminal.output


def test_ctrl_c_leaves_the_terminal_as_it_was():
    terminal = Terminal("demo", "one_store")
    terminal.until("1/13 ▶")
    os.killpg(terminal.process.pid, 2)
    assert terminal.end() == 130
    assert b"\x1b[?1049l" in terminal.output
    assert b"Traceback" not in terminal.output
