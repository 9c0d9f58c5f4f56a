"""Help is complete, and every example in it works as it stands."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import pytest
from asking import ORDINARY, environment

from toyvisor.cli import COMMANDS, build_parser

EXAMPLES = sorted(
    {
        line.strip()
        for epilog in (build_parser().epilog, *(c.epilog for c in COMMANDS.values()))
        for line in epilog.splitlines()
        if re.match(r"  (toyvisor|eval) ", line)
    }
)
ELSEWHERE = ("toyvisor bench", "toyvisor compare", "toyvisor gdb")


def test_there_are_examples_for_every_command():
    for name, command in COMMANDS.items():
        assert f"toyvisor {name}" in command.epilog


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command(toyvisor, name):
    answer = toyvisor(name, "--help")
    assert (answer.status, answer.errors) == (0, "")
    assert answer.text == toyvisor(name, "-h").text
    assert f"toyvisor {name}" in answer.lines[0]
    assert COMMANDS[name].epilog.splitlines()[-1] in answer.text
    assert "\x1b" not in answer.text
    assert not any(line != line.rstrip() for line in answer.lines)
    assert max(map(len, answer.lines)) <= 100


def test_help_of_everything(toyvisor):
    answer = toyvisor("--help")
    assert answer.status == 0
    for name, command in COMMANDS.items():
        assert re.search(rf"^ +{name}\b", answer.text, re.MULTILINE)
        assert command.summary.split()[0] in answer.text
    assert "130  interrupted" in answer.text
    assert toyvisor("--version").text.startswith("toyvisor 0.")


def test_help_without_the_coloured_formatter(toyvisor, monkeypatch):
    monkeypatch.setitem(sys.modules, "rich_argparse", None)
    assert "--max-instructions" in toyvisor("run", "--help").text


def test_one_parser_and_all_parsers_agree(toyvisor):
    for name in COMMANDS:
        alone = toyvisor(name, "--help").text
        with pytest.raises(SystemExit):
            build_parser(["--help"]).parse_args([name, "--help"])
        assert alone
    whole = build_parser()._subparsers._group_actions[0].choices
    assert list(whole) == list(COMMANDS)
    assert "--max-instructions" in whole["run"]._option_string_actions


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example(folder, example):
    if example.startswith(ELSEWHERE):
        pytest.skip("tested where the experiment, the benchmarks and gdb are")
    command = re.split(r" {3,}", example)[0]
    if not shutil.which("xxd"):
        command = command.replace("xxd", "od")
    shutil.copy(ORDINARY, folder / "in.pcap")
    (folder / "my.s").write_text('; /// machine\n; mode = "long"\n; ///\nhlt\n')
    (folder / "boot.s").write_text("hlt\n")
    (folder / "boot.bin").write_bytes(b"\xf4")
    setup = f'toyvisor() {{ "{sys.executable}" -m toyvisor "$@"; }}; less() {{ cat; }}\n'
    setup += f'python() {{ "{sys.executable}" "$@"; }}\n'
    if "run.jsonl --to" in command:
        setup += "toyvisor run add --trace run.jsonl >/dev/null\n"
    done = subprocess.run(
        ["bash", "-e", "-c", setup + command],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env=environment(HOME=str(folder)),
        timeout=60,
    )
    if "echo $?" in command:
        assert done.returncode in (0, 124)
        return
    assert done.returncode == 0, done.stderr
    assert not done.stderr
