"""docs/json.md lists every name of the JSON output, and no other."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from pages import ROOT, inline_code

from toyvisor.cli import main
from toyvisor.guest.library import guest_programs_dir
from toyvisor.kvm import linux
from toyvisor.learn.counts import COUNTED

PAGE = ROOT / "docs" / "json.md"
#: objects whose names are data: hops, reasons, registers, ...
OPEN = {
    "kvm_stats", "facts", "measured", "by_reason", "by_vmx_reason", "by_hop", "syscalls",
    "registers", "costs", "set_up", "sending", "hops", "per_packet", "by_cost", "by_share",
    "fractions",
}  # fmt: skip


def names(value: Any, path: str = "") -> Iterator[str]:
    """The paths of an object, as the page writes them."""
    if isinstance(value, dict):
        is_open = re.split(r"[.\[]", path)[-1] in OPEN
        for key, inner in value.items():
            yield from names(inner, f"{path}.{'*' if is_open else key}".lstrip("."))
    elif isinstance(value, list):
        for inner in value:
            yield from names(inner, path + "[]")
    else:
        yield path


def documented(which: str) -> set[str]:
    text = PAGE.read_text(encoding="utf-8")
    table = re.search(rf"<!-- fields: {which} -->\n```text\n(.*?)```", text, re.DOTALL)
    assert table is not None
    return {line.split()[0] for line in table[1].splitlines() if not line.startswith(" ")}


def output(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    main([*arguments, "--json"])
    return json.loads(capsys.readouterr().out)


def test_run(capsys: pytest.CaptureFixture[str]) -> None:
    programs = ("hello_mmio", "virtio_net_tx", "cpuid")
    found = {name for p in programs for name in names(output(capsys, "run", p))}
    broken = guest_programs_dir() / "broken" / "descriptor_loop.s"
    found |= set(names(output(capsys, "run", str(broken))))
    # Nothing receives here, and there may be no Linux's KVM.
    assert found | {"packets.received[]", "kvm_stats.*"} == documented("run")


@pytest.mark.skipif(linux.why_not() is not None, reason=f"{linux.why_not()}")
def test_run_on_linux_kvm_has_the_same_names(capsys: pytest.CaptureFixture[str]) -> None:
    found = set(names(output(capsys, "run", "hello_serial", "--accel", "kvm")))
    assert found <= documented("run")


def test_compare(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("compare", "--packets", "2", "--size", "64", "--batch", "1")
    found = set(names(output(capsys, *arguments)))
    assert found == {name for name in documented("compare") if name not in MEASURED}


#: Only where the experiment was measured, too.
MEASURED = {"machine", "gigahertz", "rows[].measured.*"}


@pytest.mark.skipif(linux.why_not() is not None, reason=f"{linux.why_not()}")
def test_compare_on_both(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("compare", "--packets", "2", "--size", "64", "--batch", "1")
    few = ("--pattern", "transmit", "--accel", "both")
    assert set(names(output(capsys, *arguments, *few))) == documented("compare")


@pytest.mark.skipif(linux.why_not() is not None, reason=f"{linux.why_not()}")
def test_run_on_both(capsys: pytest.CaptureFixture[str]) -> None:
    found = set(names(output(capsys, "run", "hypercall", "--accel", "both", "--max-seconds", "1")))
    found = {name for name in found if not name.startswith(("toy.", "kvm."))}
    assert found | {"known[].cause", "known[].facts[]", "known[].reason", "unexplained[]"} == (
        documented("run both") - {"toy.*", "kvm.*"}
    )


@cache
def named(page: Path) -> set[str]:
    return {span for _, span in inline_code(page)}


@pytest.mark.parametrize("name", [*COUNTED, "ring_accesses"])
def test_every_count_is_named(name: str) -> None:
    assert name in named(PAGE)


@pytest.mark.parametrize("command", [("programs",), ("doctor",), ("bench", "--seconds", "1")])
def test_the_others(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    found = output(capsys, *command)
    entries = found if isinstance(found, list) else list(found.values())
    assert {key for entry in entries for key in entry} <= named(PAGE)
