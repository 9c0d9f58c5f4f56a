"""Drivers that break their rings under vhost: the queue stops, QEMU hears why, and no more."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ring_kit import little_memory
from test_split_hostile import CASES, SIZE
from vhost_kit import (
    BUFFERS,
    EVENT_IDX,
    FRAMES,
    HEADER_SIZE,
    INDIRECT,
    MERGEABLE,
    PLAIN,
    RAM,
    Bench,
    frame,
)

from toyvisor.host import vhost_net
from toyvisor.trace.events import VQ_ERR
from toyvisor.virtio.constants import DescriptorFlag
from toyvisor.virtio.driver import DriverQueue
from toyvisor.virtio.errors import Rule
from toyvisor.virtio.layout import QueueConfig
from toyvisor.virtio.net import RECEIVE, TRANSMIT

NEXT, WRITE = int(DescriptorFlag.NEXT), int(DescriptorFlag.WRITE)
QUEUES = {"receiveq": RECEIVE, "transmitq": TRANSMIT}
each_queue = pytest.mark.parametrize("index", QUEUES.values(), ids=QUEUES)


def kick(bench: Bench, index: int) -> None:
    """Kick, whether it is wanted or not; and a frame, so that vhost looks for buffers."""
    if index == RECEIVE:
        bench.tap.deliver(frame(0))
    bench.kicks[index].signal()


def rules(bench: Bench) -> list[tuple[int, str]]:
    return [(index, error.rule) for index, error in bench.errors]


@each_queue
@pytest.mark.parametrize("name", CASES)
def test_a_broken_ring_stops_its_queue(name, index):
    rule, features, break_it = CASES[name]
    bench = Bench(features, size=SIZE, trace=True)
    queue = bench.vhost.queues[index]
    break_it(
        SimpleNamespace(
            driver=bench.rings[index], queue=queue.ring, put=bench.put, memory=bench.memory
        )
    )
    kick(bench, index)
    with bench.delta() as delta, little_memory(128 << 10):
        bench.run()
    assert rules(bench) == [(index, f"virtio.split.{rule}")]
    assert delta.ring_reads <= 4 + 2 * SIZE
    assert (delta.copies, bench.wire.frames) == (0, [])
    (event,) = [event for event in bench.ledger.trace if event.kind is VQ_ERR]
    assert event.fields["queue"] == queue.name
    # Dead: neither kicks nor frames make vhost look again, and the other queue lives.
    for _ in range(3):
        kick(bench, index)
    with bench.delta() as delta:
        bench.run()
    assert (delta.ring_reads, delta.ring_writes, len(bench.errors)) == (0, 0, 1)
    if index == RECEIVE:
        bench.send(frame(1))
        bench.run()
        assert bench.wire.frames == [frame(1)]


@each_queue
def test_what_was_good_before_the_bad_one_is_done_and_told(index):
    bench = Bench()
    ring = bench.rings[index]
    if index == TRANSMIT:
        bench.add(frame(0))
    else:
        ring.add_buffer([], [(BUFFERS, 1526)])
        bench.tap.deliver(frame(0))
        bench.tap.deliver(frame(1))
    ring.make_available(0xFFFF)
    seen = []
    bench.vhost.on_error = lambda *_: seen.append((len(ring.reap()), bench.calls[index].signals))
    bench.kicks[index].signal()
    bench.run()
    assert seen == [(1, 1)]


BAD_PACKETS = {
    "writable": [(FRAMES, 100, WRITE)],
    "readable, then writable": [(FRAMES, 100, 0), (FRAMES, 100, WRITE)],
    "header alone": [(FRAMES, HEADER_SIZE, 0)],
    "less than the header": [(FRAMES, HEADER_SIZE - 1, 0)],
    "header alone, cut up": [(FRAMES, 4, 0), (FRAMES, 8, 0)],
}
BAD_BUFFERS = {
    "readable": [(BUFFERS, 1526, 0)],
    "readable, then writable": [(BUFFERS, 12, 0), (BUFFERS, 1526, WRITE)],
}


def place(ring: DriverQueue, spans: list[tuple[int, int, int]]) -> None:
    for number, (address, length, flags) in enumerate(spans):
        more = NEXT if number + 1 < len(spans) else 0
        ring.write_descriptor(number, address, length, flags | more, number + 1)
    ring.make_available(0)


@pytest.mark.parametrize("name", BAD_PACKETS)
def test_what_is_no_packet_stops_the_transmit_queue(name):
    bench = Bench()
    place(bench.tx, BAD_PACKETS[name])
    kick(bench, TRANSMIT)
    bench.run()
    assert rules(bench) == [(TRANSMIT, vhost_net.TX_FORMAT.name)]
    assert bench.wire.frames == []


@pytest.mark.parametrize("features", [PLAIN, MERGEABLE])
@pytest.mark.parametrize("name", BAD_BUFFERS)
def test_what_is_no_receive_buffer_stops_the_receive_queue(name, features):
    bench = Bench(features)
    place(bench.rx, BAD_BUFFERS[name])
    kick(bench, RECEIVE)
    bench.run()
    assert rules(bench) == [(RECEIVE, vhost_net.RX_FORMAT.name)]
    assert bench.ledger.host_to_guest.count == 0


def test_buffers_taken_for_a_frame_that_a_bad_one_spoils_are_put_back():
    bench = Bench(MERGEABLE)
    for _ in range(2):
        bench.rx.add_buffer([], [(BUFFERS, 100)])
    bench.rx.make_available(0xFFFF)
    bench.tap.deliver(frame(0, 1000))
    bench.kicks[RECEIVE].signal()
    bench.run()
    assert rules(bench) == [(RECEIVE, "virtio.split.head-range")]
    assert bench.vhost.stop(RECEIVE) == 0


def test_a_ring_that_is_not_all_in_ram_is_refused():
    bench = Bench(queues=())
    with pytest.raises(Exception, match="not all in RAM") as caught:
        bench.vhost.set_vring(TRANSMIT, QueueConfig(8, RAM - 64, 0x5000, 0x6000), 0, *bench.kicks)
    assert caught.value.rule == "virtio.split.area-range"
    assert not bench.kicks[0].has_waiters


def test_a_packet_of_4_gib_allocates_nothing():
    """The frame's length is the guest's word: it sizes no buffer."""
    bench = Bench(INDIRECT, size=64, ram=1 << 26)
    ring = bench.tx
    for index in range(63):
        ring.write_descriptor(index, 0, 1 << 26, NEXT, index + 1)
    ring.write_descriptor(63, 0, 1 << 26)
    ring.make_available(0)
    kick(bench, TRANSMIT)
    with little_memory(128 << 10):
        bench.run()
    assert (bench.vhost.tx_discarded, bench.errors) == (1, [])
    assert bench.wire.frames == []


def test_a_queue_full_of_bytes_takes_no_time():
    """1024 buffers of one byte for each frame, which do not hold it."""
    bench = Bench(MERGEABLE, size=1024, ram=1 << 21)
    for _ in range(1024):
        bench.rx.add_buffer([], [(BUFFERS, 1)])
    bench.publish(RECEIVE)
    for number in range(20):
        bench.tap.deliver(frame(number, 1514))
    start = time.perf_counter()
    bench.run()
    assert time.perf_counter() - start < 5
    assert bench.vhost.rx_discarded == 20


def test_a_driver_that_hands_out_the_ring_itself_as_a_buffer_hurts_nobody():
    bench = Bench()
    bench.rx.add_buffer([], [(bench.rx.used, 70), (bench.rx.desc, 128), (bench.rx.avail, 20)])
    bench.publish(RECEIVE)
    for number in range(4):
        bench.tap.deliver(frame(number, 100))
    bench.run()
    bench.send(frame(9))
    bench.run()
    assert bench.wire.frames == [frame(9)]


@pytest.mark.parametrize("rule", [vhost_net.TX_FORMAT, vhost_net.RX_FORMAT], ids=repr)
def test_the_rules_of_vhost_are_in_the_catalogue(rule):
    assert Rule.catalogue[rule.name] is rule
    assert rule.section.startswith("VIRTIO 1.2, 5.1.6")


WORDS = st.sampled_from([0, 1, 2, 7, 8, 12, 0x8000, 0xFFFF, 0xFFFFFFFF, FRAMES, BUFFERS, 2**64 - 1])


@settings(deadline=None, max_examples=200)
@given(
    features=st.sampled_from([PLAIN, EVENT_IDX | INDIRECT, MERGEABLE | INDIRECT]),
    writes=st.lists(st.tuples(st.integers(0, 0x300), WORDS, st.booleans()), max_size=40),
)
def test_a_driver_that_scribbles_over_its_rings_is_survived(features, writes):
    """Whatever is there: every turn ends, nothing escapes, a queue fails at most once."""
    bench = Bench(features)
    for _ in range(3):
        bench.rx.add_buffer([], [(BUFFERS, 1526)])
        bench.add(frame(1))
    for offset, value, second in writes:
        base = bench.rings[second].desc
        if base + offset + 8 <= bench.rings[second].tables:
            bench.memory.write_u64(base + offset, value)
        for index in (RECEIVE, TRANSMIT):
            kick(bench, index)
        for _ in range(5):
            bench.vhost.run()
    assert len({index for index, _ in bench.errors}) == len(bench.errors) <= 2
