"""Driver and device against each other, and against guests that write nonsense."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from ring_kit import ALL_OPTIONS, DATA, EVENT_IDX, INDIRECT, RAM, Ring

from toyvisor.virtio.driver import QueueFullError
from toyvisor.virtio.errors import VirtioError

SLOT = 64  # bytes of data area for each buffer of the model


class RingMachine(RuleBasedStateMachine):
    """A model of what a virtqueue is: buffers go over, and come back, each once, whole."""

    @initialize(
        size=st.sampled_from([1, 2, 4, 8]),
        features=st.sampled_from(list(ALL_OPTIONS.values())),
        base=st.sampled_from([0, 0xFFF0, 0xFFFF]) | st.integers(0, 0xFFFF),
    )
    def start(self, size, features, base):
        self.ring = Ring(size, features, base=base)
        self.serial = 0
        self.added = deque()  # (head, data): placed, not published
        self.available = deque()  # published, not popped
        self.held = []  # (chain, data): popped
        self.filled = []  # (head, written): pushed, not flushed
        self.used = []  # flushed, not reaped

    @rule(parts=st.integers(1, 4), writable=st.integers(0, 2), indirect=st.booleans())
    def add(self, parts, writable, indirect):
        data = self.serial.to_bytes(4, "little") * 3
        at = DATA + SLOT * (self.serial % 512)
        self.serial += 1
        self.ring.put(at, data)
        step = -(-len(data) // parts)
        readable = [(at + i, min(step, len(data) - i)) for i in range(0, len(data), step)]
        room = [(at + 32 + 8 * i, 8) for i in range(writable)]
        if len(readable) + len(room) > self.ring.driver.size:
            return  # longer than the queue: a breach even through a table
        indirect = indirect and self.ring.driver.indirect
        try:
            head = self.ring.driver.add_buffer(readable, room, indirect=indirect)
        except QueueFullError:
            needed = 1 if indirect else len(readable) + len(room)
            assert self.ring.driver.free_descriptors < needed
        else:
            self.added.append((head, data, 8 * writable))

    @rule()
    def publish(self):
        self.ring.driver.publish()
        self.available += self.added
        self.added.clear()

    @rule()
    def pop(self):
        chain = self.ring.queue.pop()
        if not self.available:
            assert chain is None
            return
        head, data, room = self.available.popleft()
        assert chain.head == head
        assert b"".join(bytes(part) for part in chain.readable) == data
        assert chain.writable_length == room
        self.held.append(chain)

    @rule(count=st.integers(1, 8))
    def pop_and_put_back(self, count):
        count = min(count, len(self.available))
        heads = [self.ring.queue.pop().head for _ in range(count)]
        assert heads == [head for head, *_ in list(self.available)[:count]]
        self.ring.queue.unpop(count)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def push(self, data):
        chain = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        written = data.draw(st.integers(0, chain.writable_length))
        self.ring.queue.push(chain, written)
        self.filled.append((chain.head, written))

    @rule()
    def flush(self):
        self.ring.queue.flush()
        self.used += self.filled
        self.filled.clear()

    @rule()
    def reap(self):
        assert self.ring.driver.reap() == self.used
        self.used.clear()

    @rule(enabled=st.booleans())
    def set_notification(self, enabled):
        pending = self.ring.queue.set_notification(enabled)
        assert pending == (enabled and bool(self.available))

    @rule(wanted=st.booleans())
    def want_interrupts(self, wanted):
        self.ring.driver.want_interrupts(wanted)
        self.ring.queue.should_notify()

    @invariant()
    def nothing_is_lost(self):
        if hasattr(self, "ring"):
            # Every head is in exactly one place.
            heads = [head for head, *_ in (*self.added, *self.available, *self.filled, *self.used)]
            heads += [chain.head for chain in self.held]
            assert len(heads) == len(set(heads))


RingMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestRingMachine = RingMachine.TestCase


@pytest.mark.parametrize("features", ALL_OPTIONS.values(), ids=ALL_OPTIONS)
@pytest.mark.parametrize("size", [1, 4, 256])
def test_indices_run_round_past_0xffff(size, features):
    ring = Ring(size, features, base=0xFFFF - 2 * size)
    parts = 1 if size == 1 else 2
    for turn in range(8):
        count = size if features & INDIRECT or size == 1 else size // 2
        expected = []
        for number in range(count):
            span = ring.put(DATA + SLOT * number, bytes([turn, number & 0xFF]) * 2)
            spans = [(span[0] + 2 * i, 2) for i in range(2)] if parts == 2 else [span]
            expected.append((ring.driver.add_buffer(spans), 0))
        ring.driver.publish()
        for number in range(count):
            chain = ring.queue.pop()
            data = b"".join(bytes(part) for part in chain.readable)
            assert data == bytes([turn, number & 0xFF]) * 2
            ring.queue.push(chain, 0)
        assert ring.queue.pop() is None
        ring.queue.flush()
        assert ring.driver.reap() == expected
    assert ring.used_idx < 0x8000  # it has gone round


# Guests that write nonsense -----------------------------------------------------------------

ADDRESS = st.one_of(st.integers(0, RAM), st.integers(RAM - 64, RAM + 64), st.integers(0, 2**64 - 1))
LENGTH = st.one_of(st.integers(0, 64), st.sampled_from([16, 32, 2**32 - 1]))
FLAGS = st.one_of(st.integers(0, 7), st.integers(0, 0xFFFF))
DESCRIPTORS = st.lists(
    st.tuples(ADDRESS, LENGTH, FLAGS, st.one_of(st.integers(0, 9), st.integers(0, 0xFFFF))),
    min_size=8,
    max_size=16,
)


@settings(max_examples=300, deadline=None)
@given(
    entries=DESCRIPTORS,
    heads=st.lists(st.one_of(st.integers(0, 8), st.integers(0, 0xFFFF)), min_size=8, max_size=8),
    idx=st.one_of(st.integers(0, 9), st.integers(0, 0xFFFF)),
    features=st.sampled_from(list(ALL_OPTIONS.values())),
)
def test_random_rings_end_in_chains_or_in_an_explained_error(entries, heads, idx, features):
    ring = Ring(8, features)
    ring.driver.write_table(ring.driver.desc, entries[:8])
    table = ring.driver.tables
    ring.driver.write_table(table, entries[8:])
    ring.driver.write_descriptor(0, table, 16 * len(entries[8:]) or 16, 4)
    for slot, head in enumerate(heads):
        ring.driver.write_avail_entry(slot, head)
    ring.driver.write_avail_idx(idx)
    try:
        for _ in range(9):
            chain = ring.queue.pop()
            if chain is None:
                break
            assert chain.head < 8
            assert 1 <= len(chain.readable) + len(chain.writable) <= 8
            for part in chain.writable:
                part[:1] = b"!"
            ring.queue.push(chain, min(1, chain.writable_length))
    except VirtioError:
        pass
    ring.queue.flush()
    ring.queue.should_notify()
    assert ring.ledger.ring_reads <= 9 * (2 + 8 + 2)
    assert ring.ledger.copies == 0


@settings(max_examples=200, deadline=None)
@given(
    noise=st.binary(min_size=1024, max_size=1024),
    features=st.sampled_from([0, INDIRECT | EVENT_IDX]),
)
def test_noise_all_over_the_rings_raises_nothing_else(noise, features):
    ring = Ring(8, features)
    ring.put(ring.driver.desc, noise[: ring.driver.end - ring.driver.desc])
    for _ in range(10):
        try:
            chain = ring.queue.pop()
        except VirtioError:
            break
        if chain is None:
            break
        ring.queue.push(chain, 0)
    ring.queue.flush()
    ring.queue.should_notify()
    ring.queue.should_notify()
