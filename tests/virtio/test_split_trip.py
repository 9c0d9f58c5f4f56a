"""One buffer's trip, step by step, with what it costs in ring accesses."""

from __future__ import annotations

import pytest
from ring_kit import ALL_OPTIONS, DATA, EVENT_IDX, HIGH_BASE, INDIRECT, PLAIN, Ring

from toyvisor.trace.events import VIRTQUEUE_FILL, VIRTQUEUE_FLUSH, VIRTQUEUE_POP
from toyvisor.virtio.constants import DescriptorFlag
from toyvisor.virtio.layout import QueueConfig, area_sizes
from toyvisor.virtio.ring_memory import store_header
from toyvisor.virtio.split_queue import SplitQueue

NEXT, WRITE, INDIRECT_FLAG = (
    DescriptorFlag.NEXT,
    DescriptorFlag.WRITE,
    DescriptorFlag.INDIRECT,
)


def test_area_sizes_are_those_of_the_specification():
    assert area_sizes(1) == (16, 8, 14)
    assert area_sizes(256) == (4096, 518, 2054)
    assert area_sizes(32768) == (524288, 65542, 262150)


def test_an_empty_ring_gives_nothing_and_costs_one_look():
    ring = Ring()
    assert ring.queue.pop() is None
    assert (ring.ledger.ring_reads, ring.ledger.ring_bytes) == (1, 2)


@pytest.mark.parametrize("features", ALL_OPTIONS.values(), ids=ALL_OPTIONS)
def test_a_chain_splits_into_readable_and_writable_windows_on_ram(features):
    ring = Ring(features=features)
    first, second = ring.put(DATA, b"hello "), ring.put(HIGH_BASE, b"world")
    ring.driver.add_buffer([first, second], [(DATA + 64, 3), (DATA + 128, 1)])
    ring.driver.publish()
    chain = ring.queue.pop()
    assert [bytes(part) for part in chain.readable] == [b"hello ", b"world"]
    assert [len(part) for part in chain.writable] == [3, 1]
    assert (chain.readable_length, chain.writable_length) == (11, 4)
    chain.writable[0][:] = b"abc"
    assert bytes(ring.memory.view(DATA + 64, 3)) == b"abc"


def test_a_readable_window_cannot_be_written():
    ring = Ring()
    ring.driver.add_buffer([(DATA, 4)])
    ring.driver.publish()
    chain = ring.queue.pop()
    with pytest.raises(TypeError):
        chain.readable[0][:] = b"xxxx"


def test_the_used_entry_is_there_before_the_index_moves():
    ring = Ring()
    head = ring.driver.add_buffer([], [(DATA, 16)])
    ring.driver.publish()
    ring.queue.push(ring.queue.pop(), 5)
    assert ring.used_element(0) == (head, 5)
    assert ring.used_idx == 0
    ring.queue.flush()
    assert ring.used_idx == 1
    assert ring.driver.reap() == [(head, 5)]


@pytest.mark.parametrize(
    ("features", "reads", "read_bytes"),
    [(PLAIN, 4, 2 + 2 + 16 + 2), (EVENT_IDX, 4, 2 + 2 + 16 + 2)],
    ids=["plain", "event_idx"],
)
def test_one_buffer_costs_four_reads_and_two_writes(features, reads, read_bytes):
    ring = Ring(features=features)
    ring.queue.set_notification(False)
    ring.driver.add_buffer([(DATA, 64)])
    ring.driver.publish()
    before = ring.ledger.ring_writes, ring.ledger.ring_bytes
    ring.queue.push(ring.queue.pop(), 0)
    ring.queue.flush()
    ring.queue.should_notify()
    ledger = ring.ledger
    assert ledger.ring_reads == reads
    assert ledger.ring_writes - before[0] == 2
    assert ledger.ring_bytes - before[1] == read_bytes + 8 + 2
    assert (ledger.copies, ledger.bytes_copied) == (0, 0)


def test_a_batch_reads_avail_idx_once_and_writes_used_idx_once():
    ring = Ring(size=16)
    for _ in range(10):
        ring.driver.add_buffer([(DATA, 64)])
    ring.driver.publish()
    for _ in range(10):
        ring.queue.push(ring.queue.pop(), 0)
    ring.queue.flush()
    assert ring.ledger.ring_reads == 1 + 2 * 10
    assert ring.ledger.ring_writes == 10 + 1


