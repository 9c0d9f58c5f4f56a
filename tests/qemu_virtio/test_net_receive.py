"""Frames into the guest, and what each of them costs (VIRTIO 1.2, 5.1.6.3 and 5.1.6.4)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from receive_kit import Card, LoopCard
from test_net_transmit import OPTIONS
from test_virtio_hostile import FATAL, little_memory
from virtio_kit import EVENT_IDX, FRAMES, INDIRECT, LIVE, NEEDS_RESET, RAM, Machine, frame

from toyvisor.host.tap import TX_QUEUE_LEN
from toyvisor.qemu.virtio.net_format import FEATURES, RECEIVE_BUFFER
from toyvisor.qemu.virtio.registers import Reg
from toyvisor.trace.events import IRQ_LINE, VIRTIO_NOTIFY, VIRTQUEUE_FLUSH
from toyvisor.virtio.driver import QueueFullError
from toyvisor.virtio.net import HEADER, MRG_RXBUF, RECEIVE
from toyvisor.virtio.split_queue import SplitQueue

MERGEABLE = {f"{name}+mrg_rxbuf": value | MRG_RXBUF for name, value in OPTIONS.items()}
both_ways = pytest.mark.parametrize("features", [0, EVENT_IDX], ids=["flag", "event_idx"])
single_or_merged = pytest.mark.parametrize("merging", [0, MRG_RXBUF], ids=["single", "merged"])
BUFFER = RECEIVE_BUFFER


def test_a_receive_buffer_has_1526_bytes():
    assert RECEIVE_BUFFER == 1526  # 5.1.6.3.1


@pytest.mark.parametrize("features", (OPTIONS | MERGEABLE).values(), ids=OPTIONS | MERGEABLE)
@pytest.mark.parametrize("length", [14, 60, 1514])
def test_a_frame_arrives_as_it_was_sent(features, length):
    card = Card().bring_up(features)
    card.post(BUFFER)
    card.arrive(frame(7, length))
    (got,) = card.reap()
    assert got.length == 12 + length
    assert got.data == HEADER.pack(0, 0, 0, 0, 0, 0, 1) + frame(7, length)
    assert (card.net.packets_received, card.net.bytes_received) == (1, length)
    assert (card.interrupts, card.line, card.rules) == (1, 1, [])


def test_the_longest_frame_of_a_tap_comes_into_a_buffer_that_is_long_enough():
    card = Card().bring_up()
    card.post(12 + 65535)
    card.arrive(frame(1, 65535))
    assert card.received() == [frame(1, 65535)]


def test_frames_come_in_order():
    card = Card().bring_up()
    card.post(*[BUFFER] * 8)
    card.arrive(*(frame(number, 60 + number) for number in range(8)))
    assert card.received() == [frame(number, 60 + number) for number in range(8)]


# What it costs ------------------------------------------------------------------------------


def test_a_frame_is_copied_from_the_kernel_to_qemu_and_from_there_into_the_guest():
    card = Card().bring_up()
    card.post(BUFFER)
    card.network.deliver(frame(0, 1514))
    with card.delta() as delta:
        card.client.tap_send()
    assert (delta.copies, delta.bytes) == (2, 2 * 1514)
    assert (delta.host_to_qemu, delta.qemu_to_guest, delta.qemu_to_guest_bytes) == (1, 1, 1514)
    assert (delta.read, delta.received, delta.lost) == (1, 1, 0)


@pytest.mark.parametrize(
    ("lengths", "copies"),
    [((12, 1514), 1), ((BUFFER,), 1), ((12, 20, 40, 100), 2), ((12, 59, 1), 2), ((5, 7, 60), 1)],
)
def test_each_descriptor_that_takes_data_is_one_copy(lengths, copies):
    """Neither the header nor a descriptor behind the frame is."""
    card = Card().bring_up()
    card.post(lengths)
    with card.delta() as delta:
        card.arrive(frame(3, 60))
    assert (delta.qemu_to_guest, delta.qemu_to_guest_bytes) == (copies, 60)
    assert card.received() == [frame(3, 60)]


@pytest.mark.parametrize(
    ("features", "writes"), [(0, 4), (EVENT_IDX, 3)], ids=["flag", "event_idx"]
)
def test_ring_accesses_of_one_frame(features, writes):
    """Reads: avail.idx, entry, descriptor, the driver's wish to be notified. Writes: header, used
    entry, used.idx, and, once, asking for no kick; with EVENT_IDX that costs nothing."""
    card = Card().bring_up(features)
    card.post(BUFFER, BUFFER, kick=False)
    with card.delta() as delta:
        assert card.net.receive(memoryview(frame()))
    assert (delta.ring_reads, delta.ring_writes) == (4, writes)
    with card.delta() as delta:
        assert card.net.receive(memoryview(frame()))
    assert (delta.ring_reads, delta.ring_writes) == (3, 3)
    assert (delta.copies, delta.bytes) == (1, 60)


def test_each_frame_is_published_by_itself_and_the_line_rises_once():
    card = Card(trace=True).bring_up()
    card.post(*[BUFFER] * 8)
    card.arrive(*[frame()] * 5)
    kinds = [event.kind for event in card.ledger.trace]
    assert kinds.count(VIRTQUEUE_FLUSH) == kinds.count(VIRTIO_NOTIFY) == 5
    assert kinds.count(IRQ_LINE) == 1
    assert card.ledger.suppressed == 0


def test_a_frame_in_several_buffers_is_published_as_one():
    card = Card(trace=True).bring_up(MRG_RXBUF)
    card.post(*[500] * 5)
    with card.delta() as delta:
        card.arrive(frame(1, 1514))
    assert (delta.qemu_to_guest, delta.qemu_to_guest_bytes) == (4, 1514)
    flushes = [event for event in card.ledger.trace if event.kind is VIRTQUEUE_FLUSH]
    assert [event.fields["count"] for event in flushes] == [4]
    notified = [event for event in card.ledger.trace if event.kind is VIRTIO_NOTIFY]
    assert len(notified) == 1


# However the driver cuts it (2.7.4.1) ----------------------------------------------------------


@pytest.mark.parametrize("features", [0, INDIRECT], ids=["plain", "indirect"])
@pytest.mark.parametrize("cut", range(1, 27))
def test_a_buffer_cut_in_two_anywhere(cut, features):
    card = Card().bring_up(features)
    card.post((cut, 72 - cut))
    card.arrive(frame(5))
    assert card.received() == [frame(5)]
    assert card.rules == []


def test_a_header_over_twelve_descriptors_is_no_copy():
    card = Card().bring_up(size=16)
    card.post((*[1] * 12, 60))
    with card.delta() as delta:
        card.arrive(frame(5))
    assert (delta.qemu_to_guest, card.received()) == (1, [frame(5)])


@settings(max_examples=100, deadline=None)
@given(
    cuts=st.lists(st.integers(1, 100), min_size=1, max_size=7),
    length=st.integers(14, 200),
    features=st.sampled_from(list((OPTIONS | MERGEABLE).values())),
)
def test_a_buffer_cut_into_any_pieces(cuts, length, features):
    card = Card().bring_up(features)
    card.post(tuple(cuts))
    card.arrive(frame(9, length))
    fits = sum(cuts) >= 12 + length
    assert card.received() == [frame(9, length)] * fits
    assert card.ledger.qemu_to_guest.bytes == length * fits


# Buffers together: VIRTIO_NET_F_MRG_RXBUF -------------------------------------------------------


def test_a_frame_flows_over_into_further_buffers():
    card = Card().bring_up(MRG_RXBUF)
    card.post(20, (10, 20), 100, 100)
    card.arrive(frame(1, 60))
    back = card.reap()
    assert [got.length for got in back] == [20, 30, 22]
    assert back[0].data[:12] == HEADER.pack(0, 0, 0, 0, 0, 0, 3)
    assert b"".join(got.data for got in back)[12:] == frame(1, 60)
    assert card.rules == []


def test_a_buffer_of_just_the_header_is_enough_to_begin_with():
    card = Card().bring_up(MRG_RXBUF)
    card.post(12, 60)
    card.arrive(frame(1, 60))
    assert [got.length for got in card.reap()] == [12, 60]


def test_all_but_the_last_buffer_are_full():
    """5.1.6.4.1."""
    card = Card().bring_up(MRG_RXBUF)
    card.post(100, 100, 100, 100)
    card.arrive(frame(1, 88), frame(2, 89))
    assert [got.length for got in card.reap()] == [100, 100, 1]


@both_ways
def test_too_few_buffers_are_left_alone_until_there_are_more(features):
    card = Card().bring_up(MRG_RXBUF | features)
    card.post(30, 30)
    with card.delta() as delta:
        card.arrive(frame(1, 60))
    assert (delta.qemu_to_guest, card.reap(), card.line) == (0, [], 0)
    # Nothing in the ring has changed, and yet the device wants to hear of the next buffer.
    assert card.post(30)
    assert card.received() == [frame(1, 60)]
    assert card.net.receive_dropped == 0


@both_ways
def test_one_more_buffer_that_is_still_too_few_is_followed_by_another_kick(features):
    card = Card().bring_up(MRG_RXBUF | features)
    card.arrive(frame(1, 100))
    assert [card.post(30), card.post(30), card.post(30)] == [True, True, True]
    assert card.reap() == []
    assert card.post(30)
    assert card.received() == [frame(1, 100)]


@pytest.mark.parametrize("features", [0, INDIRECT], ids=["plain", "indirect"])
def test_a_frame_too_long_for_the_whole_queue_does_not_wait_for_ever(features):
    card = Card().bring_up(MRG_RXBUF | features)
    card.post(*[20] * 8)
    card.arrive(frame(1, 150), frame(2, 60))
    assert card.rules == ["virtio.net.rx-full-ring"]
    assert card.received() == [frame(2, 60)]
    assert card.net.receive_dropped == 1


def test_it_waits_if_a_table_leaves_descriptors_for_more_buffers():
    card = Card().bring_up(MRG_RXBUF | INDIRECT)
    card.post(*[(5, 5, 5, 5)] * 2)
    card.arrive(frame(1, 60))
    assert (card.rules, card.net.receive_dropped) == ([], 0)
    card.post(*[(5, 5, 5, 5)] * 2)
    assert card.received() == [frame(1, 60)]


def test_it_does_not_wait_if_all_descriptors_are_taken():
    card = Card().bring_up(MRG_RXBUF)
    card.post(*[(5, 5, 5, 5)] * 2)
    card.arrive(frame(1, 60))
    assert (card.rules, card.net.receive_dropped) == (["virtio.net.rx-full-ring"], 1)


def test_a_frame_longer_than_ethernets_is_not_held_against_the_driver():
    card = Card().bring_up(MRG_RXBUF)
    card.post(*[1526] * 8)
    card.arrive(frame(1, 65535))
    assert (card.rules, card.net.receive_dropped) == ([], 1)
    card = Card().bring_up()
    card.post(1526)
    card.arrive(frame(1, 1515), frame(2, 1514))
    assert (card.rules, card.net.receive_dropped) == ([], 1)
    assert card.received() == [frame(2, 1514)]


# Interrupts, and none ------------------------------------------------------------------------


@both_ways
def test_a_driver_that_wants_no_interrupts_gets_none(features):
    card = Card().bring_up(features)
    card.queue.want_interrupts(False)
    card.post(*[BUFFER] * 8)
    card.arrive(*[frame()] * 8)
    assert (card.interrupts, card.line, card.ledger.suppressed) == (0, 0, 8)
    assert len(card.received()) == 8


def test_event_idx_interrupts_at_the_frame_asked_for_and_at_no_other():
    card = Card().bring_up(EVENT_IDX)
    card.post(*[BUFFER] * 8)
    card.queue.want_interrupt_after(3)
    levels = []
    for number in range(6):
        card.arrive(frame(number))
        levels.append(card.line)
        card.write(Reg.INTERRUPT_ACK, 1)
    assert levels == [0, 0, 1, 0, 0, 0]
    assert card.ledger.suppressed == 5


def test_event_idx_inside_a_frame_of_several_buffers_interrupts_once():
    card = Card(trace=True).bring_up(MRG_RXBUF | EVENT_IDX)
    card.post(*[30] * 8)
    card.queue.want_interrupt_after(4)
    levels = []
    for number in range(2):  # three buffers each
        card.arrive(frame(number, 60))
        levels.append(card.line)
    assert levels == [0, 1]
    assert card.ledger.suppressed == 1


def test_event_idx_over_the_wrap_of_16_bits():
    card = Card().bring_up(EVENT_IDX, size=256)
    last = 0
    for turn in range(65536 // 256 + 2):
        card.queue.write_used_event(0xFFFF if turn < 256 else 3)
        for _ in range(256):
            card.queue.add_buffer([], [(FRAMES, 80)])
        card.queue.publish()
        for _ in range(256):
            assert card.net.receive(memoryview(b"\0" * 14))
            last += 1
            expected = last in (65536, 65536 + 4)
            assert card.line == expected, last
            if expected:
                card.write(Reg.INTERRUPT_ACK, 1)
        card.queue.reap()


def test_a_driver_that_polls_finds_what_came_before_it_asked():
    """2.7.14: look once more after asking for interrupts."""
    card = Card().bring_up(EVENT_IDX)
    card.post(*[BUFFER] * 4)
    card.queue.want_interrupts(False)
    card.arrive(frame(1))
    assert card.queue.more_used
    assert card.received() == [frame(1)]
    card.arrive(frame(2))
    card.queue.want_interrupts(True)
    assert card.queue.more_used  # and no interrupt for it
    assert card.line == 0


# Kicks, and none ------------------------------------------------------------------------------


@both_ways
def test_while_buffers_are_left_the_driver_need_not_kick(features):
    card = Card().bring_up(features)
    assert card.post(*[BUFFER] * 4)
    card.arrive(frame(0))
    assert not card.post(BUFFER)
    card.arrive(frame(1), frame(2))
    assert not card.post(BUFFER, BUFFER)
    assert len(card.received()) == 3


@both_ways
def test_once_the_last_buffer_is_used_the_next_is_worth_a_kick(features):
    card = Card().bring_up(features)
    card.post(BUFFER, BUFFER)
    card.arrive(frame(0), frame(1), frame(2))
    assert len(card.received()) == 2
    assert card.post(BUFFER)
    assert card.received() == [frame(2)]


def test_avail_event_is_the_first_buffer_that_is_missing():
    card = Card().bring_up(EVENT_IDX)
    events = []
    for count in (3, 1, 8):
        card.post(*[BUFFER] * count)
        card.arrive(*[frame()] * (count - 1))
        events.append(card.queue.avail_event)
        card.arrive(frame(), frame())  # one too many
        events.append(card.queue.avail_event)
        card.reap()
        card.post(BUFFER)
        card.reap()
    assert events == [0, 3, 4, 5, 6, 14]
    assert card.memory.read_u16(card.queue.used) == 0  # flags (2.7.10.2)


def test_without_event_idx_the_flag_says_so():
    card = Card().bring_up()
    flags = [card.memory.read_u16(card.queue.used)]
    card.post(BUFFER, BUFFER)
    for _ in range(3):
        card.arrive(frame())
        flags.append(card.memory.read_u16(card.queue.used))
    assert flags == [0, 1, 0, 0]


@both_ways
@single_or_merged
def test_a_buffer_added_just_before_the_kick_is_asked_for_is_found(features, merging, monkeypatch):
    """The driver, on another CPU, saw that it need not kick, and so it did not."""
    card = Card().bring_up(features | merging)
    card.post(BUFFER)
    assert card.net.receive(memoryview(frame(0)))
    asked = SplitQueue.set_notification

    def too_late(ring, enabled):
        if enabled:
            monkeypatch.undo()
            assert not card.post(BUFFER, kick=False)
        return asked(ring, enabled)

    monkeypatch.setattr(SplitQueue, "set_notification", too_late)
    card.arrive(frame(1))
    assert card.received() == [frame(0), frame(1)]


@both_ways
def test_a_buffer_found_at_the_second_look_leaves_kicks_off(features, monkeypatch):
    card = Card().bring_up(features | MRG_RXBUF)
    card.post(40)
    asked = SplitQueue.set_notification

    def meanwhile(ring, enabled):
        if enabled:
            monkeypatch.undo()
            card.post(40, 40, kick=False)
        return asked(ring, enabled)

    monkeypatch.setattr(SplitQueue, "set_notification", meanwhile)
    assert card.net.receive(memoryview(frame(1)))
    assert not card.post(40)
    assert card.received() == [frame(1)]


# Back-pressure ---------------------------------------------------------------------------------


@pytest.mark.parametrize("features", (OPTIONS | MERGEABLE).values(), ids=OPTIONS | MERGEABLE)
def test_frames_wait_in_the_tap_while_there_are_no_buffers(features):
    card = Card().bring_up(features)
    card.post(BUFFER, BUFFER)
    with card.delta() as delta:
        card.arrive(*(frame(number) for number in range(10)))
    assert (card.network.queued, delta.read, delta.host_to_qemu) == (8, 2, 2)
    assert not card.client.polling
    came = card.received()
    for _ in range(4):
        assert card.post(BUFFER, BUFFER)
        came += card.received()
    assert came == [frame(number) for number in range(10)]
    assert (card.network.queued, card.net.receive_dropped, card.rules) == (0, 0, [])


def test_what_is_too_much_is_dropped_by_the_tap():
    card = Card().bring_up()
    card.arrive(*[frame(1)] * TX_QUEUE_LEN, frame(2), frame(3))
    assert (card.network.queued, card.network.tx_dropped) == (TX_QUEUE_LEN, 2)
    for _ in range(TX_QUEUE_LEN):
        card.post(BUFFER)
        assert card.received() == [frame(1)]
    assert (card.net.packets_received, card.net.receive_dropped) == (TX_QUEUE_LEN, 0)


@single_or_merged
def test_frames_wait_for_a_driver(merging):
    card = Card()
    card.arrive(frame(1))
    card.negotiate(1 << 32 | merging)
    card.queue = card.lay_out(RECEIVE, 8)
    card.add_receive(BUFFER)
    card.queue.publish()
    card.kick(RECEIVE)  # too early
    card.arrive(frame(2))
    assert not card.net.can_receive()
    assert not card.net.receive(memoryview(frame(2)))
    assert (card.ledger.ring_reads, card.ledger.ring_writes) == (0, 0)
    assert card.rules == ["virtio.notify.early"]
    card.write(Reg.STATUS, LIVE)  # the buffer was there before: no kick is needed
    card.turn()
    assert card.received() == [frame(1)]
    card.post(BUFFER)
    assert card.received() == [frame(2)]


def test_a_queue_that_is_stopped_gets_nothing():
    card = Card().bring_up()
    card.post(BUFFER, BUFFER)
    card.arrive(frame(1))
    card.write(Reg.QUEUE_SEL, RECEIVE)
    card.write(Reg.QUEUE_READY, 0)
    before = bytes(card.memory.view(0, RAM))
    with card.delta() as delta:
        card.arrive(frame(2), frame(3))
        card.turn()
    assert (delta.ring_reads, delta.ring_writes, delta.qemu_to_guest) == (0, 0, 0)
    assert bytes(card.memory.view(0, RAM)) == before
    card.queue = card.lay_out(RECEIVE, 8)
    card.parts.clear()
    card.post(BUFFER, BUFFER)
    assert card.received() == [frame(2), frame(3)]
    assert card.net.receive_dropped == 0


def test_a_reset_while_frames_wait():
    card = Card().bring_up(MRG_RXBUF)
    card.post(30)  # too few for the first, which QEMU holds in its own buffer
    card.arrive(frame(1), frame(2), frame(3))
    card.write(Reg.STATUS, 0)
    assert (card.line, card.status) == (0, 0)
    before = bytes(card.memory.view(0, RAM))
    card.arrive(frame(4))
    card.kick(RECEIVE)
    assert bytes(card.memory.view(0, RAM)) == before
    card.bring_up()
    card.post(*[BUFFER] * 8)
    assert card.received() == [frame(number) for number in (1, 2, 3, 4)]


def test_a_device_that_needs_a_reset_takes_no_frame():
    card = Card().bring_up()
    card.queue.write_avail_idx(0x4000)
    card.arrive(frame(1), frame(2))
    assert (card.rules, card.status) == (["virtio.split.avail-jump"], LIVE | NEEDS_RESET)
    assert (card.interrupts, card.network.queued) == (2, 2)
    with card.delta() as delta:
        card.arrive(frame(3))
        card.kick(RECEIVE)
        card.turn()
    assert (delta.ring_reads, delta.ring_writes, delta.errors) == (0, 0, 0)
    card.bring_up()
    card.post(*[BUFFER] * 4)
    assert card.received() == [frame(1), frame(2), frame(3)]


def test_the_frame_that_found_the_ring_broken_is_lost():
    """As in QEMU: virtio_net_receive returns an error, not 0."""
    card = Card().bring_up()
    card.queue.write_descriptor(0, 2**64 - 8, 1526, 2)
    card.queue.make_available(0)
    card.arrive(frame(1), frame(2))
    assert card.rules == ["virtio.split.buffer-range"]
    assert (card.net.receive_dropped, card.network.queued) == (1, 1)


def test_failed_ends_it():
    card = Card().bring_up()
    card.post(BUFFER)
    card.write(Reg.STATUS, LIVE | 0x80)
    card.arrive(frame(1))
    assert (card.received(), card.network.queued) == ([], 1)


# The cable ---------------------------------------------------------------------------------------


def test_with_the_cable_out_frames_are_lost():
    card = Card().bring_up()
    card.post(*[BUFFER] * 4)
    card.net.set_link(False)
    with card.delta() as delta:
        card.arrive(frame(1), frame(2))
    assert (delta.received, delta.lost, delta.qemu_to_guest) == (0, 2, 0)
    card.net.set_link(True)
    card.arrive(frame(3))
    assert card.received() == [frame(3)]
    assert card.rules == []


@pytest.mark.parametrize("features", [0, MRG_RXBUF])
def test_what_waits_when_the_cable_is_pulled_is_lost_too(features):
    card = Card().bring_up(features)
    card.post(30)
    card.arrive(frame(1, 1000), frame(2, 1000), frame(3, 1000))
    card.net.set_link(False)
    card.turn()
    assert (card.network.queued, card.net.receive_dropped) == (0, 3)
    card.net.set_link(True)
    card.arrive(frame(4, 18))
    assert card.received() == [frame(4, 18)]


# Buffers that won't do ---------------------------------------------------------------------------


@pytest.mark.parametrize("lengths", [(1,), (11,), (12,), (12, 59), (71,)])
def test_a_buffer_too_small_for_the_frame_waits_for_another(lengths):
    """Case 63: a receive buffer of one byte."""
    card = Card().bring_up()
    card.post(lengths, BUFFER)
    with card.delta() as delta:
        card.arrive(frame(1))
    assert card.rules == ["virtio.net.rx-small"]
    assert (delta.lost, delta.qemu_to_guest, card.interrupts) == (1, 0, 0)
    assert card.reap() == []  # and nothing is written into it
    assert card.status == LIVE
    if sum(lengths) >= 26:
        card.arrive(frame(1, 14))
        assert card.received() == [frame(1, 14)]


def test_a_buffer_of_1525_bytes_is_fine_until_a_frame_of_1514_comes():
    card = Card().bring_up()
    card.post(BUFFER - 1)
    card.arrive(frame(1, 1514))
    assert card.rules == ["virtio.net.rx-small"]
    card.arrive(frame(1, 1513))
    assert card.received() == [frame(1, 1513)]


@pytest.mark.parametrize("buffers", [(11,), (1, BUFFER), (20, 11), (20, (5, 6), BUFFER)])
def test_a_mergeable_buffer_that_does_not_hold_a_header(buffers):
    card = Card().bring_up(MRG_RXBUF)
    card.post(*buffers)
    with card.delta() as delta:
        card.arrive(frame(1))
    assert card.rules == ["virtio.net.rx-header"]
    assert (delta.lost, delta.qemu_to_guest, card.reap()) == (1, 0, [])
    assert card.status == LIVE
    card.arrive(frame(2))  # the buffers are still there, and still won't do
    assert card.rules == ["virtio.net.rx-header"]


@single_or_merged
def test_a_buffer_that_cannot_be_written_breaks_the_queue(merging):
    """QEMU: virtio_error("virtio-net receive queue contains no in buffers")."""
    card = Card().bring_up(merging)
    card.queue.add_buffer([(FRAMES, BUFFER)])
    card.queue.publish()
    before = bytes(card.memory.view(FRAMES, BUFFER))
    card.arrive(frame(1))
    assert card.rules == ["virtio.net.rx-not-writable"]
    assert card.status == LIVE | NEEDS_RESET
    assert bytes(card.memory.view(FRAMES, BUFFER)) == before
    assert (card.net.receive_dropped, card.interrupts) == (1, 2)


@single_or_merged
def test_readable_descriptors_of_a_receive_buffer_are_told_and_left_alone(merging):
    card = Card().bring_up(merging)
    readable = card.put(FRAMES, b"driver's")
    head = card.queue.add_buffer([readable], [(FRAMES + 0x100, BUFFER)])
    card.queue.publish()
    card.arrive(frame(1))
    assert card.rules == ["virtio.net.rx-readable"]
    assert card.queue.reap() == [(head, 72)]
    assert bytes(card.memory.view(*readable)) == b"driver's"
    assert bytes(card.memory.view(FRAMES + 0x100 + 12, 60)) == frame(1)


@pytest.mark.parametrize("merging", [0, MRG_RXBUF], ids=["single", "merged"])
@pytest.mark.parametrize("name", FATAL)
def test_a_broken_receive_ring_ends_in_needs_reset(name, merging):
    rule_name, features, break_it = FATAL[name]
    card = Card().bring_up(features | merging)
    break_it(card)
    before = bytes(card.memory.view(FRAMES, 0x1000))
    with card.delta() as delta, little_memory():
        card.arrive(frame(1))
    assert card.rules == [f"virtio.split.{rule_name}"]
    assert card.status == LIVE | NEEDS_RESET
    assert (card.interrupts, card.line, card.net.packets_received) == (2, 1, 0)
    assert delta.ring_reads <= 2 + 2 * 8
    assert bytes(card.memory.view(FRAMES, 0x1000)) == before
    card.net.set_link(False)  # what still waits
    card.turn()
    card.net.set_link(True)
    card.bring_up(features | merging)
    card.post(BUFFER)
    card.arrive(frame(2))
    assert card.received() == [frame(2)]


# Buffers in bad places: the device writes where it is told to, and nowhere else ----------------

PLACES = {
    "13 over the used ring": lambda queue: queue.used,
    "14 over the descriptor table": lambda queue: queue.desc,
    "over the available ring": lambda queue: queue.avail,
    "over all of it": lambda queue: queue.desc - 8,
}


@pytest.mark.parametrize("features", (OPTIONS | MERGEABLE).values(), ids=OPTIONS | MERGEABLE)
@pytest.mark.parametrize("name", PLACES)
def test_a_receive_buffer_in_a_bad_place_hurts_the_driver_alone(name, features):
    card = Card().bring_up(features)
    where = PLACES[name](card.queue)
    card.queue.add_buffer([], [(where, BUFFER)])
    card.queue.publish()
    card.kick(RECEIVE)
    for number in range(4):
        card.arrive(frame(number, 1514))
        card.kick(RECEIVE)
    assert card.status in (LIVE, LIVE | NEEDS_RESET)
    card.net.set_link(False)
    card.turn()
    card.net.set_link(True)
    card.bring_up(features)
    card.post(BUFFER)
    card.arrive(frame(9))
    assert card.received() == [frame(9)]


def test_a_buffer_in_the_used_ring_keeps_the_devices_last_word():
    """The frame is copied first; the used entry and used.idx are the device's."""
    card = Card().bring_up()
    head = card.queue.add_buffer([], [(card.queue.used, 100)])
    card.queue.publish()
    card.arrive(frame(1))
    assert card.memory.read_u16(card.queue.used + 2) == 1
    assert card.memory.read_u32(card.queue.used + 4) == head
    assert card.memory.read_u32(card.queue.used + 8) == 72


