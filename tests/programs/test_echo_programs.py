"""Request and response: every frame comes back, and what a round trip costs."""

from __future__ import annotations

from math import ceil
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from running import Run, load_here, program, run

from toyvisor.exit_reasons import ExitReason
from toyvisor.qemu.machine import Arrivals

VIRTIO, NIC = "virtio_net_echo", "mmio_nic_echo"
SERVED = {
    "vcpu thread": {},
    "ioeventfd": {"ioeventfd": True},
    "irqfd": {"ioeventfd": True, "irqfd": True},
    "vhost": {"vhost": True},
}

lengths = st.integers(14, 1514) | st.sampled_from([14, 15, 60, 1514])


def frames(*lengths: int) -> list[bytes]:
    return [Random(seed << 16 | n).randbytes(n) for seed, n in enumerate(lengths)]


def back(frame: bytes) -> bytes:
    return frame[6:12] + frame[:6] + frame[12:]


def echo(
    what: object,
    given: list[bytes],
    served: str = "vcpu thread",
    symbols: dict[str, int] | None = None,
    arrivals: Arrivals | None = None,
) -> Run:
    return run(
        what,
        given,
        symbols=symbols,
        options={"virtio-net": SERVED[served]},
        arrivals=arrivals,
        budget=20_000_000,
    )


def all_mmio(done: Run) -> int:
    """Loads and stores at device windows, those that end in KVM as well."""
    exits = done.ledger.exits
    return exits[ExitReason.EPT_VIOLATION] + exits[ExitReason.EPT_MISCONFIG]


def difference(many: Run, none: Run) -> dict[str, int]:
    def more(reason: ExitReason) -> int:
        return many.ledger.exits[reason] - none.ledger.exits[reason]

    return {
        "mmio": many.exits["mmio"] - none.exits["mmio"],
        "interrupts": many.ledger.injected - none.ledger.injected,
        "hlt": more(ExitReason.HLT),
        "eoi": more(ExitReason.IO_INSTRUCTION),
        "all mmio": all_mmio(many) - all_mmio(none),
    }


@pytest.mark.parametrize("event_idx", [0, 1])
@pytest.mark.parametrize("length", [14, 60, 1514])
def test_a_round_trip_with_virtio_takes_three_exits_to_qemu(event_idx, length):
    symbols = {"EVENT_IDX": event_idx}
    none, some = (echo(VIRTIO, frames(*[length] * n), symbols=symbols) for n in (0, 20))
    # InterruptStatus, InterruptACK, kick
    assert difference(some, none) == {
        "mmio": 20 * 3, "all mmio": 20 * 3, "interrupts": 20, "hlt": 20, "eoi": 20
    }  # fmt: skip
    copies = {hop: count for hop, count in some.copies.items() if hop not in none.copies}
    assert copies == {
        "host->qemu": (20, 20 * length),
        "qemu->guest": (20, 20 * length),
        "qemu->host": (20, 20 * length),
    }
    assert some.sent == [back(frame) for frame in frames(*[length] * 20)]


@pytest.mark.parametrize("event_idx", [0, 1])
@pytest.mark.parametrize("served", ["ioeventfd", "irqfd", "vhost"])
def test_with_an_ioeventfd_the_kick_stays_in_kvm(served, event_idx):
    symbols = {"EVENT_IDX": event_idx}
    none, some = (echo(VIRTIO, frames(*[60] * n), served, symbols) for n in (0, 20))
    assert difference(some, none) == {
        "mmio": 20 * 2, "all mmio": 20 * 3, "interrupts": 20, "hlt": 20, "eoi": 20
    }  # fmt: skip
    hops = set(some.copies) - set(none.copies)
    if served == "vhost":
        assert hops == {"host->guest", "guest->host"}
    else:
        assert hops == {"host->qemu", "qemu->guest", "qemu->host"}


@pytest.mark.parametrize("width", [1, 2, 4, 8])
@pytest.mark.parametrize("length", [14, 60, 61, 1514])
def test_a_round_trip_with_mmio_nic_carries_every_byte_twice(length, width):
    symbols = {"CARRY_WIDTH": width}
    none, some = (echo(NIC, frames(*[length] * n), symbols=symbols) for n in (0, 10))
    # length, acknowledgement, release; status, length, doorbell; and the frame, both ways
    cost = 10 * (6 + 2 * ceil(length / width))
    assert difference(some, none) == {
        "mmio": cost, "all mmio": cost, "interrupts": 10, "hlt": 10, "eoi": 10
    }  # fmt: skip
    assert some.sent == [back(frame) for frame in frames(*[length] * 10)]


@pytest.fixture(scope="module")
def on_the_wire(tmp_path_factory):
    """The programs for frames that come by the clock, not one for each answer."""
    folder = tmp_path_factory.mktemp("wire")

    def load(name: str):
        text = program(name).path.read_text()
        return load_here(folder, text.replace('frames = "requests"', 'frames = "wire"'))

    return {name: load(name) for name in (VIRTIO, NIC)}


@given(
    given_lengths=st.lists(lengths, max_size=40),
    burst=st.integers(1, 50),
    interval=st.sampled_from([1, 100, 10_000]),
    served=st.sampled_from(sorted(SERVED)),
)
@settings(max_examples=150, deadline=None)
def test_bursts_come_back_whole_and_in_order(on_the_wire, given_lengths, burst, interval, served):
    given_frames = frames(*given_lengths)
    done = echo(on_the_wire[VIRTIO], given_frames, served, None, Arrivals(burst, interval))
    assert (done.outcome, done.rules) == ("halted", [])
    assert done.sent == [back(frame) for frame in given_frames]


@pytest.mark.parametrize("served", SERVED)
@pytest.mark.parametrize("event_idx", [0, 1])
@pytest.mark.parametrize("queue_size", [2, 4])
def test_no_frame_is_stuck_when_all_buffers_are_on_their_way_out(
    tmp_path, served, event_idx, queue_size
):
    """Then the driver has to be told that one has been sent, or nothing could come in."""
    text = program(VIRTIO).path.read_text().replace('"requests"', '"wire"')
    text = text.replace("_start:", f".set QUEUE_SIZE, {queue_size}\n_start:", 1)
    text = text.replace(".set EVENT_IDX, 0", f".set EVENT_IDX, {event_idx}")
    given_frames = frames(*[60] * 50)
    arrivals = Arrivals(burst=50)
    done = echo(load_here(tmp_path, text), given_frames, served, None, arrivals)
    assert done.sent == [back(frame) for frame in given_frames]
    assert done.rules == []


@given(given_lengths=st.lists(lengths, max_size=12), burst=st.integers(1, 12))
@settings(max_examples=40, deadline=None)
def test_mmio_nic_sends_bursts_back_too(on_the_wire, given_lengths, burst):
    given_frames = frames(*given_lengths)
    done = echo(on_the_wire[NIC], given_frames, arrivals=Arrivals(burst, 1000))
    assert (done.outcome, done.rules) == ("halted", [])
    assert done.sent == [back(frame) for frame in given_frames]
