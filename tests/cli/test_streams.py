"""The command line as a process: pipes, terminals, signals, closed and full outputs."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from asking import BROKEN, HALT, MACHINE, MANY_MISTAKES, environment, process

LINUX_FULL = "/dev/full"
COMMANDS = [
    ["run", "add"],
    ["run", "add", "--json"],
    ["run", "add", "--trace", "-"],
    ["trace", "add"],
    ["asm", "add", "--listing"],
    ["disasm", "add"],
    ["programs"],
    ["--help"],
]
commands = pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
posix = pytest.mark.skipif(os.name != "posix", reason="a shell is needed")


def shell(script: str, **changes: str | None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", script, "sh", sys.executable, "-m", "toyvisor"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=environment(**changes),
    )


@pytest.mark.parametrize(
    "arguments",
    [["run", "mmio_nic_tx", "--trace", "-"], ["trace", "virtio_net_tx"], ["run", "mmio_nic_tx"]],
    ids=" ".join,
)
@posix
def test_a_reader_that_has_seen_enough(arguments):
    done = shell(f'("$@" {" ".join(arguments)}; echo "status $?" >&2) | head -n 1')
    assert done.stderr == "status 0\n"
    assert done.stdout.count("\n") == 1


@posix
def test_a_run_keeps_its_status_when_nobody_reads_it():
    for _ in range(3):
        done = shell('("$@" run triple_fault; echo "status $?" >&2) | true')
        assert done.stderr.splitlines()[-1] == "status 1"
        assert "Traceback" not in done.stderr


@commands
@posix
def test_closed_outputs(arguments):
    quiet = shell(f'"$@" {" ".join(arguments)} >&-')
    assert (quiet.returncode, quiet.stderr) == (0, "")
    assert shell(f'"$@" {" ".join(arguments)} 2>&- >/dev/null').returncode == 0


@posix
def test_errors_never_land_in_the_output():
    done = shell('"$@" run no_such_program 2>&-')
    assert (done.returncode, done.stdout) == (2, "")


@commands
@pytest.mark.skipif(not os.path.exists(LINUX_FULL), reason="only Linux has /dev/full")
def test_a_full_disk(arguments):
    done = shell(f'"$@" {" ".join(arguments)} >{LINUX_FULL}')
    assert done.returncode == 2
    assert done.stderr.endswith(": No space left on device\n")
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(not os.path.exists(LINUX_FULL), reason="only Linux has /dev/full")
def test_files_on_a_full_disk():
    for option in (["--trace", LINUX_FULL], ["--net", f"pcap:,{LINUX_FULL}"]):
        answer = process("run", "virtio_net_tx", *option)
        assert answer.status == 2
        assert "No space left on device" in answer.complaint


@posix
def test_a_trace_into_a_pipe_that_waits(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    reader = subprocess.Popen(["cat", str(tmp_path / "fifo")], stdout=subprocess.PIPE)
    answer = process("run", "add", "--trace", str(tmp_path / "fifo"))
    assert answer.status == 0
    lines = reader.communicate(timeout=20)[0].splitlines()
    assert json.loads(lines[-1])["event"] == "kvm_userspace_exit"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_names_that_the_terminal_can_t_show(tmp_path, encoding):
    (tmp_path / "größe-程序.s").write_text(HALT)
    (tmp_path / os.fsdecode(b"\xff.s")).write_text(HALT)
    for name in ("größe-程序.s", os.fsdecode(b"\xff.s")):
        answer = process("run", name, cwd=tmp_path, PYTHONIOENCODING=encoding)
        assert (answer.status, answer.errors) == (0, "")


# Terminals ------------------------------------------------------------------------------


def on_a_terminal(*arguments: str, columns: int = 80, lines: int = 24, **changes: str | None):
    """(status, what was shown) of a run on a terminal of that size."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    child = subprocess.Popen(
        [sys.executable, "-m", "toyvisor", *arguments],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env=environment(**{"TERM": "xterm-256color", **changes}),
    )
    os.close(follower)
    shown = b""
    while select.select([leader], [], [], 30)[0]:
        try:
            data = os.read(leader, 65536)
        except OSError:  # Linux's way to say that the other side is closed
            break
        if not data:
            break
        shown += data
    os.close(leader)
    return child.wait(timeout=30), shown.decode().replace("\r\n", "\n")


ANSI = re.compile(r"\x1b\[[0-9;]*m")


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (120, 40)])
@pytest.mark.parametrize("program", ["virtio_net_tx", "mmio_nic_tx", "add", "triple_fault"])
def test_a_summary_fits_the_screen(program, columns, lines):
    status, shown = on_a_terminal("run", program, columns=columns, lines=lines)
    assert status == (program == "triple_fault")
    summary = ANSI.sub("", shown).split("\n\n/")[0].splitlines()
    assert len(summary) <= lines - 2
    assert max(map(len, summary)) <= 80
    assert not any(line != line.rstrip() for line in summary)
    assert set(ANSI.findall(shown)) > {"\x1b[1m", "\x1b[0m"}, "with colour"


