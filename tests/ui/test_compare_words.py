"""What the experiment says is true for any numbers a run gives."""

from __future__ import annotations

import re
from dataclasses import replace

from compare_kit import make_experiment, make_row
from hypothesis import given, settings
from hypothesis import strategies as st

from toyvisor.learn.cost_file import shipped_costs
from toyvisor.learn.cost_model import KEYS, Cost, CostTable
from toyvisor.learn.counts import COUNTED, Counts
from toyvisor.learn.experiment import Experiment, run_experiment
from toyvisor.learn.setups import FULL, MMIO_NIC, VIRTIO_NET
from toyvisor.ui.compare_words import what_it_does_not_show, what_it_shows

FREE = CostTable({key: Cost(0, "yours", "test") for key in KEYS})


def said(experiment):
    return {finding.title: finding.text for finding in what_it_shows(experiment)}


def limits(experiment):
    return {finding.title: finding.text for finding in what_it_does_not_show(experiment)}


def test_the_sentences_of_the_default_experiment_carry_its_numbers():
    words = said(run_experiment())
    assert words["Exits"].startswith(
        "Sending 1500 bytes costs 378 exits by full virtualization and 1 by para-virtualization."
    )
    assert words["Size"] == (
        "From 64 to 1500 bytes, mmio-nic goes from 19 to 378 exits, one more for every 4 bytes; "
        "virtio-net (batch 1) stays at 1 exit."
    )
    assert "3.02 with mmio-nic: 1,508 guest->kvm, 1,508 kvm->qemu, 1,500 qemu" in words["Copies"]
    assert words["Batches"].startswith(
        "With batch 64, a packet costs 0.0156 exits, one for every 64 packets, and 14.2 guest "
    )
    assert "3.4M cycles with mmio-nic; with virtio-net (batch 1) 10k, 340 times" in words["Cost"]
    assert "mmio-nic: 99 % exits" in words["Where it goes"]
    assert "virtio-net (batch 64): 50 % system calls" in words["Where it goes"]


def test_one_packet_of_14_bytes():
    words = said(run_experiment(1, [14], [128, 3]))
    assert "costs 8 exits by full virtualization and 1 by" in words["Exits"]
    assert "Size" not in words
    assert words["Batches"].endswith(
        "There was only 1 packet, too few to fill a batch of 3 and 128."
    )
    assert "one for every" not in words["Batches"]


def test_one_batch_that_was_never_full_is_not_passed_over():
    words = said(make_experiment(packets=10, batches=(64,)))
    assert words["Batches"] == "There were only 10 packets, too few to fill a batch of 64."


def test_one_batch_is_not_compared_with_itself():
    assert "Batches" not in said(make_experiment(packets=10, batches=(1,)))


def test_a_table_that_makes_all_free():
    words = said(make_experiment(costs=FREE))
    assert "about 0 cycles with mmio-nic; with virtio-net (batch 1) 0, the same" in words["Cost"]
    assert "Where it goes" not in words


def test_virtio_that_costs_more_is_said_to_cost_more():
    dear = shipped_costs().changed({"ring_access": Cost(1e6, "yours", "test")})
    words = said(make_experiment(costs=dear))
    assert "less" not in words["Cost"]
    assert "times as much" in words["Cost"]
    assert ">99 % ring accesses" in words["Where it goes"]


def test_exits_that_shrink_with_the_size_are_not_said_to_grow():
    def counts(setup, size, batch):
        return Counts(exits=10 * 1600 // size, instructions=1, bytes_copied=1)

    words = said(make_experiment(counts=counts))
    assert "goes from 25 to 1.07 exits" not in words["Size"]
    assert "mmio-nic goes from 25 to 1 exit;" in words["Size"]
    assert "one more" not in words["Size"]


def test_with_one_kind_of_setup_there_is_nothing_to_contrast():
    only = run_experiment(2, [64], [1], setups=(VIRTIO_NET,))
    assert what_it_shows(only) == []
    assert what_it_does_not_show(only)


def test_interrupts_and_light_exits_are_told_if_there_were_any():
    quiet, busy = make_experiment(), make_experiment(
        counts=lambda *_: Counts(exits=5, lightweight_exits=2, interrupts=3)
    )  # fmt: skip
    assert "no packet brought an interrupt" in limits(quiet)["Receiving, and interrupts"]
    assert "every exit goes all the way to QEMU" in limits(quiet)["A cheaper doorbell"]
    assert "18 interrupts together" in limits(busy)["Receiving, and interrupts"]
    assert "12 exits of all runs ended in KVM" in limits(busy)["A cheaper doorbell"]


def test_a_further_card_makes_no_sentence_about_one_card_untrue():
    experiment = make_experiment()
    assert "a property of this card" in limits(experiment)["Other emulated cards"]
    e1000 = replace(MMIO_NIC, name="e1000", kind=FULL)
    row = make_row(e1000, 64, None, 10, Counts(exits=10), experiment.costs)
    more = replace(experiment, rows=(*experiment.rows, row))
    assert "not among these setups" not in limits(more)["Other emulated cards"]


def test_the_limits_claim_no_ratio_of_our_own():
    text = " ".join(limits(make_experiment()).values())
    for published in ("5 to 77", "1.2 to 2.2", "MSC-2017-19", "MSC-2021-19"):
        assert published in text
    assert "order of magnitude" in text


counts = st.builds(
    lambda figures: Counts(*figures),
    st.lists(
        st.one_of(st.integers(0, 3), st.integers(0, 10**9)),
        min_size=len(COUNTED),
        max_size=len(COUNTED),
    ),
)


@settings(max_examples=60)
@given(
    packets=st.integers(1, 4095),
    sizes=st.lists(st.integers(14, 1514), min_size=1, max_size=3, unique=True),
    batches=st.lists(st.integers(1, 128), min_size=1, max_size=3, unique=True),
    cycles=st.lists(st.floats(0, 1e6), min_size=len(KEYS), max_size=len(KEYS)),
    data=st.data(),
)
def test_any_numbers_make_whole_sentences(packets, sizes, batches, cycles, data):
    costs = CostTable(
        {key: Cost(value, "yours", "x") for key, value in zip(KEYS, cycles, strict=True)}
    )
    experiment: Experiment = make_experiment(
        packets, sizes, batches, costs, lambda *_: data.draw(counts)
    )
    for finding in [*what_it_shows(experiment), *what_it_does_not_show(experiment)]:
        assert re.fullmatch(r"[A-Za-z1-9].*\.", finding.text, re.DOTALL), finding
        assert not re.search(
            r"\b(nan|inf|None)\b|  | -\d|\b(?<![.,])1 exits\b|\.\.", finding.text
        ), finding
        assert finding.text.isascii()
