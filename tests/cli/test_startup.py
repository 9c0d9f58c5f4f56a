"""A small program starts at once: what a run does not need is not imported."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
from asking import environment

HEAVY = (
    "keystone", "capstone", "unicorn", "rich", "rich_argparse", "shtab", "textual",
    "dpkt", "platformdirs", "subprocess", "tempfile", "shutil", "hashlib", "random", "threading",
    "importlib.resources", "importlib.metadata", "bz2", "lzma", "asyncio", "socket",
    "dataclasses", "inspect", "difflib", "platform",
)  # fmt: skip
ROOMS = (
    "toyvisor.guest.lexer", "toyvisor.guest.parser", "toyvisor.guest.layout",
    "toyvisor.guest.disassembler", "toyvisor.guest.encoder", "toyvisor.host.captures",
    "toyvisor.host.pcap", "toyvisor.qemu.virtio", "toyvisor.qemu.devices.mmio_nic",
    "toyvisor.virtio", "toyvisor.trace.jsonl", "toyvisor.trace.text", "toyvisor.ui",
    "toyvisor.learn",
)  # fmt: skip
SCRIPT = """
import sys
from toyvisor.cli import main
status = main(sys.argv[1:])
print(status, *sys.modules, file=sys.stderr)
"""


def imported(*arguments: str) -> set[str]:
    """The modules in a process after it has run one command; a second run finds a cache."""
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, *arguments],
            capture_output=True,
            text=True,
            check=True,
            env=environment(),
        )
    return set(done.stderr.splitlines()[-1].split()[1:])


def test_a_run_for_a_script_imports_nothing_heavy():
    found = imported("run", "add", "--json")
    assert "toyvisor.cpu.world_switch" in found
    assert found.isdisjoint(HEAVY)
    assert found.isdisjoint(ROOMS)


def test_a_run_for_a_person_adds_the_summary_only():
    found = imported("run", "add") - imported("run", "add", "--json")
    assert {"rich", "toyvisor.ui.summary"} <= found
    assert found.isdisjoint({"keystone", "capstone", "unicorn", "dpkt", *ROOMS[:9]})


@pytest.mark.parametrize("arguments", [["--version"], ["run", "add", "--bogus"], ["run"], []])
def test_what_runs_nothing_imports_nothing_of_ours(arguments):
    ours = {name for name in imported(*arguments) if name.startswith("toyvisor.")}
    assert ours <= {
        "toyvisor.cli", "toyvisor.errors", "toyvisor.commands", "toyvisor.commands.output",
            "toyvisor.commands.argument_types", "toyvisor.commands.walking_arguments",
        "toyvisor.commands.arguments",
    }  # fmt: skip


def test_ctrl_c_while_it_loads_is_no_traceback():
    script = """
import signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "toyvisor.commands.arguments":
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Finder())
from toyvisor.__main__ import run
run()
"""
    done = subprocess.run([sys.executable, "-c", script, "run", "add"], capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, b"", b"")