def test_the_same_buffer_many_times_gets_many_frames():
    """Case 28."""
    card = Card().bring_up()
    card.queue.write_descriptor(5, FRAMES, BUFFER, 2)
    for _ in range(8):
        card.queue.make_available(5)
    card.arrive(*(frame(number) for number in range(8)))
    assert card.net.packets_received == 8
    assert bytes(card.memory.view(FRAMES + 12, 60)) == frame(7)
    assert card.rules == []


def test_two_queues_that_share_a_ring_do_no_harm():
    """Case 41."""
    card = Card().bring_up()
    queue = card.queue
    assert card.set_up_queue(1, 8, queue.desc, queue.avail, queue.used) == 1
    card.post(BUFFER)
    card.kick(1)
    card.arrive(frame(1), frame(2))
    assert card.status in (LIVE, LIVE | NEEDS_RESET)


def test_a_frame_costs_no_more_memory_than_it_has():
    card = Card().bring_up(MRG_RXBUF)
    for index in range(8):
        card.queue.write_descriptor(index, 0x10000, RAM - 0x10000, 2)
        card.queue.make_available(index)
    with little_memory(64 << 10):
        assert card.net.receive(memoryview(frame(1, 1514)))
    assert card.net.packets_received == 1


WORDS = st.one_of(st.integers(0, 8), st.sampled_from([0x1000, FRAMES, RAM - 4, 2**64 - 1]))
ENTRIES = st.lists(
    st.tuples(WORDS, st.sampled_from([0, 1, 12, 26, 74, 2**32 - 1]), st.integers(0, 7), WORDS),
    min_size=1,
    max_size=8,
)


