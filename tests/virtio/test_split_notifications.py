"""Who wakes whom, and when not: flags and EVENT_IDX, both ways."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ring_kit import DATA, EVENT_IDX, PLAIN, Ring

U16 = st.integers(0, 0xFFFF)


def use(ring, count):
    """The device uses `count` buffers and publishes them together."""
    for _ in range(count):
        ring.driver.add_buffer([(DATA, 4)])
    ring.driver.publish()
    for _ in range(count):
        ring.queue.push(ring.queue.pop(), 0)
    ring.queue.flush()
    ring.driver.reap()


# Device to driver: interrupts ------------------------------------------------------------


def test_without_flags_every_batch_interrupts():
    ring = Ring()
    for count in (1, 3, 8):
        use(ring, count)
        assert ring.queue.should_notify()


def test_nothing_used_is_nothing_to_tell():
    ring = Ring()
    assert not ring.queue.should_notify()
    use(ring, 1)
    assert ring.queue.should_notify()
    assert not ring.queue.should_notify()


def test_no_interrupt_flag_suppresses():
    ring = Ring()
    ring.driver.want_interrupts(False)
    use(ring, 1)
    assert not ring.queue.should_notify()
    ring.driver.want_interrupts(True)
    use(ring, 1)
    assert ring.queue.should_notify()


@pytest.mark.parametrize("flags", [0, 2, 0xFFFE])
def test_only_the_lowest_flag_counts(flags):
    ring = Ring()
    ring.driver.write_avail_flags(flags)
    use(ring, 1)
    assert ring.queue.should_notify()


def test_without_event_idx_used_event_is_ignored():
    ring = Ring(features=PLAIN)
    ring.driver.write_used_event(0x4321)
    use(ring, 1)
    assert ring.queue.should_notify()


def test_with_event_idx_the_flag_is_ignored():
    ring = Ring(features=EVENT_IDX)
    ring.driver.write_avail_flags(1)
    use(ring, 1)
    assert ring.queue.should_notify()


def test_used_event_0_interrupts_for_the_first_buffer_and_not_for_the_second():
    """The example of VIRTIO 1.2, 2.7.7.2."""
    ring = Ring(features=EVENT_IDX)
    use(ring, 1)
    assert ring.queue.should_notify()
    use(ring, 1)
    assert not ring.queue.should_notify()


def test_used_event_inside_a_batch_interrupts_once():
    ring = Ring(features=EVENT_IDX)
    ring.driver.write_used_event(5)
    for count, expected in ((3, False), (2, False), (1, True), (8, False)):
        use(ring, count)
        assert ring.queue.should_notify() is expected


@settings(deadline=None)
@given(base=U16, event=U16, batches=st.lists(st.integers(1, 8), max_size=12))
def test_used_event_agrees_with_looking_at_each_entry(base, event, batches):
    """Oracle: write the entries one by one and compare the index of each (2.7.7.2)."""
    ring = Ring(8, EVENT_IDX, base=base)
    ring.driver.write_used_event(event)
    idx = base
    for count in batches:
        use(ring, count)
        met = any((idx + step) & 0xFFFF == event for step in range(count))
        idx = (idx + count) & 0xFFFF
        assert ring.used_idx == idx
        assert ring.queue.should_notify() is met


def test_more_than_65536_buffers_between_two_questions_interrupt():
    """The 16-bit formula alone would miss this: the event may be anywhere among them."""
    ring = Ring(256, EVENT_IDX)
    ring.driver.write_used_event(0x1234)
    for _ in range(257):
        use(ring, 256)
    assert ring.queue.should_notify()


# Driver to device: kicks -----------------------------------------------------------------


def kick(ring, count=1):
    for _ in range(count):
        ring.driver.add_buffer([(DATA, 4)])
    return ring.driver.publish()


@pytest.mark.parametrize("features", [PLAIN, EVENT_IDX])
def test_a_fresh_queue_wants_to_be_kicked(features):
    assert kick(Ring(features=features))


def test_no_notify_is_set_and_cleared_in_used_flags():
    ring = Ring()
    ring.queue.set_notification(False)
    assert ring.used_flags == 1
    assert not kick(ring)
    ring.queue.set_notification(True)
    assert ring.used_flags == 0
    assert kick(ring)


def test_to_ask_for_no_kick_twice_costs_one_store():
    ring = Ring()
    for _ in range(2):
        ring.queue.set_notification(False)
    assert (ring.ledger.ring_writes, ring.used_flags) == (1, 1)
    for _ in range(2):  # to ask for one may follow on anything the ring has seen since
        ring.queue.set_notification(True)
    assert (ring.ledger.ring_writes, ring.used_flags) == (3, 0)


@pytest.mark.parametrize("features", [PLAIN, EVENT_IDX])
def test_a_kick_asked_for_with_all_taken_comes_for_the_next_though_all_are_put_back(features):
    """A device that found too few buffers: those there are must not keep the driver silent."""
    ring = Ring(8, features)
    kick(ring, 3)
    ring.queue.set_notification(False)
    for _ in range(3):
        ring.queue.pop()
    assert ring.queue.set_notification(True) is False
    ring.queue.unpop(3)
    assert kick(ring)


def test_with_event_idx_used_flags_stay_zero():
    ring = Ring(features=EVENT_IDX)
    for enabled in (False, True, False):
        ring.queue.set_notification(enabled)
        assert ring.used_flags == 0


def test_avail_event_lies_behind_the_used_ring():
    ring = Ring(4, EVENT_IDX)
    use(ring, 3)
    ring.queue.set_notification(True)
    assert ring.avail_event == 3
    assert ring.memory.read_u16(ring.driver.used + 4 + 8 * 4) == 3


def test_with_event_idx_disabling_costs_no_store():
    ring = Ring(features=EVENT_IDX)
    ring.queue.set_notification(False)
    assert ring.ledger.ring_writes == 0


def test_with_event_idx_a_busy_device_is_not_kicked_again():
    ring = Ring(8, EVENT_IDX)
    assert kick(ring)
    ring.queue.set_notification(False)
    assert not kick(ring, 3)
    while chain := ring.queue.pop():
        ring.queue.push(chain, 0)
    ring.queue.flush()
    assert ring.queue.set_notification(True) is False
    assert kick(ring)


@pytest.mark.parametrize("features", [PLAIN, EVENT_IDX])
def test_enabling_tells_of_a_buffer_that_came_in_between(features):
    """The lost kick: added after our last look, before we asked to be kicked again."""
    ring = Ring(features=features)
    ring.queue.set_notification(False)
    assert ring.queue.pop() is None
    ring.driver.add_buffer([(DATA, 4)])
    ring.driver.publish()
    assert ring.queue.set_notification(True) is True


@pytest.mark.parametrize("features", [PLAIN, EVENT_IDX])
def test_no_buffer_is_ever_stranded(features):
    """Whatever the timing: a buffer is either found by the re-check or kicked for."""
    ring = Ring(4, features)
    for turn in range(70_000 // 64):
        kicked = kick(ring, 1 + turn % 3)
        assert kicked or ring.queue.has_available()
        ring.queue.set_notification(False)
        while chain := ring.queue.pop():
            ring.queue.push(chain, 0)
        ring.queue.flush()
        ring.driver.reap()
        assert not ring.queue.set_notification(True)


@settings(deadline=None)
@given(base=U16, event=U16, batches=st.lists(st.integers(1, 8), max_size=12))
def test_the_drivers_kick_agrees_with_looking_at_each_entry(base, event, batches):
    ring = Ring(8, EVENT_IDX, base=base)
    idx = base
    ring.queue.set_notification(False)
    for count in batches:
        ring.memory.write_u16(ring.driver.used + 4 + 8 * 8, event)
        for _ in range(count):
            ring.driver.add_buffer([(DATA, 4)])
        met = any((idx + step) & 0xFFFF == event for step in range(count))
        idx = (idx + count) & 0xFFFF
        assert ring.driver.publish() is met
        while chain := ring.queue.pop():
            ring.queue.push(chain, 0)
        ring.queue.flush()
        ring.driver.reap()
