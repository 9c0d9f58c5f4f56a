"""The Python driver keeps the rules it is there to test."""

from __future__ import annotations

import pytest
from ring_kit import DATA, EVENT_IDX, INDIRECT, Ring

from toyvisor.virtio.driver import QueueFullError
from toyvisor.virtio.ring_memory import DESCRIPTOR


def descriptor(ring, index, table=None):
    start = (ring.driver.desc if table is None else table) + 16 * index
    return DESCRIPTOR.unpack(ring.memory.view(start, 16))


def test_parts_are_aligned_and_apart():
    for size in (1, 2, 8, 256):
        driver = Ring(size).driver
        assert driver.desc % 16 == driver.avail % 2 == driver.used % 4 == 0
        assert driver.desc + 16 * size <= driver.avail
        assert driver.avail + 6 + 2 * size <= driver.used
        assert driver.used + 6 + 8 * size <= driver.tables


def test_a_chain_is_linked_through_next():
    ring = Ring()
    head = ring.driver.add_buffer([(DATA, 1), (DATA + 1, 2)], [(DATA + 3, 3)])
    addr, length, flags, following = descriptor(ring, head)
    assert (addr, length, flags) == (DATA, 1, 1)
    addr, length, flags, last = descriptor(ring, following)
    assert (addr, length, flags) == (DATA + 1, 2, 1)
    assert descriptor(ring, last) == (DATA + 3, 3, 2, 0)


def test_indirect_takes_one_descriptor_however_long_the_chain():
    ring = Ring(8, INDIRECT)
    head = ring.driver.add_buffer([(DATA + i, 1) for i in range(5)])
    assert ring.driver.free_descriptors == 7
    table, length, flags, _ = descriptor(ring, head)
    assert (length, flags) == (5 * 16, 4)
    assert descriptor(ring, 4, table) == (DATA + 4, 1, 0, 0)


def test_indirect_can_be_chosen_for_each_buffer():
    ring = Ring(8, INDIRECT)
    ring.driver.add_buffer([(DATA, 1), (DATA, 1)], indirect=False)
    assert ring.driver.free_descriptors == 6
    ring.driver.add_buffer([(DATA, 1)], indirect=True)
    ring.driver.publish()
    assert [ring.queue.pop().readable_length for _ in range(2)] == [2, 1]


def test_nothing_is_visible_before_publish():
    ring = Ring()
    ring.driver.add_buffer([(DATA, 1)])
    assert ring.queue.pop() is None
    ring.driver.publish()
    assert ring.queue.pop() is not None


def test_adding_too_many_is_refused_and_changes_nothing():
    ring = Ring(4)
    ring.driver.add_buffer([(DATA, 1)] * 3)
    with pytest.raises(QueueFullError):
        ring.driver.add_buffer([(DATA, 1)] * 2)
    assert ring.driver.free_descriptors == 1
    ring.driver.add_buffer([(DATA, 1)])
    ring.driver.publish()
    assert ring.queue.pop().readable_length == 3


def test_an_empty_buffer_is_refused():
    with pytest.raises(ValueError, match="at least one element"):
        Ring().driver.add_buffer()


def test_reaping_frees_all_descriptors_of_a_chain_in_any_order():
    ring = Ring(8)
    heads = [ring.driver.add_buffer([(DATA, 1)] * 2, []) for _ in range(4)]
    ring.driver.publish()
    chains = [ring.queue.pop() for _ in range(4)]
    for chain in reversed(chains):
        ring.queue.push(chain, 0)
    ring.queue.flush()
    assert [used.head for used in ring.driver.reap()] == heads[::-1]
    assert ring.driver.free_descriptors == 8


def test_interrupts_not_wanted_are_not_sent_with_event_idx():
    ring = Ring(8, EVENT_IDX)
    ring.driver.want_interrupts(False)
    ring.driver.add_buffer([(DATA, 1)])
    ring.driver.publish()
    ring.queue.push(ring.queue.pop(), 0)
    ring.queue.flush()
    assert not ring.queue.should_notify()


def test_an_interrupt_after_so_many_buffers():
    ring = Ring(8, EVENT_IDX, base=0xFFFE)
    ring.driver.want_interrupt_after(3)
    told = []
    for _ in range(5):
        ring.driver.add_buffer([], [(DATA, 4)])
        ring.driver.publish()
        ring.queue.push(ring.queue.pop(), 4)
        ring.queue.flush()
        told.append(ring.queue.should_notify())
    assert told == [False, False, True, False, False]


def test_more_used_is_whether_reap_finds_something():
    ring = Ring()
    ring.driver.add_buffer([], [(DATA, 4)])
    ring.driver.publish()
    ring.queue.push(ring.queue.pop(), 4)
    assert not ring.driver.more_used
    ring.queue.flush()
    assert ring.driver.more_used
    ring.driver.reap()
    assert not ring.driver.more_used


def test_avail_event_is_where_the_device_writes_it():
    ring = Ring(4, EVENT_IDX, base=0xFFFF)
    ring.driver.add_buffer([(DATA, 4)])
    ring.driver.publish()
    ring.queue.pop()
    assert ring.driver.avail_event == ring.avail_event == 0