@settings(max_examples=300, deadline=None)
@given(
    entries=ENTRIES,
    heads=st.lists(st.integers(0, 8), max_size=8),
    merging=st.sampled_from([0, MRG_RXBUF]),
    lengths=st.lists(st.integers(14, 200), max_size=8),
)
def test_random_descriptors_end_filled_waiting_or_in_needs_reset(entries, heads, merging, lengths):
    card = Card().bring_up(INDIRECT | merging)
    for index, (addr, length, flags, following) in enumerate(entries):
        card.queue.write_descriptor(index, addr, length, flags, following & 0xFFFF)
    for slot, head in enumerate(heads):
        card.queue.write_avail_entry(slot, head)
    card.queue.write_avail_idx(len(heads))
    card.arrive(*(frame(1, length) for length in lengths))
    net = card.net
    held = len(lengths) - net.packets_received - net.receive_dropped - card.network.queued
    assert held in (0, 1)  # one may be in QEMU's buffer
    assert held == 0 or merging
    assert card.status in (LIVE, LIVE | NEEDS_RESET)
    assert card.memory.read_u16(card.queue.used + 2) <= len(heads) or net.packets_received
    assert card.ledger.ring_reads < 9 * 9 * 20


# With a main loop -------------------------------------------------------------------------------


def test_frames_come_in_by_the_main_loop():
    card = LoopCard().bring_up()
    card.post(*[BUFFER] * 8)
    calls = card.ledger.syscalls
    before = calls.get("ppoll", 0), calls.get("read", 0), card.ledger.context_switches
    for number in range(3):
        card.network.deliver(frame(number))
    assert card.line == 0
    card.turn()
    assert card.received() == [frame(0), frame(1), frame(2)]
    after = calls["ppoll"], calls["read"], card.ledger.context_switches
    # One turn: the fourth read() says EAGAIN. To the main loop and back.
    assert tuple(b - a for a, b in zip(before, after, strict=True)) == (1, 4, 2)


