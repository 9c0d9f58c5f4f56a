"""Every way of breaking a ring, one test each: which rule fires, and at what price."""

from __future__ import annotations

import time

import pytest
from ring_kit import (
    DATA,
    EVENT_IDX,
    HIGH,
    HIGH_BASE,
    INDIRECT,
    PLAIN,
    RAM,
    Ring,
    little_memory,
)

from toyvisor.virtio.constants import DescriptorFlag
from toyvisor.virtio.errors import Rule, VirtioError
from toyvisor.virtio.layout import QueueConfig
from toyvisor.virtio.split_queue import SplitQueue

NEXT = int(DescriptorFlag.NEXT)
WRITE = int(DescriptorFlag.WRITE)
TABLE = int(DescriptorFlag.INDIRECT)
SIZE = 8


def self_loop(ring):
    ring.driver.write_descriptor(0, DATA, 4, NEXT, 0)
    ring.driver.make_available(0)


def next_is_the_size(ring):
    ring.driver.write_descriptor(0, DATA, 4, NEXT, SIZE)
    ring.driver.make_available(0)


def next_is_the_highest(ring):
    ring.driver.write_descriptor(0, DATA, 4, NEXT, 0xFFFF)
    ring.driver.make_available(0)


def head_is_the_size(ring):
    ring.driver.make_available(SIZE)


def head_is_the_highest(ring):
    ring.driver.make_available(0xFFFF)


def one_descriptor(addr, length, flags=0):
    def case(ring):
        ring.driver.write_descriptor(0, addr, length, flags)
        ring.driver.make_available(0)

    return case


def idx_jumps(count):
    def case(ring):
        ring.driver.write_avail_idx(count)

    return case


def idx_goes_back(ring):
    for _ in range(2):
        ring.driver.add_buffer([(DATA, 4)])
    ring.driver.publish()
    ring.queue.push(ring.queue.pop(), 0)
    ring.queue.push(ring.queue.pop(), 0)
    ring.driver.write_avail_idx(1)


def long_loop(ring):
    ring.driver.write_descriptor(2, DATA, 4, NEXT, 5)
    ring.driver.write_descriptor(5, DATA, 4, NEXT, 2)
    ring.driver.make_available(2)


def writable_loop(ring):
    for index in range(SIZE):
        ring.driver.write_descriptor(index, DATA, 4, NEXT | WRITE, (index + 1) % SIZE)
    ring.driver.make_available(0)


def readable_after_writable(ring):
    ring.driver.write_descriptor(0, DATA, 4, WRITE | NEXT, 1)
    ring.driver.write_descriptor(1, DATA, 4)
    ring.driver.make_available(0)


def too_many_in_flight(ring):
    ring.driver.write_descriptor(0, DATA, 4)
    for _ in range(SIZE):
        ring.driver.make_available(0)
        ring.queue.pop()
    ring.driver.make_available(0)


def table(entries, *, length=None, flags=TABLE, at=None):
    def case(ring):
        where = ring.driver.tables if at is None else at
        if at is None:
            ring.driver.write_table(where, entries)
        bytes_ = 16 * len(entries) if length is None else length
        ring.driver.write_descriptor(0, where, bytes_, flags, 1)
        ring.driver.write_descriptor(1, DATA, 4)
        ring.driver.make_available(0)

    return case


def table_in_a_table(ring):
    inner = ring.driver.tables + 256
    ring.driver.write_table(inner, [(DATA, 4, 0, 0)])
    table([(inner, 16, TABLE, 0)])(ring)


def chain_through_table_longer_than_queue(ring):
    count = SIZE + 1
    entries = [(DATA + i, 1, NEXT, i + 1) for i in range(count - 1)]
    table([*entries, (DATA, 1, 0, 0)])(ring)


