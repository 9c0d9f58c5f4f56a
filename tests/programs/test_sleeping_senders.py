"""Senders that sleep until an interrupt tells them that the device is done."""

from __future__ import annotations

from math import ceil
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from running import Run, run

from toyvisor.exit_reasons import ExitReason

SLEEP, EVENT_IDX, NIC = "virtio_net_tx_sleep", "virtio_net_event_idx", "mmio_nic_tx_irq"
SERVED = {
    "vcpu thread": {"ioeventfd": False},
    "ioeventfd": {"ioeventfd": True},
    "irqfd": {"ioeventfd": True, "irqfd": True},
    "vhost": {"vhost": True},
}
BESIDE = ["ioeventfd", "irqfd", "vhost"]  # somebody else works while the guest goes on

lengths = st.integers(14, 1514) | st.sampled_from([14, 15, 60, 1514])


def frames(*lengths: int) -> list[bytes]:
    return [Random(seed << 16 | n).randbytes(n) for seed, n in enumerate(lengths)]


def send(
    driver: str,
    given: list[bytes],
    served: str = "ioeventfd",
    *,
    batch: int = 8,
    event_idx: int = 0,
    queue_size: int = 64,
) -> Run:
    symbols = {"EVENT_IDX": event_idx} if driver == SLEEP else {}
    return run(
        driver,
        given,
        symbols={**symbols, "QUEUE_SIZE": queue_size} if driver != NIC else {},
        registers={"r12": batch},
        options={"virtio-net": SERVED[served]},
        budget=20_000_000,
    )


def kicks(done: Run, none: Run) -> int:
    """Stores to a device, but those of the interrupts (InterruptStatus, InterruptACK)."""
    mmio = sum(
        done.ledger.exits[reason] - none.ledger.exits[reason]
        for reason in (ExitReason.EPT_VIOLATION, ExitReason.EPT_MISCONFIG)
    )
    return mmio - 2 * (done.ledger.injected - none.ledger.injected)


# virtio_net_tx_sleep --------------------------------------------------------------------------


@pytest.mark.parametrize("event_idx", [0, 1])
def test_with_a_device_that_works_during_the_kick_nobody_sleeps(event_idx):
    none, done = (
        send(SLEEP, frames(*[60] * n), "vcpu thread", event_idx=event_idx) for n in (0, 20)
    )
    assert kicks(done, none) == 20
    assert done.ledger.injected == 0
    assert done.ledger.exits[ExitReason.HLT] == 1  # the last HLT


@pytest.mark.parametrize("served", BESIDE)
def test_without_event_idx_each_packet_is_kicked_for(served):
    none, done = (send(SLEEP, frames(*[60] * n), served) for n in (0, 20))
    assert kicks(done, none) == 20
    assert done.ledger.injected == 3  # for 8, 8 and 4
    assert done.ledger.exits[ExitReason.HLT] == 3 + 1


@pytest.mark.parametrize("served", BESIDE)
def test_with_event_idx_one_kick_is_enough_for_a_batch(served):
    none, done = (send(SLEEP, frames(*[60] * n), served, event_idx=1) for n in (0, 20))
    assert kicks(done, none) == 3
    assert done.ledger.injected == 3
    assert done.ledger.exits[ExitReason.HLT] == 3 + 1


def test_kicks_are_lightweight_and_interrupts_are_not():
    none, done = (send(SLEEP, frames(*[60] * n)) for n in (0, 20))
    assert done.exits["mmio"] - none.exits["mmio"] == 2 * 3


@given(
    given_lengths=st.lists(lengths, max_size=60),
    batch=st.integers(0, 70) | st.sampled_from([128, (1 << 64) - 1]),
    served=st.sampled_from(sorted(SERVED)),
    event_idx=st.integers(0, 1),
    queue_size=st.sampled_from([2, 4, 64, 256]),
    driver=st.sampled_from([SLEEP, EVENT_IDX]),
)
@settings(max_examples=200, deadline=None)
def test_every_frame_is_sent_unchanged(given_lengths, batch, served, event_idx, queue_size, driver):
    given_frames = frames(*given_lengths)
    done = send(
        driver, given_frames, served, batch=batch, event_idx=event_idx, queue_size=queue_size
    )
    assert (done.outcome, done.rules) == ("halted", [])
    assert done.sent == given_frames
    in_ring = min(max(batch, 1), queue_size // 2)
    assert done.ledger.injected <= ceil(len(given_frames) / in_ring)


# virtio_net_event_idx ---------------------------------------------------------------------------


@pytest.mark.parametrize("served", BESIDE)
@pytest.mark.parametrize("batch", [1, 3, 8, 32])
def test_a_batch_takes_one_kick_and_one_interrupt(served, batch):
    done = send(EVENT_IDX, frames(*[60] * 29), served, batch=batch)
    batches = ceil(29 / batch)
    assert done.console == f"29 frames, kicks: {batches}, interrupts: {batches}\n"
    assert done.ledger.injected == batches
    assert len(done.sent) == 29


def test_during_the_kick_the_device_has_always_looked_and_still_interrupts_once():
    done = send(EVENT_IDX, frames(*[60] * 29), "vcpu thread")
    assert done.console.startswith("29 frames, kicks: 29, interrupts: ")
    assert done.ledger.injected <= 4
    assert done.ledger.suppressed == 29 - 4


# mmio_nic_tx_irq ------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [14, 60, 61, 1514])
def test_an_interrupt_for_each_frame_costs_more_than_a_look(length):
    none, by_interrupt = (run(NIC, frames(*[length] * n)) for n in (0, 10))
    no_look, looking = (run("mmio_nic_tx", frames(*[length] * n)) for n in (0, 10))
    looks = looking.exits["mmio"] - no_look.exits["mmio"]
    # INTERRUPT_STATUS and INTERRUPT_ACK for TX_STATUS; and in KVM HLT and EOI
    assert by_interrupt.exits["mmio"] - none.exits["mmio"] == looks + 10
    assert by_interrupt.exits["lightweight"] - none.exits["lightweight"] == 2 * 10
    assert by_interrupt.ledger.injected == 10
    assert by_interrupt.sent == frames(*[length] * 10)


@given(given_lengths=st.lists(lengths, max_size=12))
@settings(max_examples=50, deadline=None)
def test_mmio_nic_sends_the_frames_unchanged(given_lengths):
    given_frames = frames(*given_lengths)
    done = run(NIC, given_frames)
    assert (done.outcome, done.rules, done.sent) == ("halted", [], given_frames)


def test_refused_frames_are_told_done_as_well():
    """A frame shorter than a header: TX_ERROR, and the driver goes on with the next one."""
    done = run(NIC, [b"short", *frames(60, 2000, 64)])
    assert [len(frame) for frame in done.sent] == [60, 64]
    assert done.rules == ["mmio-nic.tx-length"]
    assert done.ledger.injected == 3
