"""vhost-net: what a packet costs, who is woken, and who is left asleep."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vhost_kit import (
    BUFFERS,
    EVENT_IDX,
    FRAMES,
    HEADER_SIZE,
    INDIRECT,
    MERGEABLE,
    PLAIN,
    Bench,
    SharedTap,
    frame,
)

from toyvisor.host.eventfd import EventFd
from toyvisor.host.frames import MAX_FRAME
from toyvisor.host.vhost_net import VHOST_NET_BATCH, VHOST_NET_PKT_WEIGHT, VHOST_NET_WEIGHT
from toyvisor.trace.events import (
    COPY,
    KINDS,
    TUN_RECVMSG,
    TUN_SENDMSG,
    VHOST_DISCARD,
    VHOST_SIGNAL,
    VHOST_WORK,
    VIRTQUEUE_FILL,
    VIRTQUEUE_FLUSH,
    VIRTQUEUE_POP,
    Layer,
    Thread,
)
from toyvisor.virtio.net import RECEIVE, TRANSMIT

OPTIONS = {
    "plain": PLAIN,
    "indirect": INDIRECT,
    "event_idx": EVENT_IDX,
    "indirect+event_idx": INDIRECT | EVENT_IDX,
}
every_option = pytest.mark.parametrize("features", OPTIONS.values(), ids=OPTIONS)
#: header of a received frame that lies in one buffer
ONE = (0, 0, 0, 0, 0, 0, 1)


# Transmit ----------------------------------------------------------------------------------


@every_option
@pytest.mark.parametrize("length", [14, 60, 1514, 9000, MAX_FRAME])
def test_a_frame_arrives_as_it_was_sent(features, length):
    bench = Bench(features, ram=1 << 20)
    data = frame(7, max(length, 18))[:length]
    assert bench.send(data)
    bench.run()
    assert bench.wire.frames == [data]
    assert bench.tx.reap() == [(0, 0)]
    assert (bench.vhost.tx_packets, bench.vhost.tx_bytes) == (1, length)
    assert bench.errors == []


def test_a_packet_costs_one_copy_and_no_system_call():
    bench = Bench()
    bench.send(frame(0, 1514))
    with bench.delta() as delta:
        bench.run()
    assert (delta.copies, delta.guest_to_host, delta.bytes) == (1, 1, 1514)
    assert (delta.syscalls, delta.tx_calls, delta.suppressed) == (0, 1, 0)


def test_each_iovec_is_a_copy_and_the_header_none():
    bench = Bench(size=16)
    data = frame(3, 300)
    spans = [bench.put(FRAMES, bytes(HEADER_SIZE))]
    for place, cut in enumerate((0, 100, 200)):
        spans.append(bench.put(FRAMES + 0x400 * (place + 1), data[cut : cut + 100]))
    bench.tx.add_buffer(spans)
    bench.publish(TRANSMIT)
    with bench.delta() as delta:
        bench.run()
    assert (delta.guest_to_host, delta.bytes) == (3, 300)
    assert bench.wire.frames == [data]


def test_the_header_may_be_cut_up():
    bench = Bench()
    data = frame(1, 60)
    bench.tx.add_buffer([bench.put(FRAMES, bytes(5)), bench.put(FRAMES + 64, bytes(7) + data)])
    bench.publish(TRANSMIT)
    bench.run()
    assert bench.wire.frames == [data]


def test_a_batch_is_one_call():
    bench = Bench(size=64)
    bench.send(*(frame(number) for number in range(50)))
    with bench.delta() as delta:
        assert bench.run() == 1
    assert (delta.guest_to_host, delta.tx_calls, delta.ring_writes) == (50, 1, 50 + 1 + 2)
    assert bench.wire.frames == [frame(number) for number in range(50)]


@pytest.mark.parametrize(
    ("count", "calls"),
    [(1, 1), (VHOST_NET_BATCH, 1), (VHOST_NET_BATCH + 1, 2), (2 * VHOST_NET_BATCH + 1, 3)],
)
def test_used_buffers_are_told_of_in_batches_of_64(count, calls):
    bench = Bench(size=256)
    for number in range(count):
        bench.add(frame(number), FRAMES + 0x60 * number)
    bench.publish(TRANSMIT)
    with bench.delta() as delta:
        bench.run()
    assert (delta.tx_calls, delta.guest_to_host) == (calls, count)


def test_while_vhost_works_the_driver_need_not_kick():
    """Kicks ask for one look; while looks go on anyway none is wanted."""
    bench = Bench(size=16)
    kicks = []

    def add_one_more(data):
        if len(bench.wire.frames) < 6:
            bench.add(frame(len(bench.wire.frames)), FRAMES + 0x100 * len(bench.wire.frames))
            kicks.append(bench.publish(TRANSMIT))

    bench.tap.connect(type("Neighbour", (), {"receive": staticmethod(add_one_more)})())
    bench.send(frame(0))
    assert bench.run() == 1
    assert kicks == [False] * 5
    assert len(bench.wire.frames) == 6
    assert bench.send(frame(9))


def test_a_driver_that_wants_no_interrupt_is_not_called():
    bench = Bench()
    bench.tx.want_interrupts(False)
    bench.send(frame(0))
    with bench.delta() as delta:
        bench.run()
    assert (delta.tx_calls, delta.suppressed) == (0, 1)
    assert len(bench.tx.reap()) == 1


def test_with_event_idx_the_driver_is_called_at_the_index_it_named():
    bench = Bench(EVENT_IDX)
    bench.tx.want_interrupt_after(3)
    calls = []
    for number in range(4):
        bench.send(frame(number))
        with bench.delta() as delta:
            bench.run()
        calls.append((delta.tx_calls, delta.suppressed))
    assert calls == [(0, 1), (0, 1), (1, 0), (0, 1)]


@every_option
def test_a_turn_ends_after_256_packets_and_is_resumed_without_a_kick(features):
    bench = Bench(features, size=512, ram=1 << 21)
    for number in range(VHOST_NET_PKT_WEIGHT + 10):
        bench.add(frame(number), FRAMES + 0x60 * number)
    bench.publish(TRANSMIT)
    bench.vhost.run()
    assert len(bench.wire.frames) == VHOST_NET_PKT_WEIGHT
    assert bench.vhost.runnable
    bench.vhost.run()
    assert len(bench.wire.frames) == VHOST_NET_PKT_WEIGHT + 10
    assert not bench.vhost.runnable


def test_a_turn_ends_after_half_a_mebibyte():
    bench = Bench(size=64)
    at, length = bench.put(FRAMES, bytes(HEADER_SIZE) + frame(0, 60000))
    for _ in range(20):
        bench.tx.add_buffer([(at, length)])
    bench.publish(TRANSMIT)
    bench.vhost.run()
    assert len(bench.wire.frames) == -(-VHOST_NET_WEIGHT // 60000)
    bench.run()
    assert len(bench.wire.frames) == 20


def test_a_full_transmit_queue_does_not_keep_frames_from_coming_in():
    bench = Bench(size=512, ram=1 << 21)
    for number in range(VHOST_NET_PKT_WEIGHT + 1):
        bench.add(frame(number), FRAMES + 0x60 * number)
    bench.publish(TRANSMIT)
    bench.give()
    bench.tap.deliver(frame(1))
    bench.vhost.run()
    assert len(bench.received()) == 1
    assert bench.vhost.runnable


@pytest.mark.parametrize("length", [1, 13])
def test_what_the_tap_refuses_is_gone_and_its_buffer_given_back(length):
    bench = Bench(trace=True)
    bench.send(bytes(length))
    bench.run()
    assert bench.tap.rx_frame_errors == 1
    assert (bench.vhost.tx_packets, bench.vhost.tx_discarded) == (0, 1)
    assert len(bench.tx.reap()) == 1
    assert bench.errors == []
    assert [
        event.fields["bytes"] for event in bench.ledger.trace if event.kind is VHOST_DISCARD
    ] == [length]


def test_what_is_longer_than_any_packet_is_not_even_copied():
    bench = Bench()
    bench.put(FRAMES, bytes(HEADER_SIZE) + frame(0, 60))
    bench.tx.add_buffer([(FRAMES, HEADER_SIZE + MAX_FRAME + 1)])
    bench.send(frame(1))
    with bench.delta() as delta:
        bench.run()
    assert (delta.guest_to_host, bench.vhost.tx_discarded) == (1, 1)
    assert bench.wire.frames == [frame(1)]
    assert len(bench.tx.reap()) == 2


# Receive ------------------------------------------------------------------------------------


@every_option
@pytest.mark.parametrize("length", [14, 60, 1514])
def test_a_frame_comes_in_behind_its_header(features, length):
    bench = Bench(features)
    bench.give()
    data = frame(5, max(length, 18))[:length]
    bench.tap.deliver(data)
    bench.run()
    assert bench.received() == [(ONE, data)]
    assert (bench.vhost.rx_packets, bench.vhost.rx_bytes) == (1, length)


def test_receiving_costs_one_copy_and_no_system_call():
    bench = Bench()
    bench.give()
    bench.tap.deliver(frame(0, 1514))
    with bench.delta() as delta:
        bench.run()
    assert (delta.copies, delta.host_to_guest, delta.bytes) == (1, 1, 1514)
    assert (delta.syscalls, delta.rx_calls, delta.suppressed) == (0, 1, 0)


def test_used_length_is_header_and_frame():
    bench = Bench()
    bench.give()
    bench.tap.deliver(frame(0, 60))
    bench.run()
    assert bench.rx.reap() == [(0, HEADER_SIZE + 60)]


def test_a_buffer_in_pieces_is_filled_piece_by_piece():
    bench = Bench(size=16)
    data = frame(2, 100)
    spans = [(BUFFERS, 7), (BUFFERS + 64, 25), (BUFFERS + 128, 50), (BUFFERS + 256, 100)]
    bench.rx.add_buffer([], spans)
    bench.publish(RECEIVE)
    bench.tap.deliver(data)
    with bench.delta() as delta:
        bench.run()
    parts = [bytes(bench.memory.view(*span)) for span in spans]
    assert b"".join(parts)[: HEADER_SIZE + 100] == bytes(10) + b"\x01\0" + data
    assert (delta.host_to_guest, delta.bytes) == (3, 100)
    assert bench.rx.reap() == [(0, HEADER_SIZE + 100)]


def test_frames_without_buffers_wait_for_a_kick():
    bench = Bench()
    for number in range(3):
        bench.tap.deliver(frame(number))
    bench.run()
    assert bench.received() == []
    for number in range(3):
        bench.tap.deliver(frame(3 + number))
        assert not bench.vhost.runnable, "the tap wakes nobody while buffers are missing"
    assert bench.give(2)
    bench.run()
    assert [data for _, data in bench.received()] == [frame(0), frame(1)]
    assert bench.give(6)
    bench.run()
    assert [data for _, data in bench.received()] == [frame(number) for number in range(2, 6)]


def test_buffers_without_frames_need_no_kick():
    bench = Bench()
    bench.give(4)
    bench.run()
    assert bench.tap.has_waiters
    assert not bench.give(1)
    bench.tap.deliver(frame(0))
    bench.run()
    assert not bench.give(1)


def test_a_batch_of_frames_is_one_call():
    bench = Bench(size=64)
    bench.give(60)
    for number in range(60):
        bench.tap.deliver(frame(number))
    with bench.delta() as delta:
        assert bench.run() == 1
    assert (delta.host_to_guest, delta.rx_calls) == (60, 1)


@pytest.mark.parametrize(
    ("count", "calls"), [(VHOST_NET_BATCH, 1), (VHOST_NET_BATCH + 1, 1), (VHOST_NET_BATCH + 2, 2)]
)
def test_received_frames_are_told_of_when_more_than_64_are_there(count, calls):
    bench = Bench(size=128)
    bench.give(count, size=128)
    for number in range(count):
        bench.tap.deliver(frame(number))
    with bench.delta() as delta:
        bench.run()
    assert (delta.rx_calls, delta.host_to_guest) == (calls, count)


def test_a_turn_ends_after_256_frames():
    bench = Bench(size=512, ram=1 << 21)
    bench.give(300, size=80)
    for number in range(300):
        bench.tap.deliver(frame(number))
    bench.vhost.run()
    assert bench.vhost.rx_packets == VHOST_NET_PKT_WEIGHT
    assert bench.vhost.runnable
    bench.run()
    assert bench.vhost.rx_packets == 300


def test_a_frame_too_long_for_the_buffer_is_lost_and_the_buffer_stays():
    bench = Bench(trace=True)
    bench.give(1, size=HEADER_SIZE + 60)
    bench.tap.deliver(frame(0, 61))
    bench.tap.deliver(frame(1, 60))
    with bench.delta() as delta:
        bench.run()
    assert bench.received() == [(ONE, frame(1, 60))]
    assert (bench.vhost.rx_discarded, delta.host_to_guest) == (1, 1)


def test_endless_frames_too_long_do_not_keep_the_worker():
    bench = Bench()
    bench.give(1, size=HEADER_SIZE)
    for number in range(VHOST_NET_PKT_WEIGHT + 1):
        bench.tap.deliver(frame(number))
    bench.vhost.run()
    assert bench.vhost.rx_discarded == VHOST_NET_PKT_WEIGHT
    bench.run()
    assert bench.vhost.rx_discarded == VHOST_NET_PKT_WEIGHT + 1


# MRG_RXBUF -----------------------------------------------------------------------------------


@pytest.mark.parametrize("features", [MERGEABLE, MERGEABLE | EVENT_IDX])
@pytest.mark.parametrize(("size", "buffers"), [(506, 3), (507, 2), (1012, 2), (1013, 1)])
def test_a_frame_lies_in_as_many_buffers_as_it_takes(features, size, buffers):
    bench = Bench(features)
    bench.give(4, size=size)
    bench.tap.deliver(frame(4, 1001))
    with bench.delta() as delta:
        bench.run()
    ((header, data),) = bench.received()
    assert (header, data) == ((0, 0, 0, 0, 0, 0, buffers), frame(4, 1001))
    assert (delta.host_to_guest, delta.bytes, delta.rx_calls) == (buffers, 1001, 1)


@pytest.mark.parametrize("features", [MERGEABLE, MERGEABLE | EVENT_IDX])
def test_too_few_buffers_are_left_and_the_next_one_kicks(features):
    bench = Bench(features)
    bench.give(2, size=400)
    bench.tap.deliver(frame(4, 1000))
    bench.run()
    assert bench.received() == []
    assert not bench.vhost.runnable
    assert bench.give(1, size=400), "the kick is wanted for one buffer more"
    bench.run()
    assert [data for _, data in bench.received()] == [frame(4, 1000)]


def test_it_is_the_buffers_that_make_a_batch():
    bench = Bench(MERGEABLE, size=256)
    bench.give(2 * (VHOST_NET_BATCH + 1), size=HEADER_SIZE + 30)
    for number in range(VHOST_NET_BATCH + 1):
        bench.tap.deliver(frame(number, 60))
    with bench.delta() as delta:
        bench.run()
    assert (delta.rx_calls, delta.host_to_guest) == (2, 2 * (VHOST_NET_BATCH + 1))


def test_a_frame_longer_than_the_whole_queue_is_lost():
    bench = Bench(MERGEABLE, size=4)
    bench.give(4, size=100)
    bench.tap.deliver(frame(0, 1000))
    bench.tap.deliver(frame(1, 60))
    bench.run()
    assert [data for _, data in bench.received()] == [frame(1, 60)]
    assert bench.vhost.rx_discarded == 1


# Starting and stopping ------------------------------------------------------------------------


def test_what_was_there_before_vhost_is_served_without_a_kick():
    bench = Bench(queues=())
    for index in (RECEIVE, TRANSMIT):
        bench.rings[index].publish()
    bench.add(frame(0))
    bench.tx.publish()
    bench.rx.add_buffer([], [(BUFFERS, 1526)])
    bench.rx.publish()
    bench.tap.deliver(frame(1))
    for index in (RECEIVE, TRANSMIT):
        bench.vhost.set_vring(
            index, bench.rings[index].config, 0, bench.kicks[index], bench.calls[index]
        )
    bench.vhost.set_backend(bench.tap)
    bench.run()
    assert bench.wire.frames == [frame(0)]
    assert [data for _, data in bench.received()] == [frame(1)]


def test_without_a_tap_nothing_is_touched():
    bench = Bench()
    bench.vhost.set_backend(None)
    bench.send(frame(0))
    with bench.delta() as delta:
        bench.run()
    assert (delta.ring_reads, delta.ring_writes, delta.copies) == (0, 0, 0)


@every_option
def test_a_stopped_queue_tells_where_the_next_one_goes_on(features):
    """VHOST_GET_VRING_BASE: from 65530 across 65535, and on with another vhost."""
    bench = Bench(features, base=65530)
    for number in range(8):
        bench.send(frame(number))
        bench.run()
        assert len(bench.tx.reap()) == 1
    base = bench.vhost.stop(TRANSMIT)
    assert base == (65530 + 8) & 0xFFFF
    bench.vhost.set_vring(TRANSMIT, bench.tx.config, base, EventFd("kick"), bench.calls[TRANSMIT])
    bench.send(frame(8))
    bench.vhost.set_backend(bench.tap)
    bench.run()
    assert bench.wire.frames == [frame(number) for number in range(9)]


def test_a_stopped_queue_is_left_alone_by_kicks_and_frames():
    bench = Bench()
    bench.give(2)
    bench.run()
    for index in (RECEIVE, TRANSMIT):
        bench.vhost.stop(index)
    bench.send(frame(0))
    bench.kicks[TRANSMIT].signal()
    bench.tap.deliver(frame(1))
    with bench.delta() as delta:
        bench.run()
    assert (delta.ring_reads, delta.ring_writes, delta.tx_calls, delta.rx_calls) == (0, 0, 0, 0)
    assert not any(file.has_waiters for file in (*bench.kicks, bench.tap))
    assert bench.tap.queued == 1, "for whoever has the tap now"


def test_work_that_was_queued_when_the_queue_stopped_finds_nothing():
    bench = Bench()
    bench.send(frame(0))
    assert bench.vhost.runnable
    bench.vhost.stop(TRANSMIT)
    bench.run()
    assert bench.wire.frames == []


def test_stopping_twice_or_without_a_queue_is_nothing():
    bench = Bench(queues=(TRANSMIT,))
    assert bench.vhost.stop(RECEIVE) == 0
    bench.vhost.stop(TRANSMIT)
    assert bench.vhost.stop(TRANSMIT) == 0


def test_a_frame_that_waited_for_buffers_outlives_a_stop():
    bench = Bench()
    bench.tap.deliver(frame(0))
    bench.run()
    base = bench.vhost.stop(RECEIVE)
    bench.vhost.set_vring(
        RECEIVE, bench.rx.config, base, bench.kicks[RECEIVE], bench.calls[RECEIVE]
    )
    bench.vhost.set_backend(bench.tap)
    bench.give()
    bench.run()
    assert [data for _, data in bench.received()] == [frame(0)]


def test_a_tap_that_is_down_is_as_good_as_empty():
    class Down:
        name, readable = "tap0", True

        def recv(self):
            raise OSError(5, "Input/output error")

        def add_waiter(self, waiter):
            pass

        def remove_waiter(self, waiter):
            pass

    bench = Bench()
    bench.give()
    bench.vhost.set_backend(Down())
    for _ in range(3):
        bench.vhost.run()
    assert bench.received() == []
    assert bench.errors == []


def test_a_kick_from_before_counts():
    bench = Bench(queues=())
    bench.add(frame(0))
    bench.publish(TRANSMIT)
    bench.vhost.set_backend(bench.tap)
    bench.vhost.set_vring(
        TRANSMIT, bench.tx.config, 0, bench.kicks[TRANSMIT], bench.calls[TRANSMIT]
    )
    bench.run()
    assert bench.wire.frames == [frame(0)]


def test_without_a_receive_queue_the_tap_wakes_nobody():
    bench = Bench(queues=(TRANSMIT,))
    bench.tap.deliver(frame(0))
    assert not bench.vhost.runnable


def test_a_kick_for_nothing_is_told_to_nobody():
    bench = Bench()
    bench.kicks[TRANSMIT].signal()
    bench.kicks[RECEIVE].signal()
    with bench.delta() as delta:
        assert bench.run() == 1
    assert (delta.suppressed, delta.tx_calls, delta.rx_calls) == (0, 0, 0)


# The thread ----------------------------------------------------------------------------------


def test_a_kick_wakes_the_worker_whose_turns_are_context_switches():
    bench = Bench()
    assert not bench.scheduler.has_runnable
    bench.send(frame(0))
    assert bench.scheduler.has_runnable
    before = bench.ledger.context_switches
    assert bench.scheduler.run_others() is False
    assert bench.ledger.context_switches - before == 2  # to vhost, and back to the vCPU
    assert bench.wire.frames == [frame(0)]


def test_kicks_come_together_and_the_counter_is_never_read():
    bench = Bench()
    bench.send(frame(0))
    for _ in range(9):
        bench.kicks[TRANSMIT].signal()
    assert bench.run() == 1
    assert bench.kicks[TRANSMIT].count == 10
    assert not bench.vhost.runnable


def test_the_trace_says_what_the_kernel_did_and_that_it_was_the_kernel():
    bench = Bench(trace=True)
    bench.give()
    bench.scheduler.run_others()
    del bench.ledger.trace.records[:]
    bench.send(frame(0))
    bench.tap.deliver(frame(1))
    bench.scheduler.run_others()
    events = [event for event in bench.ledger.trace if event.thread is Thread.VHOST]
    assert {event.layer for event in events} == {Layer.HOST}
    assert [(event.kind, *event.fields.values()) for event in events[:-1]] == [
        (VHOST_WORK, "handle_tx_kick"),
        (VIRTQUEUE_POP, "transmitq", 0, 0, 1),
        (COPY, "guest->host", 60),
        (TUN_SENDMSG, "tap0", 60),
        (VIRTQUEUE_FILL, "transmitq", 0, 0, 0),
        (VIRTQUEUE_FLUSH, "transmitq", 1),
        (VHOST_SIGNAL, "transmitq", False),
        (VHOST_WORK, "handle_rx_net"),
        (TUN_RECVMSG, "tap0", 60),
        (VIRTQUEUE_POP, "receiveq", 0, 1, 0),
        (COPY, "host->guest", 60),
        (VIRTQUEUE_FILL, "receiveq", 0, 72, 0),
        (VIRTQUEUE_FLUSH, "receiveq", 1),
        (VHOST_SIGNAL, "receiveq", False),
    ]
    assert events[-1].kind is KINDS["sched_switch"]


def test_the_same_events_of_a_ring_are_qemus_when_qemu_has_it():
    bench = Bench(trace=True)
    bench.ledger.trace.emit(VIRTQUEUE_FLUSH, "transmitq", 1)
    *_, event = bench.ledger.trace
    assert (event.thread, event.layer) == (Thread.VCPU, Layer.QEMU)


# Any order of turns ---------------------------------------------------------------------------


DRIVER = st.one_of(
    st.tuples(st.just("send"), st.integers(1, 3)),
    st.tuples(st.just("reap"), st.just(0)),
    st.tuples(st.just("deliver"), st.integers(1, 4)),
    st.tuples(st.just("give"), st.integers(1, 3)),
    st.tuples(st.just("take"), st.just(0)),
)
#: `turn`: the worker has one. `soon`: the driver does something in the middle of the next ones.
ACTIONS = st.lists(
    st.one_of(
        DRIVER,
        st.tuples(st.just("turn"), st.just(0)),
        st.tuples(st.just("soon"), st.tuples(st.integers(0, 12), DRIVER)),
        st.tuples(st.just("interrupts"), st.booleans()),
    ),
    max_size=60,
)
#: where the indices start: 65533 goes round soon
BASES = st.sampled_from([0, 65533])


class Life:
    """A driver that sleeps unless it is called, and a worker that sleeps unless it is kicked."""

    def __init__(self, features: int, base: int) -> None:
        self.bench = Bench(features, base=base, tap=SharedTap)
        self.processors = self.bench.share()
        self.sent: list[bytes] = []
        self.delivered: list[bytes] = []
        self.taken: list[bytes] = []

    def step(self, what: str, detail: object) -> None:
        bench = self.bench
        if what == "turn" and bench.vhost.runnable:
            bench.vhost.run()
        elif what == "soon":
            when, action = detail
            self.processors.coming.append((when, lambda: self.drive(*action)))
        elif what == "interrupts":
            for ring in bench.rings:
                ring.want_interrupts(detail)
        else:
            self.drive(what, detail)

    def drive(self, what: str, count: int) -> None:
        bench = self.bench
        if what == "send":
            for _ in range(min(count, bench.tx.free_descriptors)):
                self.sent.append(frame(len(self.sent)))
                bench.add(self.sent[-1], FRAMES + 0x100 * (bench.tx.avail_idx % 8))
            bench.publish(TRANSMIT)
        elif what == "reap":
            bench.tx.reap()
        elif what == "deliver":
            for _ in range(count):
                self.delivered.append(frame(1000 + len(self.delivered)))
                bench.tap.deliver(self.delivered[-1])
        elif what == "give":
            bench.give(min(count, bench.rx.free_descriptors))
        elif what == "take":
            for header, data in bench.received():
                assert header == ONE
                self.taken.append(data)

    def settle(self) -> None:
        """Everybody does what is left to do; the worker is woken by kicks and frames alone."""
        bench = self.bench
        for _ in range(100):
            bench.run()
            self.drive("reap", 0)
            self.drive("take", 0)
            if len(self.taken) == len(self.delivered) and not self.processors.coming:
                break
            self.processors.step()
            self.drive("give", 8)
        bench.run()


@settings(deadline=None, max_examples=200)
@given(
    actions=ACTIONS,
    features=st.sampled_from([PLAIN, EVENT_IDX, INDIRECT | EVENT_IDX, MERGEABLE | EVENT_IDX]),
    base=BASES,
)
def test_every_frame_arrives_once_and_in_order_whoever_runs_when(actions, features, base):
    life = Life(features, base)
    for what, detail in actions:
        life.step(what, detail)
    life.settle()
    assert life.bench.wire.frames == life.sent
    assert life.taken == life.delivered
    assert life.bench.errors == []
    assert life.bench.ledger.guest_to_host.count == len(life.sent)
    assert life.bench.ledger.host_to_guest.count == len(life.delivered)


@settings(deadline=None, max_examples=200)
@given(actions=ACTIONS, features=st.sampled_from([PLAIN, EVENT_IDX]), base=BASES)
def test_a_driver_that_waits_for_a_call_gets_one(actions, features, base):
    """It enables interrupts, looks once more (2.7.14), and sleeps: no call may be lost."""
    life = Life(features, base)
    for what, detail in actions:
        if what != "interrupts":
            life.step(what, detail)
    life.settle()
    for index, ring in enumerate(life.bench.rings):
        ring.reap()
        ring.want_interrupts(True)
        assert not ring.more_used
        before = life.bench.calls[index].signals
        if index == TRANSMIT:
            life.drive("send", 1)
        else:
            life.drive("give", 1)
            life.drive("deliver", 1)
        life.bench.run()
        assert ring.more_used
        assert life.bench.calls[index].signals == before + 1


class Called(Life):
    """A driver that takes buffers back only when it is called."""

    def __init__(self, features: int, base: int) -> None:
        super().__init__(features, base)
        self.interrupts: set[int] = set()
        for index, call in enumerate(self.bench.calls):
            call.add_waiter(lambda index=index: self.interrupts.add(index))

    def drive(self, what: str, count: int) -> None:
        if what in ("reap", "take"):
            self.handle(TRANSMIT if what == "reap" else RECEIVE)
        else:
            super().drive(what, count)

    def handle(self, index: int) -> None:
        """The interrupt handler: take all, ask for the next one, look once more (2.7.14)."""
        if index not in self.interrupts:
            return
        self.interrupts.discard(index)
        ring = self.bench.rings[index]
        while True:
            super().drive("reap" if index == TRANSMIT else "take", 0)
            ring.want_interrupts(True)
            if not ring.more_used:
                return


@settings(deadline=None, max_examples=200)
@given(actions=ACTIONS, features=st.sampled_from([PLAIN, EVENT_IDX]), base=BASES)
def test_a_driver_that_only_works_when_called_misses_nothing(actions, features, base):
    life = Called(features, base)
    for what, detail in actions:
        if what != "interrupts":
            life.step(what, detail)
    for _ in range(20):
        life.bench.run()
        life.processors.step()
        life.handle(TRANSMIT)
        life.handle(RECEIVE)
    assert not life.bench.vhost.runnable
    assert [ring.more_used for ring in life.bench.rings] == [False, False]
    assert life.bench.wire.frames == life.sent


@pytest.mark.parametrize("features", [PLAIN, EVENT_IDX])
@pytest.mark.parametrize("when", range(6))
def test_a_packet_added_at_any_step_of_a_turn_is_sent(features, when):
    """The lost kick: added after vhost's last look, before it asked to be kicked again."""
    life = Life(features, 0)
    life.drive("send", 1)
    life.step("soon", (when, ("send", 1)))
    life.settle()
    assert life.bench.wire.frames == [frame(0), frame(1)]


@pytest.mark.parametrize("features", [PLAIN, EVENT_IDX])
@pytest.mark.parametrize("when", range(6))
def test_a_frame_or_a_buffer_that_comes_at_any_step_of_a_turn_is_seen(features, when):
    for first, second in ((("give", 1), ("deliver", 1)), (("deliver", 1), ("give", 1))):
        life = Life(features, 0)
        life.drive(*first)
        life.step("soon", (when, second))
        life.bench.kicks[RECEIVE].signal()
        for _ in range(10):
            life.bench.run()
            life.processors.step()
        life.drive("take", 0)
        assert life.taken == life.delivered == [frame(1000)]