def plain_then_table_longer_than_queue(ring):
    for index in range(4):
        ring.driver.write_descriptor(index, DATA, 1, NEXT, index + 1)
    entries = [(DATA + i, 1, NEXT, i + 1) for i in range(5)]
    ring.driver.write_table(ring.driver.tables, [*entries, (DATA, 1, 0, 0)])
    ring.driver.write_descriptor(4, ring.driver.tables, 16 * 6, TABLE)
    ring.driver.make_available(0)


# name: (rule, features, what the driver does). Numbers: virtio conformance list, section 14.
CASES = {
    "01 self loop": ("chain-loop", PLAIN, self_loop),
    "02 next is the table's size": ("next-range", PLAIN, next_is_the_size),
    "02 next is 0xffff": ("next-range", PLAIN, next_is_the_highest),
    "03 head is the table's size": ("head-range", PLAIN, head_is_the_size),
    "03 head is 0xffff": ("head-range", PLAIN, head_is_the_highest),
    "04 address wraps past 2^64": ("buffer-range", PLAIN, one_descriptor(2**64 - 1, 2)),
    "04 address is 2^64-4096": ("buffer-range", PLAIN, one_descriptor(2**64 - 4096, 4096)),
    "05 length 0xffffffff readable": ("buffer-range", PLAIN, one_descriptor(0, 2**32 - 1)),
    "05 length 0xffffffff writable": ("buffer-range", PLAIN, one_descriptor(0, 2**32 - 1, WRITE)),
    "06 length 0": ("buffer-empty", PLAIN, one_descriptor(DATA, 0)),
    "06 length 0 outside RAM": ("buffer-empty", PLAIN, one_descriptor(2**64 - 1, 0)),
    "07 avail.idx jumps by size+1": ("avail-jump", PLAIN, idx_jumps(SIZE + 1)),
    "07 avail.idx jumps by 0x8000": ("avail-jump", PLAIN, idx_jumps(0x8000)),
    "08 table inside a table": ("indirect-nested", INDIRECT, table_in_a_table),
    "09 table of 17 bytes": ("indirect-length", INDIRECT, table([], length=17)),
    "10 table of 0 bytes": ("indirect-length", INDIRECT, table([], length=0)),
    "11 buffer on the device's page": ("buffer-range", PLAIN, one_descriptor(0xD0000070, 4, WRITE)),
    "15 table of 0xfffffff0 bytes": ("indirect-range", INDIRECT, table([], length=0xFFFFFFF0)),
    "15 table outside RAM": ("indirect-range", INDIRECT, table([], length=16, at=RAM - 8)),
    "15 table at the end of 2^64": (
        "indirect-range",
        INDIRECT,
        table([], length=32, at=2**64 - 16),
    ),
    "16 next past the table": ("next-range", INDIRECT, table([(DATA, 4, NEXT, 1)])),
    "16 next 0xffff in a table": ("next-range", INDIRECT, table([(DATA, 4, NEXT, 0xFFFF)])),
    "17 loop over two descriptors": ("chain-loop", PLAIN, long_loop),
    "17 loop over the whole table": ("chain-loop", PLAIN, writable_loop),
    "18 loop inside a table": ("chain-loop", INDIRECT, table([(DATA, 4, NEXT, 0)])),
    "18 longer loop inside a table": (
        "chain-loop",
        INDIRECT,
        table([(DATA, 4, NEXT, 1), (DATA, 4, NEXT, 0)]),
    ),
    "18 table longer than the queue": (
        "chain-length",
        INDIRECT,
        chain_through_table_longer_than_queue,
    ),
    "18 plain and table longer than the queue": (
        "chain-length",
        INDIRECT,
        plain_then_table_longer_than_queue,
    ),
    "19 INDIRECT and NEXT": (
        "indirect-and-next",
        INDIRECT,
        table([(DATA, 4, 0, 0)], flags=TABLE | NEXT),
    ),
    "20 INDIRECT not negotiated": ("indirect-not-negotiated", PLAIN, table([(DATA, 4, 0, 0)])),
    "21 readable after writable": ("readable-after-writable", PLAIN, readable_after_writable),
    "21 readable after writable in a table": (
        "readable-after-writable",
        INDIRECT,
        table([(DATA, 4, NEXT | WRITE, 1), (DATA, 4, 0, 0)]),
    ),
    "22 one byte past the end of RAM": ("buffer-range", PLAIN, one_descriptor(RAM - 3, 4)),
    "22 one byte past the high RAM": (
        "buffer-range",
        PLAIN,
        one_descriptor(HIGH_BASE + HIGH - 3, 4),
    ),
    "23 across the hole between RAM and RAM": (
        "buffer-range",
        PLAIN,
        one_descriptor(RAM - 4, HIGH_BASE - RAM + 8),
    ),
    "25 in the BIOS ROM": ("buffer-range", PLAIN, one_descriptor(0xFFFF0000, 16)),
    "28 more in flight than the queue holds": ("in-flight", PLAIN, too_many_in_flight),
    "29 avail.idx goes back": ("avail-jump", PLAIN, idx_goes_back),
}