def test_flush_with_nothing_filled_touches_nothing():
    ring = Ring()
    ring.queue.flush()
    assert ring.ledger.ring_writes == 0


def test_an_indirect_table_costs_one_more_descriptor_read():
    ring = Ring(features=INDIRECT)
    ring.driver.add_buffer([(DATA, 12), (DATA + 64, 64)])
    ring.driver.publish()
    ring.queue.pop()
    assert ring.ledger.ring_reads == 1 + 1 + 1 + 2


def test_plain_descriptors_before_an_indirect_one_are_one_chain():
    ring = Ring(features=INDIRECT)
    a, b = ring.put(DATA, b"ab"), ring.put(DATA + 2, b"cd")
    ring.driver.write_descriptor(3, *a, NEXT, 5)
    ring.driver.write_descriptor(5, ring.driver.tables, 32, INDIRECT_FLAG)
    ring.driver.write_table(ring.driver.tables, [(*b, NEXT, 1), (DATA + 8, 4, WRITE, 0)])
    ring.driver.make_available(3)
    chain = ring.queue.pop()
    assert [bytes(part) for part in chain.readable] == [b"ab", b"cd"]
    assert chain.writable_length == 4


def test_the_write_flag_of_an_indirect_descriptor_means_nothing():
    ring = Ring(features=INDIRECT)
    ring.driver.write_descriptor(0, ring.driver.tables, 16, INDIRECT_FLAG | WRITE)
    ring.driver.write_table(ring.driver.tables, [(DATA, 4, 0, 0)])
    ring.driver.make_available(0)
    chain = ring.queue.pop()
    assert (chain.readable_length, chain.writable_length) == (4, 0)


def test_an_indirect_table_may_lie_at_an_odd_address():
    ring = Ring(features=INDIRECT)
    table = ring.driver.tables + 1
    ring.driver.write_descriptor(0, table, 16, INDIRECT_FLAG)
    ring.driver.write_table(table, [(DATA, 4, 0, 0)])
    ring.driver.make_available(0)
    assert ring.queue.pop().readable_length == 4


def test_a_buffer_may_lie_at_address_zero():
    ring = Ring()
    ring.driver.add_buffer([(0, 16)])
    ring.driver.publish()
    assert ring.queue.pop().readable_length == 16


def test_a_chain_as_long_as_the_queue_is_fine():
    ring = Ring(size=8)
    ring.driver.add_buffer([(DATA + i, 1) for i in range(8)])
    ring.driver.publish()
    assert ring.queue.pop().readable_length == 8


def test_a_queue_of_one_entry_works():
    ring = Ring(size=1)
    for _ in range(5):
        ring.driver.add_buffer([(DATA, 4)])
        ring.driver.publish()
        ring.queue.push(ring.queue.pop(), 0)
        ring.queue.flush()
        assert len(ring.driver.reap()) == 1


def test_descriptors_rewritten_after_pop_change_nothing():
    """Case 31: each word was read once, and what was read is what counts."""
    ring = Ring()
    head = ring.driver.add_buffer([ring.put(DATA, b"honest")])
    ring.driver.publish()
    chain = ring.queue.pop()
    ring.driver.write_descriptor(head, 0xFFFF_FFFF_FFFF_0000, 0xFFFFFFFF, WRITE)
    ring.driver.write_avail_entry(0, 0xFFFF)
    assert bytes(chain.readable[0]) == b"honest"
    ring.queue.push(chain, 0)
    ring.queue.flush()
    assert ring.used_element(0) == (head, 0)


def test_the_device_does_not_read_back_its_own_index():
    ring = Ring()
    for _ in range(2):
        ring.driver.add_buffer([(DATA, 4)])
        ring.driver.publish()
        ring.memory.write_u16(ring.driver.used + 2, 0x1234)  # a driver scribbling over it
        ring.queue.push(ring.queue.pop(), 0)
        ring.queue.flush()
    assert ring.used_idx == 2


def test_the_same_head_twice_is_used_twice():
    """Case 28: odd, but no rule forbids it while the device is quick enough."""
    ring = Ring(size=8)
    ring.driver.write_descriptor(4, DATA, 4)
    for _ in range(8):
        ring.driver.make_available(4)
    for slot in range(8):
        ring.queue.push(ring.queue.pop(), 0)
        assert ring.used_element(slot) == (4, 0)
    assert ring.queue.pop() is None


