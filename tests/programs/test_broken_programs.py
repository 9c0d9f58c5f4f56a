"""Programs with one mistake each: they end, in bounded time, and are told the right rule."""

from __future__ import annotations

import pytest
from running import BROKEN, EXPECTED, program, run

#: program -> the rules it breaks, in order
BREAKS: dict[str, list[str]] = {
    "broken/descriptor_loop": ["virtio.split.chain-loop"],
    "broken/descriptor_outside_ram": ["virtio.split.buffer-range"],
    "broken/divide_by_zero": [],
    "broken/endless_loop": [],
    "broken/forgotten_kick": [],
    "broken/frame_too_long": ["mmio-nic.tx-length"],
    "broken/index_masked": ["virtio.split.avail-jump"],
    "broken/jump_into_nothing": [],
    "broken/kick_not_ready": ["virtio.notify.not-ready"],
    "broken/no_features_ok": [
        "virtio.mmio.ready-early",
        "virtio.status.driver-ok",
        "virtio.notify.early",
    ],
    "broken/no_header": ["virtio.net.tx-gso"],
    "broken/no_version_1": ["virtio.features.version-1"],
    "broken/ring_misaligned": ["virtio.split.alignment"],
    "broken/ring_outside_ram": ["virtio.split.area-range"],
    "broken/send_disabled": ["mmio-nic.tx-disabled"],
    "broken/status_overwritten": ["virtio.status.cleared"],
    "broken/store_outside": ["machine.unassigned", "machine.unassigned"],
    "broken/wide_store": ["virtio.mmio.access-width", "virtio.split.buffer-empty"],
    "broken/writable_frame": ["virtio.net.tx-writable"],
}
#: those that end otherwise than with HLT -> words of the explanation
EXPLAINED = {
    "broken/divide_by_zero": ["divide error (#DE)", "IDT"],
    "broken/endless_loop": ["still running"],
    "broken/forgotten_kick": ["still running"],
    "broken/jump_into_nothing": ["0xe0000000", "no RAM to execute from"],
    "broken/no_version_1": ["#UD"],
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_program_ends_as_its_block_says(name):
    done = run(name, budget=100_000)
    expect = program(name).spec.expect
    assert done.outcome == EXPECTED.get(expect, expect)
    assert done.ledger.total_exits < 100


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_program_is_told_the_rule_it_breaks(name):
    done = run(name, budget=10_000)
    assert done.rules == BREAKS[name]
    assert all(error.hint for _, error in done.errors), "a rule says what to do"


@pytest.mark.parametrize("name", BROKEN)
def test_the_explanation_names_the_cause(name):
    done = run(name, budget=10_000)
    for words in EXPLAINED.get(name, ["HLT"]):
        assert words in done.ending.explanation


def test_only_the_masked_index_sends_anything_before_it_fails():
    sent = {name: len(run(name, budget=10_000).sent) for name in BROKEN}
    assert {name: count for name, count in sent.items() if count} == {"broken/index_masked": 7}


def test_a_load_from_nowhere_reads_all_ones():
    assert run("broken/store_outside").registers.rax == 0xFFFFFFFF


def test_the_driver_without_version_1_notices_and_says_so():
    assert "does not accept our features" in run("broken/no_version_1").console