@pytest.mark.parametrize("name", CASES)
def test_a_broken_ring_is_explained(name):
    rule, features, break_it = CASES[name]
    ring = Ring(SIZE, features)
    break_it(ring)
    before = ring.ledger.ring_reads, ring.ledger.ring_writes
    with little_memory(64 << 10), pytest.raises(VirtioError) as caught:
        ring.queue.pop()
    error = caught.value
    assert error.rule == f"virtio.split.{rule}"
    assert error.section.startswith("VIRTIO 1.2, 2.7")
    assert error.hint
    assert any(character.isdigit() for character in error.message)
    # Bounded by the queue size, whatever the guest's numbers are; and nothing written.
    assert ring.ledger.ring_reads - before[0] <= 2 + 2 * SIZE
    assert ring.ledger.ring_writes == before[1]
    assert ring.ledger.copies == 0


@pytest.mark.parametrize("name", CASES)
def test_a_broken_ring_stays_broken(name):
    """Asked again, the queue gives the same answer: no state was half changed."""
    rule, features, break_it = CASES[name]
    ring = Ring(SIZE, features | EVENT_IDX)
    break_it(ring)
    for _ in range(3):
        with pytest.raises(VirtioError) as caught:
            ring.queue.pop()
        assert caught.value.rule == f"virtio.split.{rule}"


def test_a_chain_of_more_than_4_gib_is_refused_without_touching_it():
    """Case 26: 64 MiB of RAM named 65 times."""
    ring = Ring(128, ram=1 << 26)
    for index in range(65):
        ring.driver.write_descriptor(index, 0, 1 << 26, NEXT, index + 1)
    ring.driver.write_descriptor(65, 0, 1)
    ring.driver.make_available(0)
    with little_memory(64 << 10), pytest.raises(VirtioError) as caught:
        ring.queue.pop()
    assert caught.value.rule == "virtio.split.chain-bytes"


def test_a_chain_of_exactly_4_gib_is_no_breach():
    ring = Ring(64, ram=1 << 26)
    for index in range(63):
        ring.driver.write_descriptor(index, 0, 1 << 26, NEXT, index + 1)
    ring.driver.write_descriptor(63, 0, 1 << 26)
    ring.driver.make_available(0)
    with little_memory(64 << 10):
        assert ring.queue.pop().readable_length == 1 << 32


def test_the_longest_loop_of_the_largest_queue_ends_soon():
    ring = Ring(32768)
    for index in range(32768):
        ring.driver.write_descriptor(index, DATA, 1, NEXT, (index + 1) & 0x7FFF)
    ring.driver.make_available(0)
    start = time.perf_counter()
    with pytest.raises(VirtioError) as caught:
        ring.queue.pop()
    assert caught.value.rule == "virtio.split.chain-loop"
    assert ring.ledger.ring_reads == 2 + 32768
    assert time.perf_counter() - start < 2


