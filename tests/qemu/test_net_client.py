"""Frames on their way from the tap to a device: who waits where, and what it costs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loop_kit import Host

from toyvisor.host.tap import TX_QUEUE_LEN
from toyvisor.qemu.net_client import MAX_PACKETS_A_TURN, NetClient


class Card:
    """A device with room for so many frames; `ready` is whether its driver is."""

    def __init__(self, room: int = 1 << 30) -> None:
        self.ready = True
        self.room = room
        self.frames: list[bytes] = []
        self.refused = 0

    def can_receive(self) -> bool:
        return self.ready

    def receive(self, frame: memoryview) -> bool:
        assert self.ready
        if not self.room:
            self.refused += 1
            return False
        self.room -= 1
        self.frames.append(bytes(frame))
        return True


class Bench(Host):
    def __init__(self, **card: int) -> None:
        super().__init__()
        self.card = Card(**card)
        self.client = NetClient(self.ledger, self.tap, self.loop)
        self.client.peer = self.card
        self.loop.start()

    def arrive(self, *sizes: int) -> list[bytes]:
        frames = [bytes([n % 256]) * size for n, size in enumerate(sizes)]
        for frame in frames:
            self.tap.deliver(frame)
        return frames


@pytest.fixture
def bench():
    return Bench()


def test_a_frame_is_two_reads_and_one_copy(bench):
    """The second read finds nothing: that is how the handler knows that it is done."""
    frames = bench.arrive(60)
    with bench.costs(switches=2, copied=(1, 60), ppoll=1, read=2):
        bench.settle()
    assert bench.card.frames == frames


def test_a_burst_is_one_turn(bench):
    frames = bench.arrive(*range(60, 70))
    with bench.costs(switches=2, copied=(10, 645), ppoll=1, read=11):
        bench.settle()
    assert bench.card.frames == frames


def test_after_fifty_frames_the_others_have_their_turn(bench):
    bench.arrive(*[60] * 120)
    with bench.costs(switches=2, copied=(120, 7200), ppoll=3, read=121):
        bench.settle()
    assert MAX_PACKETS_A_TURN == 50
    assert len(bench.card.frames) == 120


def test_a_device_that_is_not_ready_leaves_frames_in_the_kernel(bench):
    bench.card.ready = False
    frames = bench.arrive(60, 61)
    with bench.costs(switches=2, ppoll=1):
        bench.settle()
    assert bench.tap.queued == 2
    with bench.costs():
        frames += bench.arrive(62)
        bench.settle()
    assert bench.tap.queued == 3, "nobody polls the tap"
    bench.card.ready = True
    with bench.costs(write_eventfd=1):
        bench.client.flush()
    with bench.costs(switches=2, copied=(3, 183), ppoll=1, read=4, read_eventfd=1):
        bench.settle()
    assert bench.card.frames == [bytes(60), b"\1" * 61, bytes(62)]


def test_what_nobody_fetches_is_dropped_by_the_kernel(bench):
    bench.card.ready = False
    bench.arrive(*[60] * (TX_QUEUE_LEN + 7))
    bench.settle()
    assert (bench.tap.queued, bench.tap.tx_dropped) == (TX_QUEUE_LEN, 7)


def test_without_room_one_frame_waits_in_qemu_and_the_rest_in_the_kernel(bench):
    bench.card.room = 1
    frames = bench.arrive(60, 61, 62)
    with bench.costs(switches=2, copied=(2, 121), ppoll=1, read=2):
        bench.settle()
    assert bench.card.frames == frames[:1]
    assert bench.tap.queued == 1
    assert not bench.client.polling
    bench.card.room = 5
    with bench.costs(write_eventfd=1):
        bench.client.flush()
    assert bench.card.frames == frames[:2], "at once, in the thread that brought the room"
    bench.settle()
    assert bench.card.frames == frames


def test_a_flush_without_room_changes_nothing(bench):
    bench.card.room = 0
    bench.arrive(60, 61)
    bench.settle()
    with bench.costs():
        bench.client.flush()
    assert bench.card.refused == 2
    assert not bench.client.polling
    with bench.costs():
        bench.settle()


def test_a_flush_of_one_that_is_polled_anyway_is_free(bench):
    with bench.costs():
        bench.client.flush()
        bench.settle()


def test_a_flush_before_the_device_is_ready_does_not_poll(bench):
    bench.card.ready = False
    bench.arrive(60)
    bench.settle()
    with bench.costs():
        bench.client.flush()
        bench.settle()


def test_without_a_device_frames_stay_where_they_are(bench):
    bench.client.peer = None
    bench.arrive(60)
    bench.settle()
    bench.client.flush()
    assert bench.tap.queued == 1


def test_the_longest_frame_fits(bench):
    frames = bench.arrive(65535)
    bench.settle()
    assert bench.card.frames == frames


def test_by_hand_without_a_main_loop():
    host = Host()
    client = NetClient(host.ledger, host.tap)
    client.peer = card = Card()
    host.tap.deliver(b"frame")
    client.tap_send()
    assert card.frames == [b"frame"]


STEP = st.one_of(
    st.tuples(st.just("arrive"), st.integers(1, 80)),
    st.tuples(st.just("room"), st.integers(1, 80)),
    st.tuples(st.just("ready"), st.booleans()),
    st.tuples(st.just("settle"), st.just(0)),
)


@given(st.lists(STEP, max_size=30))
def test_no_frame_is_lost_doubled_or_forgotten(steps):
    bench = Bench(room=0)
    came = 0
    for name, value in steps:
        if name == "arrive":
            for _ in range(value):
                bench.tap.deliver(came.to_bytes(4, "big"))
                came += 1
        elif name == "settle":
            bench.scheduler.run_others()
        else:
            if name == "room":
                bench.card.room += value
            else:
                bench.card.ready = value
            bench.client.flush()
    bench.card.ready, bench.card.room = True, 1 << 30
    bench.client.flush()
    bench.settle()
    numbers = [int.from_bytes(frame, "big") for frame in bench.card.frames]
    assert numbers == sorted(set(numbers)), "in order, each once"
    assert len(numbers) == came - bench.tap.tx_dropped
    assert bench.ledger.host_to_qemu.count == len(numbers)
    assert bench.client.polling