def test_a_kick_wakes_the_main_loop_that_had_stopped_looking():
    card = LoopCard().bring_up()
    card.context.main_loop.start()
    card.arrive(frame(1), frame(2))
    assert not card.client.polling
    calls = card.ledger.syscalls
    polls = calls["ppoll"]
    card.arrive(frame(3))  # nobody looks
    assert calls["ppoll"] == polls
    card.post(*[BUFFER] * 3)
    assert card.received() == [frame(1), frame(2), frame(3)]


def test_what_transmit_leaves_over_is_done_by_the_main_loop():
    """test_a_driver_that_never_stops_adding_is_left_to_the_bottom_half, driven by itself."""
    card = LoopCard().bring_up()
    queue = card.add_transmit_queue()
    packet = card.put(FRAMES, bytes(12) + frame())
    sent = []

    class Handler:
        def interrupt(self, event):
            queue.reap()
            if len(sent) < 9:
                sent.append(queue.add_buffer([packet]))
                queue.publish()

    card.net.transport = Handler()
    Handler().interrupt(1)
    card.kick(1)
    assert (card.net.packets_sent, card.net.tx_waiting) == (2, True)
    card.turn()
    assert (card.net.packets_sent, card.net.tx_waiting) == (9, False)


def test_a_reset_before_the_bottom_half_leaves_it_nothing_to_do():
    card = LoopCard().bring_up()
    queue = card.add_transmit_queue()
    packet = card.put(FRAMES, bytes(12) + frame())

    class Handler:
        def interrupt(self, event):
            queue.reap()
            queue.add_buffer([packet])
            queue.publish()

    wire, card.net.transport = card.net.transport, Handler()
    Handler().interrupt(1)
    card.kick(1)
    card.net.transport = wire
    card.write(Reg.STATUS, 0)
    card.turn()
    assert (card.net.packets_sent, card.rules) == (2, [])