def test_a_stopped_queue_is_dead():
    ring = Ring()
    for _ in range(2):
        ring.driver.add_buffer([(DATA, 4)])
    ring.driver.publish()
    chain = ring.queue.pop()
    ring.queue.stop()
    before = bytes(ring.memory.view(ring.driver.desc, 4096)), ring.ledger.ring_reads
    ring.queue.push(chain, 0)
    ring.queue.flush()
    assert ring.queue.pop() is None
    assert not ring.queue.should_notify()
    assert not ring.queue.set_notification(True)
    assert (bytes(ring.memory.view(ring.driver.desc, 4096)), ring.ledger.ring_reads) == before


@pytest.mark.parametrize("base", [0, 0xFFFE])
@pytest.mark.parametrize("features", ALL_OPTIONS.values(), ids=ALL_OPTIONS)
def test_chains_that_are_put_back_come_again(features, base):
    ring = Ring(features=features, base=base)
    heads = [ring.driver.add_buffer([(DATA + number, 1)]) for number in range(4)]
    ring.driver.publish()
    before = ring.used_idx
    assert [ring.queue.pop().head for _ in range(3)] == heads[:3]
    ring.queue.unpop(2)
    assert ring.queue.has_available()
    chains = [ring.queue.pop() for _ in range(3)]
    assert [chain.head for chain in chains] == heads[1:]
    assert ring.queue.pop() is None
    ring.queue.unpop()
    assert ring.queue.pop().head == heads[3]
    assert ring.used_idx == before


def test_putting_back_counts_as_not_held():
    ring = Ring(2)
    for _ in range(2):
        ring.driver.add_buffer([(DATA, 1)])
    ring.driver.publish()
    for _ in range(3):
        assert [ring.queue.pop().head, ring.queue.pop().head] == [0, 1]
        ring.queue.unpop(2)
    ring.queue.pop()
    ring.queue.unpop()
    ring.queue.stop()
    ring.queue.unpop()
    assert not ring.queue.has_available()


def test_a_chain_put_back_is_looked_at_anew():
    ring = Ring()
    head = ring.driver.add_buffer([], [(DATA, 4)])
    ring.driver.publish()
    assert ring.queue.pop().writable_length == 4
    ring.queue.unpop()
    ring.driver.write_descriptor(head, DATA, 5, WRITE)
    assert ring.queue.pop().writable_length == 5


@pytest.mark.parametrize(
    ("cuts", "writes"), [((12,), 1), ((100,), 1), ((1, 100), 2), ((4, 4, 4, 9), 3)]
)
def test_a_header_is_written_over_the_parts_of_a_buffer_and_no_further(cuts, writes):
    ring = Ring()
    parts, at = [], DATA
    for length in cuts:
        parts.append(ring.memory.view(at, length))
        at += length + 8
    store_header(ring.ledger, parts, bytes(range(1, 13)))
    assert b"".join(map(bytes, parts)) == bytes(range(1, 13)).ljust(sum(cuts), b"\0")
    assert (ring.ledger.ring_writes, ring.ledger.ring_bytes, ring.ledger.copies) == (writes, 12, 0)


def test_pushing_a_chain_that_was_not_popped_is_the_devices_bug():
    ring = Ring()
    ring.driver.add_buffer([(DATA, 4)])
    ring.driver.publish()
    chain = ring.queue.pop()
    ring.queue.push(chain, 0)
    with pytest.raises(ValueError, match="not popped"):
        ring.queue.push(chain, 0)


def test_events_say_what_qemus_tracers_say():
    ring = Ring()
    ring.ledger.trace.enabled = True
    head = ring.driver.add_buffer([(DATA, 4)], [(DATA + 8, 4), (DATA + 16, 4)])
    ring.driver.publish()
    ring.queue.push(ring.queue.pop(), 7)
    ring.queue.flush()
    assert [(event.kind, event.fields) for event in ring.ledger.trace] == [
        (VIRTQUEUE_POP, {"queue": "q", "head": head, "in_num": 2, "out_num": 1}),
        (VIRTQUEUE_FILL, {"queue": "q", "head": head, "len": 7, "idx": 0}),
        (VIRTQUEUE_FLUSH, {"queue": "q", "count": 1}),
    ]


def test_the_parts_may_lie_over_each_other():
    """Case 36: no rule forbids it; it must only do no harm."""
    ring = Ring()
    everything = QueueConfig(8, 0x4000, 0x4000, 0x4000)
    queue = SplitQueue("q", everything, ring.memory, ring.ledger)
    ring.memory.write_u16(0x4002, 1)
    assert queue.has_available()
