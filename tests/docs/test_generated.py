"""The generated parts of the documentation are what the code says today."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import tables
from pages import PAGES, ROOT, inline_code

from toyvisor.guest.program import KEYS
from toyvisor.qemu.devices.debugcon import PORT
from toyvisor.trace import events
from toyvisor.virtio.errors import Rule

HOW = "renew it with: python tests/docs/regenerate.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page_is_up_to_date(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text == tables.renew(text), HOW


def test_the_figure_is_up_to_date() -> None:
    assert tables.FIGURE.read_text(encoding="utf-8") == tables.figure(), HOW


def test_every_table_is_in_some_page() -> None:
    found = set().union(*(tables.used(page.read_text(encoding="utf-8")) for page in PAGES))
    assert found == set(tables.TABLES)


def test_every_rule_is_in_the_catalogue() -> None:
    import toyvisor.host.vhost_net
    import toyvisor.qemu.virtio.rules  # noqa: F401  (fill the catalogue)

    page = (ROOT / "docs" / "devices.md").read_text(encoding="utf-8")
    assert not [name for name in Rule.catalogue if f"`{name}`" not in page]


def test_every_rule_of_the_card_is_named() -> None:
    """Its rules are written where they are broken, not in a catalogue."""
    devices = ROOT / "toyvisor" / "qemu" / "devices"
    nodes = [n for p in devices.glob("mmio_nic*.py") for n in ast.walk(ast.parse(p.read_text()))]
    found = set()
    for node in nodes:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            place = {"_report": 0, "_refuse_send": 1}.get(node.func.attr)
            if place is not None and isinstance(node.args[place], ast.Constant):
                found.add(f"mmio-nic.{node.args[place].value}")
        elif isinstance(node, ast.Assign):
            target, value = node.targets[0], node.value
            if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
                target, value = target.elts[0], value.elts[0]
            if isinstance(target, ast.Name) and target.id == "rule":
                found.add(f"mmio-nic.{value.value}")
    named = {span for _, span in inline_code(ROOT / "docs" / "devices.md")}
    assert found == {span for span in named if span.startswith("mmio-nic.")}


def test_every_key_of_the_machine_block_is_in_its_table() -> None:
    assert {line.split()[0] for line in tables.machine_keys().splitlines()[2:] if line[0] != " "} \
        == {*KEYS, "```"}  # fmt: skip


def test_every_event_kind_is_explained_and_none_else() -> None:
    assert {kind.name for kind in tables.kinds(events)} == set(tables.EVENT_MEANINGS)


def test_the_debug_consoles_port_is_the_one_the_page_names() -> None:
    assert f"port {PORT:#x}" in (ROOT / "docs" / "devices.md").read_text(encoding="utf-8")