# Against a simple model --------------------------------------------------------------------------


class ReceiveModel(RuleBasedStateMachine):
    """An honest driver, frames of any length, buffers of any shape; two lists are the model.

    The driver kicks exactly when it is asked to. So a frame that stays outside although
    there is room for it, or a driver that is not told what it asked to hear of, shows here.
    """

    @initialize(
        features=st.sampled_from(list((OPTIONS | MERGEABLE).values())),
        size=st.sampled_from([1, 2, 4, 8]),
        loop=st.booleans(),
    )
    def start(self, features, size, loop):
        self.card = (LoopCard if loop else Card)().bring_up(features, size)
        self.merging = bool(features & MRG_RXBUF)
        self.event_idx = bool(features & EVENT_IDX)
        self.indirect = bool(features & INDIRECT)
        self.size = size
        self.outside: list[bytes] = []  # frames on their way in
        self.buffers: list[tuple[int, ...]] = []  # posted, not used
        self.inside: list[bytes] = []  # in used buffers, not reaped
        self.used = self.lost = 0
        self.event = 0  # used_event
        self.wanted = True
        self.line = self.suppressed = 0

    # What should happen -----------------------------------------------------------------

    def settle(self):
        while self.outside and self.buffers:
            data = self.outside[0]
            count, room = 0, 0
            limit = len(self.buffers) if self.merging else 1
            while count < limit and room < 12 + len(data):
                room += sum(self.buffers[count])
                count += 1
            if room >= 12 + len(data):
                self.inside.append(data)
                del self.buffers[:count]
                self.tell(count)
            elif not self.merging or self.is_full:
                self.lost += 1
            else:
                return
            del self.outside[0]

    @property
    def is_full(self):
        entries = 0 if self.indirect else sum(map(len, self.buffers))
        return max(len(self.buffers), entries) == self.size

    def tell(self, count):
        passed = {(self.used + step) & 0xFFFF for step in range(count)}
        self.used += count
        if self.event in passed if self.event_idx else self.wanted:
            self.line = 1
        else:
            self.suppressed += 1

    def compare(self):
        self.settle()
        net = self.card.net
        assert net.receive_dropped == self.lost
        assert self.card.memory.read_u16(self.card.queue.used + 2) == self.used & 0xFFFF
        assert self.card.line == self.line
        assert self.card.ledger.suppressed == self.suppressed
        assert self.card.status == LIVE

    # What happens -----------------------------------------------------------------------

    @rule(shapes=st.lists(st.lists(st.integers(12, 70), min_size=1, max_size=3), max_size=4))
    def post(self, shapes):
        for parts in shapes:
            shape = parts[: self.size]  # a chain is at most as long as its queue (2.7.5.3.1)
            try:
                self.card.add_receive(*shape)
            except QueueFullError:
                break
            self.buffers.append(tuple(shape))
        if self.card.queue.publish():
            self.card.kick(RECEIVE)
        self.card.turn()
        self.compare()

    @rule(lengths=st.lists(st.integers(14, 150), min_size=1, max_size=5))
    def arrive(self, lengths):
        frames = [frame(number, length) for number, length in enumerate(lengths)]
        self.outside += frames
        self.card.arrive(*frames)
        self.compare()

    @rule()
    def reap(self):
        assert self.card.received() == self.inside
        self.inside = []

    @rule()
    def acknowledge(self):
        self.card.write(Reg.INTERRUPT_ACK, 1)
        self.line = 0

    @rule(wanted=st.booleans())
    def want(self, wanted):
        self.card.queue.want_interrupts(wanted)
        self.wanted = wanted
        self.event = (self.card.queue.last_used - (not wanted)) & 0xFFFF

    @rule(ahead=st.integers(1, 9))
    def want_after(self, ahead):
        if not self.event_idx:
            return
        self.card.queue.want_interrupt_after(ahead)
        self.event = (self.card.queue.last_used + ahead - 1) & 0xFFFF

    @rule()
    def kick_for_nothing(self):
        self.card.kick(RECEIVE)
        self.card.turn()
        self.compare()


ReceiveModel.TestCase.settings = settings(max_examples=120, stateful_step_count=25, deadline=None)
TestReceiveModel = ReceiveModel.TestCase


# The constructor ----------------------------------------------------------------------------------


def test_merging_is_offered_and_a_device_may_offer_less():
    assert FEATURES & MRG_RXBUF
    assert Machine(offered=FEATURES & ~MRG_RXBUF).read(Reg.DEVICE_FEATURES) & MRG_RXBUF == 0


def test_without_a_client_a_card_still_takes_frames():
    machine = Machine()
    assert machine.net.client is None
    assert not machine.net.can_receive()
    machine.net.set_link(False)
    assert machine.net.receive(memoryview(frame()))
    assert machine.net.receive_dropped == 1
