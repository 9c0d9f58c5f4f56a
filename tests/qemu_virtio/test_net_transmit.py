"""Packets out of the guest, and what each of them costs (VIRTIO 1.2, 5.1.6.2)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from virtio_kit import (
    EVENT_IDX,
    FRAMES,
    HEADER,
    INDIRECT,
    VERSION_1,
    Machine,
    frame,
)

from toyvisor.errors import UsageError
from toyvisor.qemu.virtio.net import TX_BURST, VirtioNet
from toyvisor.qemu.virtio.net_format import MAX_FRAME
from toyvisor.trace.events import COPY, SYSCALL
from toyvisor.virtio.net import HEADER as NET_HEADER

OPTIONS = {
    "plain": 0,
    "indirect": INDIRECT,
    "event_idx": EVENT_IDX,
    "indirect+event_idx": INDIRECT | EVENT_IDX,
}
every_option = pytest.mark.parametrize("features", OPTIONS.values(), ids=OPTIONS)


def add_parts(machine, data, cuts, *, indirect=None):
    """Place a packet cut at `cuts` into descriptors that do not touch each other."""
    spans, at = [], FRAMES
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        if end > start:
            spans.append(machine.put(at, data[start:end]))
            at += end - start + 32
    return machine.queue.add_buffer(spans, indirect=indirect)


def test_the_header_has_12_bytes():
    assert NET_HEADER.size == 12


@every_option
@pytest.mark.parametrize("length", [14, 60, 1514, 9000, 65535, MAX_FRAME])
def test_a_frame_arrives_as_it_was_sent(features, length):
    machine = Machine().bring_up(features)
    machine.send(frame(7, length))
    assert machine.tap.frames == [frame(7, length)]
    assert machine.queue.reap() == [(0, 0)]
    assert (machine.net.packets_sent, machine.net.bytes_sent) == (1, length)
    assert machine.rules == []


# What it costs ------------------------------------------------------------------------------


def test_a_packet_is_copied_once_from_guest_ram_to_the_kernel():
    machine = Machine().bring_up()
    machine.put(HEADER, bytes(12))
    machine.put(FRAMES, frame(0, 1514))
    machine.queue.add_buffer([(HEADER, 12), (FRAMES, 1514)])
    machine.queue.publish()
    with machine.delta() as delta:
        machine.kick()
    assert (delta.copies, delta.bytes, delta.writev) == (1, 1514, 1)
    assert getattr(delta, "qemu->host") == 1
    for hop in ("guest->kvm", "kvm->qemu", "host->qemu", "qemu->kvm", "kvm->guest"):
        assert getattr(delta, hop) == 0


def test_header_and_frame_in_one_descriptor_cost_the_same_copy():
    machine = Machine().bring_up()
    machine.add(frame(0, 200))
    machine.queue.publish()
    with machine.delta() as delta:
        machine.kick()
    assert (delta.copies, delta.bytes) == (1, 200)


def test_each_descriptor_of_data_is_one_copy():
    machine = Machine().bring_up()
    add_parts(machine, bytes(12) + frame(0, 60), [12, 30, 50])
    machine.queue.publish()
    with machine.delta() as delta:
        machine.kick()
    assert (delta.copies, delta.bytes, delta.writev) == (3, 60, 1)


def test_the_kernel_gathers_straight_from_guest_ram():
    """What the frame says when writev() is called counts: nothing was put aside before."""
    machine = Machine().bring_up()
    machine.add(frame(1), at=FRAMES)
    machine.add(frame(2), at=FRAMES + 0x1000)
    machine.queue.publish()
    machine.tap.instead = lambda sent: machine.put(FRAMES + 0x1000 + 12, frame(9))
    machine.kick()
    assert machine.tap.frames == [frame(1), frame(9)]


@pytest.mark.parametrize(
    ("features", "reads", "writes"), [(0, 7, 4), (EVENT_IDX, 7, 3)], ids=["plain", "event_idx"]
)
def test_ring_accesses_of_one_packet(features, reads, writes):
    """Reads: avail.idx, entry, descriptor, header, avail.idx (empty), the driver's wish to be
    notified, avail.idx again. Writes: used entry, used.idx, and asking for no kick and for
    a kick; with EVENT_IDX asking for none costs nothing."""
    machine = Machine().bring_up(features)
    machine.add(frame())
    machine.queue.publish()
    with machine.delta() as delta:
        machine.kick()
    assert (delta.ring_reads, delta.ring_writes) == (reads, writes)
    assert delta.copies == 1


def test_a_batch_is_one_kick_one_used_idx_and_one_interrupt():
    machine = Machine(trace=True).bring_up(size=64)
    for number in range(50):
        machine.add(frame(number), at=FRAMES + 128 * number)
    machine.queue.publish()
    with machine.delta() as delta:
        machine.kick()
    assert machine.tap.frames == [frame(number) for number in range(50)]
    assert (delta.sent, delta.writev, delta.copies, delta.bytes) == (50, 50, 50, 3000)
    assert delta.ring_reads == 50 * 3 + 2 + 1 + 1
    assert delta.ring_writes == 50 + 1 + 2
    assert len(machine.queue.reap()) == 50
    kinds = [event.kind for event in machine.ledger.trace]
    assert kinds.count(SYSCALL) == kinds.count(COPY) == 50
    names = [kind.name for kind in kinds]
    assert names.count("virtqueue_flush") == names.count("virtio_notify") == 1


@every_option
def test_a_full_ring_of_more_than_a_burst_goes_out_with_one_kick(features):
    size = 1024
    machine = Machine(queue_size=size).bring_up(features, size)
    packet = machine.put(FRAMES, bytes(12) + frame())
    for _ in range(size):
        machine.queue.add_buffer([packet])
    machine.queue.publish()
    machine.kick()
    assert machine.net.packets_sent == size > TX_BURST
    assert len(machine.queue.reap()) == size
    assert not machine.net.tx_waiting
    assert machine.queue.kick_needed() is False
    machine.add(frame(1))
    assert machine.queue.publish()  # the device wants to be kicked again


# Interrupts, and none ------------------------------------------------------------------------


@pytest.mark.parametrize("features", [0, EVENT_IDX], ids=["flag", "event_idx"])
def test_a_driver_that_wants_no_interrupts_gets_none(features):
    machine = Machine().bring_up(features)
    machine.queue.want_interrupts(False)
    with machine.delta() as delta:
        machine.send(frame())
    assert (machine.interrupts, machine.line, delta.suppressed) == (0, 0, 1)
    assert len(machine.queue.reap()) == 1


def test_a_driver_that_wants_interrupts_gets_one_a_batch():
    machine = Machine().bring_up()
    with machine.delta() as delta:
        machine.send(frame())
    assert (machine.interrupts, machine.line, delta.suppressed) == (1, 1, 0)


def test_event_idx_interrupts_at_the_entry_asked_for():
    machine = Machine().bring_up(EVENT_IDX)
    machine.queue.write_used_event(2)
    levels = []
    for number in range(4):
        machine.send(frame(number))
        levels.append(machine.line)
        machine.queue.reap()
    assert levels == [0, 0, 1, 1]
    assert machine.ledger.suppressed == 3


@every_option
def test_an_idle_device_wants_kicks_and_a_busy_one_does_not(features):
    machine = Machine().bring_up(features)
    wanted = []

    def look(sent):
        machine.tap.instead = None
        machine.add(frame(2), at=FRAMES + 0x1000)
        wanted.append(machine.queue.publish())

    machine.tap.instead = look
    machine.add(frame(1))
    wanted.append(machine.queue.publish())
    machine.kick()
    assert wanted == [True, False]
    # No kick was sent for the second packet, and yet it is not lost.
    assert machine.tap.frames == [frame(1), frame(2)]
    machine.queue.reap()
    machine.add(frame(3))
    assert machine.queue.publish()


@every_option
def test_a_driver_that_never_stops_adding_is_left_to_the_bottom_half(features):
    """On another CPU, the interrupt handler reaps and adds a packet at once, each time."""
    machine = Machine().bring_up(features)

    class Handler:
        def interrupt(self, event):
            machine.queue.reap()
            machine.queue.want_interrupts(True)
            machine.add(frame())
            machine.queue.publish()

    machine.net.transport, wire = Handler(), machine.net.transport
    machine.send(frame())
    assert machine.net.packets_sent == 2
    assert machine.net.tx_waiting
    machine.net.transport = wire
    machine.net.run_bottom_half()
    assert machine.net.packets_sent == 3
    assert not machine.net.tx_waiting
    machine.net.run_bottom_half()
    assert machine.net.packets_sent == 3


# However the driver cuts it (2.7.4.1) ----------------------------------------------------------


@pytest.mark.parametrize("features", [0, INDIRECT], ids=["plain", "indirect"])
@pytest.mark.parametrize("cut", range(27))
def test_a_packet_cut_in_two_anywhere(cut, features):
    machine = Machine().bring_up(features)
    add_parts(machine, bytes(12) + frame(), [cut])
    machine.queue.publish()
    machine.kick()
    assert machine.tap.frames == [frame()]
    assert machine.rules == []


def test_a_header_of_twelve_descriptors():
    machine = Machine().bring_up(size=16)
    add_parts(machine, bytes(12) + frame(), list(range(1, 13)))
    machine.queue.publish()
    with machine.delta() as delta:
        machine.kick()
    assert machine.tap.frames == [frame()]
    assert delta.copies == 1


@settings(max_examples=100, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 72), max_size=6),
    features=st.sampled_from(list(OPTIONS.values())),
    number=st.integers(0, 255),
)
def test_a_packet_cut_into_any_pieces(cuts, features, number):
    machine = Machine().bring_up(features)
    add_parts(machine, bytes(12) + frame(number), sorted(cuts))
    machine.queue.publish()
    with machine.delta() as delta:
        machine.kick()
    assert machine.tap.frames == [frame(number)]
    assert (delta.bytes, machine.rules) == (60, [])


@settings(max_examples=30, deadline=None)
@given(
    batches=st.lists(st.integers(1, 8), min_size=1, max_size=30),
    features=st.sampled_from(list(OPTIONS.values())),
)
def test_any_batches_of_packets_arrive_in_order(batches, features):
    machine = Machine().bring_up(features)
    number, sent = 0, []
    for count in batches:
        for slot in range(count):
            sent.append(frame(number))
            machine.add(sent[-1], at=FRAMES + 128 * slot)
            number += 1
        if machine.queue.publish():
            machine.kick()
        assert len(machine.queue.reap()) == count
    assert machine.tap.frames == sent


# Dropped --------------------------------------------------------------------------------------


def header(flags=0, gso_type=0, hdr_len=0, gso_size=0, start=0, offset=0, buffers=0):
    return NET_HEADER.pack(flags, gso_type, hdr_len, gso_size, start, offset, buffers)


BAD_PACKETS = {
    "63 header of 11 bytes": ("tx-header", lambda m: m.queue.add_buffer([(FRAMES, 11)])),
    "63 one byte": ("tx-header", lambda m: m.queue.add_buffer([(FRAMES, 1)])),
    "header and no frame": ("tx-short", lambda m: m.queue.add_buffer([(FRAMES, 12)])),
    "frame of 13 bytes": ("tx-short", lambda m: m.queue.add_buffer([(FRAMES, 25)])),
    "63 frame above 64 KiB": (
        "tx-long",
        lambda m: m.queue.add_buffer([(0x40000, 12 + MAX_FRAME + 1)]),
    ),
    "frame of 512 KiB": ("tx-long", lambda m: m.queue.add_buffer([(0x20000, 1 << 19)])),
    "writable descriptor": ("tx-writable", lambda m: m.queue.add_buffer([], [(FRAMES, 100)])),
    "writable descriptor after the frame": (
        "tx-writable",
        lambda m: m.queue.add_buffer([(FRAMES, 100)], [(FRAMES, 1)]),
    ),
    "TSOv4 not negotiated": ("tx-gso", lambda m: m.add(frame(), header(1, 1, 54, 1448))),
    "63 gso_size 0": ("tx-gso", lambda m: m.add(frame(), header(1, 4))),
    "ECN alone": ("tx-gso", lambda m: m.add(frame(), header(0, 0x80))),
    "unknown gso_type": ("tx-gso", lambda m: m.add(frame(), header(0, 0x7F))),
}


@pytest.mark.parametrize("name", BAD_PACKETS)
def test_a_bad_packet_is_dropped_and_its_buffer_comes_back(name):
    rule, add = BAD_PACKETS[name]
    machine = Machine().bring_up()
    good = machine.put(0x70000, bytes(12) + frame(1))
    machine.put(FRAMES, bytes(64))
    heads = [machine.queue.add_buffer([good]), add(machine), machine.queue.add_buffer([good])]
    machine.queue.publish()
    with machine.delta() as delta:
        machine.kick()
    assert machine.rules == [f"virtio.net.{rule}"]
    assert machine.tap.frames == [frame(1), frame(1)]
    assert (delta.sent, delta.dropped, delta.copies) == (2, 1, 2)
    assert machine.queue.reap() == [(head, 0) for head in heads]
    assert machine.status & 0x40 == 0


@pytest.mark.parametrize(
    ("head", "rule"),
    [
        (header(flags=1, start=65535, offset=65535), "tx-flags"),
        (header(flags=2), "tx-flags"),
        (header(flags=0xF8), "tx-flags"),
        (header(buffers=1), "tx-num-buffers"),
        (header(hdr_len=65535), None),
        (header(start=65535, offset=65535), None),
    ],
)
def test_header_fields_the_device_must_ignore(head, rule):
    """Told, if the driver had no business setting them; sent all the same (5.1.6.2.2)."""
    machine = Machine().bring_up()
    machine.send(frame(), head)
    assert machine.tap.frames == [frame()]
    assert machine.rules == ([f"virtio.net.{rule}"] if rule else [])


def test_a_frame_the_host_refuses_is_dropped_without_blame():
    machine = Machine().bring_up()

    def refuse(sent):
        raise OSError(22, "Invalid argument")

    machine.tap.instead = refuse
    with machine.delta() as delta:
        machine.send(frame())
    assert (delta.sent, delta.dropped, delta.errors) == (0, 1, 0)
    assert machine.queue.reap() == [(0, 0)]


def test_with_the_cable_out_packets_go_nowhere():
    machine = Machine().bring_up()
    machine.net.set_link(False)
    with machine.delta() as delta:
        machine.send(frame())
    assert (delta.sent, delta.dropped, delta.copies, machine.rules) == (0, 1, 0, [])
    assert machine.queue.reap() == [(0, 0)]


def test_packets_before_a_broken_chain_are_given_back():
    machine = Machine().bring_up()
    machine.add(frame(1))
    machine.queue.write_descriptor(7, 2**64 - 1, 2)
    machine.queue.write_avail_entry(1, 7)
    machine.queue.write_avail_idx(2)
    machine.kick()
    assert machine.tap.frames == [frame(1)]
    assert machine.queue.reap() == [(0, 0)]
    assert machine.rules == ["virtio.split.buffer-range"]
    assert machine.interrupts == 3


# The receive queue: buffers are taken in, none is used yet ---------------------------------------


def test_receive_buffers_wait_in_their_ring():
    machine = Machine().bring_up()
    receive = machine.lay_out(0, 8)
    for number in range(4):
        receive.add_buffer([], [(FRAMES + 2048 * number, 1526)])
    receive.publish()
    with machine.delta() as delta:
        machine.kick(0)
    assert (delta.ring_reads, delta.ring_writes, machine.rules) == (0, 0, [])
    assert receive.reap() == []
    machine.send(frame())
    assert machine.tap.frames == [frame()]


# The constructor ---------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 3, 2048, -8])
def test_queue_sizes_a_card_cannot_have(size):
    with pytest.raises(UsageError):
        Machine(queue_size=size)


def test_a_mac_address_has_six_bytes():
    machine = Machine()
    with pytest.raises(UsageError):
        VirtioNet(machine.context, machine.tap, mac=bytes(5))
    assert VirtioNet(machine.context, machine.tap, b"abcdef").config[:6] == b"abcdef"


def test_without_status_offered_the_field_is_0():
    machine = Machine(offered=VERSION_1)
    assert machine.mmio.read(0x106, 2) == 0
    machine.net.set_link(False)
    assert machine.mmio.read(0x0FC, 4) == 0
