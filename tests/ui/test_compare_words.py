"""What the experiment says is true for any numbers a run gives."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from compare_kit import joined, make_experiment, make_ladder, make_row
from hypothesis import given, settings
from hypothesis import strategies as st

from toyvisor.learn.cost_file import shipped_costs
from toyvisor.learn.cost_model import KEYS, Cost, CostTable
from toyvisor.learn.counts import COUNTED, Counts
from toyvisor.learn.experiment import Experiment, run_experiment
from toyvisor.learn.ladder import setups_of
from toyvisor.learn.setups import FULL, MMIO_NIC, VIRTIO_NET, Pattern
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
    parts=st.sampled_from([(make_experiment,), (make_ladder,), (make_experiment, make_ladder)]),
    data=st.data(),
)
def test_any_numbers_make_whole_sentences(packets, sizes, batches, cycles, parts, data):
    costs = CostTable(
        {key: Cost(value, "yours", "x") for key, value in zip(KEYS, cycles, strict=True)}
    )
    drawn = st.sampled_from(data.draw(st.lists(counts, min_size=1, max_size=4)))
    experiment: Experiment = joined(
        *(part(packets, sizes, batches, costs, lambda *_: data.draw(drawn)) for part in parts)
    )
    for finding in [*what_it_shows(experiment), *what_it_does_not_show(experiment)]:
        assert re.fullmatch(r"[A-Za-z1-9].*\.", finding.text, re.DOTALL), finding
        assert not re.search(
            r"\b(nan|inf|None)\b|  | -\d|\b(?<![.,])1 exits\b|\.\.", finding.text
        ), finding
        assert finding.text.isascii()


# The ladder -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def climbed():
    return run_experiment(16, (64, 1500), (1, 8), setups=setups_of(Pattern))


def test_each_rung_says_what_it_is_and_what_it_changed(climbed):
    words = said(climbed)
    assert list(words)[6:] == [
        "A ring instead of registers", "Suppression", "Past the vCPU's thread", "Past QEMU",
        "Suppression, where two work at once",
    ]  # fmt: skip
    ring = words["A ring instead of registers"]
    assert "Transmit (batch 1): exits 378 -> 1, copies 757 -> 3, copied bytes 4,524 ->" in ring
    assert "Receive (batch 8): exits 380 -> 0.5," in ring
    assert "Request: exits 759 -> 5," in ring
    eventfds = words["Past the vCPU's thread"]
    assert "The same guest program." in eventfds
    assert (
        "Transmit (batch 1): exits 1 -> 5, returns to QEMU 1 -> 2, context switches 0 -> 2, "
        "system calls 1 -> 4." in eventfds
    )
    assert "Request: returns to QEMU 3 -> 2, context switches 2 -> 4," in eventfds
    assert "Receive (batch 1): system calls 4 -> 0, copies 6 -> 5," in words["Past QEMU"]
    top = words["Suppression, where two work at once"]
    assert "Transmit (batch 8): exits 0.625 -> 1.5." in top


def test_a_rung_that_changes_nothing_says_so(climbed):
    assert said(climbed)["Suppression"].endswith(
        "Receive (batch 8): suppressed notifications 0 -> 0.875. No change, or hardly any, in "
        "exits, interrupts and suppressed notifications: transmit (batch 1), transmit (batch 8), "
        "receive (batch 1) and request."
    )


def test_the_largest_packets_are_the_example_and_the_sizes_between_are_not():
    words = said(make_ladder(sizes=(64, 1500), counts=lambda _setup, size, _batch: Counts(
        exits=10 * size)))  # fmt: skip
    assert "64 ->" not in " ".join(words.values())


def test_the_limits_of_the_ladder_are_one_processor_and_these_interrupts(climbed):
    found = limits(climbed)
    switches = sum(row.sending.context_switches for row in climbed.rows)
    text = found["More than one processor"]
    assert "The host of these runs has one processor." in text
    assert f"context switch: {switches:,} in all these runs." in text
    assert "MSI-X" in found["Other interrupts"]
    assert "a property of this card" in found["Other emulated cards"]
    assert not {"Receiving, and interrupts", "A cheaper doorbell"} & set(found)


def test_a_ladder_alone_does_not_pass_over_batches_that_were_never_full():
    words = said(make_ladder(packets=4))
    assert words["Batches"] == "There were only 4 packets, too few to fill a batch of 8."
    assert "Batches" not in said(make_ladder(packets=8))
