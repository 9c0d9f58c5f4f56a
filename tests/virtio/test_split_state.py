"""What the device's end of a ring knows, for a debugger: at each step of a buffer's trip."""

from __future__ import annotations

from ring_kit import DATA, Ring

from toyvisor.virtio.queue_state import QueueState


def counts(ring: Ring) -> tuple[int, ...]:
    """last_avail, avail_idx, used_idx, filled, in_flight, unsignalled."""
    return tuple(ring.queue.state[:6])


def test_the_trip_of_two_buffers():
    ring = Ring()
    for number in range(2):
        ring.driver.add_buffer([ring.put(DATA + 64 * number, b"data")])
    assert counts(ring) == (0, 0, 0, 0, 0, 0)
    ring.driver.publish()
    first = ring.queue.pop()
    assert counts(ring) == (1, 2, 0, 0, 1, 0)  # one look at avail.idx found both
    second = ring.queue.pop()
    ring.queue.push(first, 0)
    assert counts(ring) == (2, 2, 0, 1, 1, 0)
    ring.queue.push(second, 0)
    ring.queue.flush()
    assert counts(ring) == (2, 2, 2, 0, 0, 2)
    ring.queue.should_notify()
    assert counts(ring) == (2, 2, 2, 0, 0, 0)


def test_a_look_costs_nothing_and_is_no_access():
    ring = Ring()
    before = ring.ledger.ring_reads
    assert ring.queue.state == QueueState(0, 0, 0, 0, 0, 0, wants_kick=True, is_running=True)
    assert ring.ledger.ring_reads == before


def test_a_queue_that_wants_no_kicks_and_one_that_was_stopped():
    ring = Ring()
    ring.queue.set_notification(False)
    assert not ring.queue.state.wants_kick
    ring.queue.stop()
    assert not ring.queue.state.is_running