def test_a_device_fed_its_own_used_ring_does_no_harm():
    """Cases 13 and 14: buffers over the used ring and over the descriptor table."""
    ring = Ring()
    ring.driver.add_buffer([], [(ring.driver.used, 70), (ring.driver.desc, 128)])
    ring.driver.publish()
    chain = ring.queue.pop()
    for part in chain.writable:
        part[:] = b"\xff" * len(part)
    ring.queue.push(chain, 1)
    ring.queue.flush()
    assert ring.used_idx == 1
    assert ring.queue.pop() is None


# Making a queue ready ----------------------------------------------------------------------

GOOD = QueueConfig(SIZE, 0x4000, 0x5000, 0x6000)
TOP = HIGH_BASE + HIGH
BAD_CONFIGS = {
    "33 size 0": ("size", QueueConfig(0, 0x4000, 0x5000, 0x6000)),
    "33 size 3": ("size", QueueConfig(3, 0x4000, 0x5000, 0x6000)),
    "33 size 65535": ("size", QueueConfig(65535, 0x4000, 0x5000, 0x6000)),
    "33 size 65536": ("size", QueueConfig(65536, 0x4000, 0x5000, 0x6000)),
    "33 size 2^31": ("size", QueueConfig(2**31, 0x4000, 0x5000, 0x6000)),
    "33 size above the device's": ("size", QueueConfig(512, 0x4000, 0x8000, 0x9000)),
    "34 table misaligned by 1": ("alignment", QueueConfig(SIZE, 0x4001, 0x5000, 0x6000)),
    "34 table misaligned by 8": ("alignment", QueueConfig(SIZE, 0x4008, 0x5000, 0x6000)),
    "34 avail misaligned": ("alignment", QueueConfig(SIZE, 0x4000, 0x5001, 0x6000)),
    "34 used misaligned": ("alignment", QueueConfig(SIZE, 0x4000, 0x5000, 0x6002)),
    "35 table ends past RAM": ("area-range", QueueConfig(SIZE, TOP - 112, 0x5000, 0x6000)),
    "35 avail ends past RAM": ("area-range", QueueConfig(SIZE, 0x4000, TOP - 20, 0x6000)),
    "35 used ends past RAM": ("area-range", QueueConfig(SIZE, 0x4000, 0x5000, TOP - 68)),
    "35 table beyond RAM": ("area-range", QueueConfig(SIZE, 1 << 40, 0x5000, 0x6000)),
    "35 table wraps past 2^64": ("area-range", QueueConfig(SIZE, 2**64 - 16, 0x5000, 0x6000)),
    "35 used on the device's page": ("area-range", QueueConfig(SIZE, 0x4000, 0x5000, 0xD0000000)),
    "35 table across the hole": ("area-range", QueueConfig(SIZE, RAM - 64, 0x5000, 0x6000)),
}


@pytest.mark.parametrize("name", BAD_CONFIGS)
def test_a_queue_that_cannot_be_is_not_made_ready(name):
    rule, config = BAD_CONFIGS[name]
    ring = Ring()
    with little_memory(64 << 10), pytest.raises(VirtioError) as caught:
        SplitQueue("q", config, ring.memory, ring.ledger, max_size=256)
    assert caught.value.rule == f"virtio.split.{rule}"
    assert (ring.ledger.ring_reads, ring.ledger.ring_writes) == (0, 0)


def test_parts_may_touch_the_end_of_ram():
    ring = Ring()
    for config in (
        QueueConfig(SIZE, TOP - 128, 0x5000, 0x6000),
        QueueConfig(SIZE, 0x4000, TOP - 22, 0x6000),
        QueueConfig(SIZE, 0x4000, 0x5000, TOP - 72),
    ):
        SplitQueue("q", config, ring.memory, ring.ledger, max_size=256)


def test_each_rule_for_rings_has_a_case_that_breaks_it():
    fired = {rule for rule, *_ in (*CASES.values(), *BAD_CONFIGS.values())} | {"chain-bytes"}
    known = {name.removeprefix("virtio.split.") for name in Rule.catalogue if ".split." in name}
    assert known == fired