def test_no_colour_where_it_is_not_wanted():
    for changes in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        _, shown = on_a_terminal("run", "triple_fault", **changes)
        if "NO_COLOR" in changes:
            shown = re.sub(r"\x1b\[[0-9;]*[12]m", "", shown).replace("\x1b[0m", "")
        assert not re.search(r"\x1b\[[0-9;]*3\dm", shown), "no colour"
    plain = process("run", "triple_fault")
    assert "\x1b" not in plain.text + plain.errors
    assert "\x1b" not in process("run", "--help").text


def test_errors_come_after_the_summary(tmp_path):
    (tmp_path / "many.s").write_text(MANY_MISTAKES)
    for program in (str(tmp_path / "many.s"), str(BROKEN[2])):
        _, shown = on_a_terminal("run", program, NO_COLOR="1")
        summary, errors = re.sub(r"\x1b\[[0-9;]*m", "", shown).rsplit("\n\n", 1)
        assert "Vmexits" in summary
        broken = errors.replace("\r", "").splitlines()
        assert all(len(line) < 80 for line in broken if " " in line.strip())
        for line in errors.replace("\r", "").replace("\n    ", " ").splitlines():
            assert " error" in line or ": shutdown: " in line


@pytest.mark.parametrize("columns", ["40", "20", "1", "0", "-5", "x", "100000"])
def test_screens_of_any_width(columns):
    answer = process("run", "virtio_net_tx", COLUMNS=columns)
    assert (answer.status, answer.errors) == (0, "")
    assert not any(line != line.rstrip() for line in answer.lines)
    if columns == "40":
        assert max(map(len, answer.lines)) <= 40
    if columns == "0":
        assert "Vmexits" in answer.text


@pytest.mark.skipif(shutil.which("tmux") is None, reason="no tmux")
def test_in_tmux(tmp_path):
    server = f"toyvisor-{os.getpid()}"
    tmux = ["tmux", "-L", server, "-f", "/dev/null"]
    mark = tmp_path / "done"
    command = f"{sys.executable} -m toyvisor run add; echo status $?; touch {mark}; sleep 30"
    try:
        subprocess.run(
            [*tmux, "new-session", "-d", "-x", "80", "-y", "24", command],
            check=True,
            env=environment(),
        )
        end = time.monotonic() + 20
        while not mark.exists() and time.monotonic() < end:
            time.sleep(0.05)
        shown = subprocess.run(
            [*tmux, "capture-pane", "-p"], check=True, capture_output=True, text=True
        ).stdout
    finally:
        subprocess.run([*tmux, "kill-server"], check=False, capture_output=True)
    lines = shown.rstrip().splitlines()
    assert lines[0] == "4"
    assert "add: halted after 7 instructions" in lines
    assert lines[-1] == "status 0"


# Ctrl-C ---------------------------------------------------------------------------------


def interrupted(arguments: list[str], after: float = 0.7) -> tuple[int, float, str]:
    child = subprocess.Popen(
        [sys.executable, "-m", "toyvisor", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    try:
        _let_work(child.pid, after)
        begin = time.monotonic()
        child.send_signal(signal.SIGINT)
        errors = child.communicate(timeout=10)[1].decode()
        return child.returncode, time.monotonic() - begin, errors
    finally:
        child.kill()
        child.wait()


def _let_work(pid: int, seconds: float) -> None:
    """Until it has had so much of the processor, however busy the host is."""
    place = Path(f"/proc/{pid}/stat")
    end = time.monotonic() + 20
    time.sleep(seconds)
    while place.exists() and time.monotonic() < end:
        fields = place.read_text().rpartition(")")[2].split()
        if (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") >= seconds:
            return
        time.sleep(0.05)


EVER = "1000000000000"


@pytest.mark.parametrize("loop", ["spin", "device"])
@pytest.mark.parametrize("options", [[], ["--json"]], ids=" ".join)
def test_ctrl_c_ends_a_run(tmp_path, loop, options):
    program = loop
    if loop == "device":
        program = str(tmp_path / "loop.s")
        (tmp_path / "loop.s").write_text(MACHINE + "1: out 0xe9, al\njmp 1b\n")
    status, seconds, errors = interrupted(["run", program, "--max-instructions", EVER, *options])
    assert status == 130
    assert seconds < 3
    found = re.fullmatch(
        r"\n(\S+:\d+) \(0x\w+\): stopped after ([\d,]+) instructions and [\d,]+ exits\n"
        r"interrupted\n",
        errors,
    )
    assert found, errors
    assert found[1].endswith("spin.s:14" if loop == "spin" else ("loop.s:4", "loop.s:5"))
    assert int(found[2].replace(",", "")) > 1000


def test_ctrl_c_leaves_no_half_capture(tmp_path):
    program, out = tmp_path / "loop.s", tmp_path / "out.pcap"
    source = (
        MACHINE.replace("debugcon", "mmio-nic") + "mov edi, 0xd0000000\n1: mov eax, [rdi]\njmp 1b\n"
    )
    program.write_text(source)
    out.write_text("old")
    status, _, _ = interrupted(
        ["run", str(program), "--max-instructions", EVER, "--net", f"pcap:,{out}"]
    )
    assert status == 130
    assert sorted(path.name for path in tmp_path.iterdir()) == ["loop.s", "out.pcap"]
    assert out.read_text() == "old"
