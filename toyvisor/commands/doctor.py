"""`toyvisor doctor`: is everything there that Toyvisor needs, and what else could it use?"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version

from toyvisor import __version__
from toyvisor.errors import ToyvisorError

GOOD, OPTIONAL, BAD = "ok", "--", "NO"


@dataclass(slots=True)
class Finding:
    """One thing looked at. `state` is ok, -- (optional and missing) or NO (needed)."""

    name: str
    state: str
    detail: str


def main(arguments: argparse.Namespace) -> int:
    """Look at everything; status 1 if something needed is missing."""
    findings = [check() for check in _checks()]
    if arguments.json:
        print(json.dumps({f.name: {"state": f.state, "detail": f.detail} for f in findings}))
    else:
        for finding in findings:
            print(f"{finding.state:<3} {finding.name:<22} {finding.detail}")
    return 1 if any(f.state == BAD for f in findings) else 0


def _python() -> Finding:
    good = sys.version_info >= (3, 11)
    detail = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return Finding("Python", GOOD if good else BAD, detail if good else f"{detail}: needs 3.11")


def _toyvisor() -> Finding:
    from toyvisor.guest.library import guest_programs_dir, shipped_programs

    found = len(shipped_programs())
    where = guest_programs_dir()
    detail = f"{__version__}, {found} guest programs in {where}"
    return Finding("Toyvisor", GOOD if found else BAD, detail)


def _package(distribution: str) -> Callable[[], Finding]:
    def check() -> Finding:
        try:
            return Finding(distribution, GOOD, version(distribution))
        except PackageNotFoundError:
            hint = f"not installed: python -m pip install {distribution}"
            return Finding(distribution, BAD, hint)

    return check


def _processor() -> Finding:
    """The whole path, once: assemble, run, trap, print."""
    try:
        printed = _two_and_two("toy")
    except ToyvisorError as error:
        return Finding("guest 2 + 2", BAD, error.message)
    except ImportError as error:  # the lines above say what to install
        return Finding("guest 2 + 2", BAD, str(error))
    return Finding("guest 2 + 2", GOOD if printed == "4, halted" else BAD, printed)


def _two_and_two(accel: str) -> str:
    """What a guest makes of it, and how it ends: "4, halted"."""
    from toyvisor.guest.program import load_program
    from toyvisor.qemu.accel import AccelName
    from toyvisor.qemu.machine import Machine

    with Machine(load_program("add", use_cache=False), accel=AccelName(accel)) as machine:
        ending = machine.run(1000, 1.0)
        return f"{machine.console.text.strip()}, {ending.outcome}"


def _cache() -> Finding:
    from toyvisor.guest.cache import cache_folder

    where = cache_folder()
    if where is None:
        return Finding("cache", OPTIONAL, "no place to write: programs are assembled each time")
    parent = where
    while not parent.exists() and parent != parent.parent:
        parent = parent.parent
    if os.access(parent, os.W_OK):
        return Finding("cache", GOOD, str(where))
    return Finding("cache", OPTIONAL, f"{where} is not writable: programs are assembled each time")


def _kvm() -> Finding:
    """Linux's KVM: whether it is there, what kind it is, and whether a guest runs on it."""
    from toyvisor.kvm.linux import DEVICE, is_software, module_name, why_not

    reason = why_not()
    if reason is not None:
        why = reason.removeprefix(f"{DEVICE}: ")
        hint = " (group kvm)" if os.path.exists(DEVICE) else ""
        return Finding(DEVICE, OPTIONAL, f"{why}{hint}: no --accel kvm")
    kind = ", a software KVM" if is_software() else ""
    try:
        printed = _two_and_two("kvm")
    except ToyvisorError as error:
        return Finding(DEVICE, OPTIONAL, f"there, but no guest runs on it: {error.message}")
    name = module_name() or "built into the kernel"
    return Finding(DEVICE, GOOD, f"{name}{kind}: 2 + 2 is {printed}")


def _tun() -> Finding:
    path = "/dev/net/tun"
    if not os.path.exists(path):
        return Finding(path, OPTIONAL, "not there; only needed for --net tap:NAME")
    if not os.access(path, os.R_OK | os.W_OK):
        return Finding(path, OPTIONAL, "there, but you may not open it: no --net tap:NAME")
    return Finding(path, GOOD, "there, for --net tap:NAME (a new tap needs CAP_NET_ADMIN)")


def _dependencies() -> list[str]:
    """What the project says it needs, as it was installed; nothing if it is not."""
    try:
        stated = requires("toyvisor") or []
    except PackageNotFoundError:
        return []
    names = [re.match(r"[\w.-]+", line) for line in stated if "extra ==" not in line]
    return [name[0] for name in names if name]


def _checks() -> Iterator[Callable[[], Finding]]:
    yield _python
    yield _toyvisor
    for distribution in _dependencies():
        yield _package(distribution)
    yield from (_processor, _cache, _kvm, _tun)
