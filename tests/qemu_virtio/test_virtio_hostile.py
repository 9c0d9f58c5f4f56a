"""Guests that break things through the registers: nothing escapes, nothing grows.

The rings' own cases are in tests/virtio; here each of them goes in by a kick, as from a
guest, and ends in DEVICE_NEEDS_RESET.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_net_transmit import BAD_PACKETS
from virtio_kit import (
    EVENT_IDX,
    FAILED,
    FRAMES,
    INDIRECT,
    LIVE,
    NEEDS_RESET,
    RAM,
    VERSION_1,
    Machine,
    frame,
)

from toyvisor.qemu.virtio import rules
from toyvisor.qemu.virtio.registers import REGISTERS, Reg
from toyvisor.virtio.errors import Rule

NEXT, WRITE, TABLE = 1, 2, 4
TABLES = 0x60000


@contextmanager
def little_memory(limit: int = 256 << 10) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < limit, f"{peak} bytes allocated"


def chain(*entries):
    """Descriptors from index 0 on, made available."""

    def case(machine):
        for index, entry in enumerate(entries):
            machine.queue.write_descriptor(index, *entry)
        machine.queue.make_available(0)

    return case


def table(*entries, length=None, flags=TABLE):
    def case(machine):
        machine.queue.write_table(TABLES, list(entries))
        size = 16 * len(entries) if length is None else length
        machine.queue.write_descriptor(0, TABLES, size, flags, 1)
        machine.queue.make_available(0)

    return case


def long_chain(machine):
    """Every descriptor names all of RAM: 8 MiB in 8 descriptors, dropped unread."""
    for index in range(8):
        machine.queue.write_descriptor(index, 0, RAM, NEXT if index < 7 else 0, index + 1)
    machine.queue.make_available(0)


# name: (rule, features, what the driver does); DEVICE_NEEDS_RESET is the end of each.
FATAL = {
    "01 self loop": ("chain-loop", 0, chain((FRAMES, 64, NEXT, 0))),
    "02 next is the size": ("next-range", 0, chain((FRAMES, 64, NEXT, 8))),
    "03 head is the size": ("head-range", 0, lambda m: m.queue.make_available(8)),
    "04 address near 2^64": ("buffer-range", 0, chain((2**64 - 8, 64))),
    "05 length 0xffffffff": ("buffer-range", 0, chain((0, 0xFFFFFFFF))),
    "05 length 0xffffffff writable": ("buffer-range", 0, chain((0, 0xFFFFFFFF, WRITE))),
    "06 header of length 0": ("buffer-empty", 0, chain((FRAMES, 0, NEXT, 1), (FRAMES, 64))),
    "07 avail.idx jumps": ("avail-jump", 0, lambda m: m.queue.write_avail_idx(9)),
    "08 nested table": ("indirect-nested", INDIRECT, table((TABLES, 16, TABLE, 0))),
    "09 table of 17 bytes": ("indirect-length", INDIRECT, table(length=17)),
    "10 table of 0 bytes": ("indirect-length", INDIRECT, table(length=0)),
    "11 the device's own Status register": ("buffer-range", 0, chain((0xD0000070, 4, WRITE))),
    "15 table of 0xfffffff0 bytes": ("indirect-range", INDIRECT, table(length=0xFFFFFFF0)),
    "16 next past the table": ("next-range", INDIRECT, table((FRAMES, 64, NEXT, 1))),
    "17 loop over two": ("chain-loop", 0, chain((FRAMES, 9, NEXT, 1), (FRAMES, 9, NEXT, 0))),
    "18 loop in a table": ("chain-loop", INDIRECT, table((FRAMES, 64, NEXT, 0))),
    "19 INDIRECT and NEXT": (
        "indirect-and-next",
        INDIRECT,
        table((FRAMES, 64, 0, 0), flags=TABLE | NEXT),
    ),
    "20 INDIRECT not negotiated": ("indirect-not-negotiated", 0, table((FRAMES, 64, 0, 0))),
    "21 readable after writable": (
        "readable-after-writable",
        0,
        chain((FRAMES, 9, WRITE | NEXT, 1), (FRAMES, 9)),
    ),
    "22 over the end of RAM by 1": ("buffer-range", 0, chain((RAM - 63, 64))),
    "25 in ROM": ("buffer-range", 0, chain((0xFFFF0000, 64))),
    "29 avail.idx decremented": ("avail-jump", 0, lambda m: m.queue.write_avail_idx(0xFFFF)),
}


@pytest.mark.parametrize("name", FATAL)
def test_a_broken_ring_ends_in_needs_reset(name):
    rule, features, break_it = FATAL[name]
    machine = Machine().bring_up(features)
    break_it(machine)
    with machine.delta() as delta, little_memory():
        machine.kick()
    assert machine.rules == [f"virtio.split.{rule}"]
    assert machine.status == LIVE | NEEDS_RESET
    assert (machine.interrupts, machine.line) == (2, 1)
    assert (delta.sent, delta.copies, delta.writev) == (0, 0, 0)
    assert delta.ring_reads <= 2 + 2 * 8
    # Dead until reset: kicks change nothing and are not held against the driver.
    with machine.delta() as delta:
        for _ in range(10):
            machine.kick()
    assert (delta.ring_reads, delta.ring_writes, delta.errors) == (0, 0, 0)
    # And well again after it.
    machine.bring_up(features)
    machine.send(frame())
    assert machine.tap.frames == [frame()]


@pytest.mark.parametrize("name", FATAL)
def test_a_broken_ring_found_at_driver_ok_ends_alike(name):
    rule, features, break_it = FATAL[name]
    machine = Machine()
    machine.negotiate(VERSION_1 | features)
    machine.queue = machine.lay_out(features=features)
    break_it(machine)
    machine.write(Reg.STATUS, LIVE)
    assert machine.rules == [f"virtio.split.{rule}"]
    assert machine.status == LIVE | NEEDS_RESET
    assert machine.interrupts == 2


def test_a_frame_as_large_as_all_ram_eight_times_costs_nothing():
    machine = Machine().bring_up()
    long_chain(machine)
    with machine.delta() as delta, little_memory(64 << 10):
        machine.kick()
    assert machine.rules == ["virtio.net.tx-long"]
    assert (delta.copies, delta.dropped) == (0, 1)


def test_a_packet_lying_over_the_used_ring():
    """Case 13: the device only reads it."""
    machine = Machine().bring_up()
    machine.queue.add_buffer([(machine.queue.used, 70)])
    machine.queue.publish()
    machine.kick()
    assert machine.queue.reap() == [(0, 0)]


def test_a_packet_lying_over_the_descriptor_table():
    """Case 14: and the table is as the driver wrote it afterwards (2.7.5.1)."""
    machine = Machine().bring_up()
    machine.queue.add_buffer([(machine.queue.desc, 128)])
    before = bytes(machine.memory.view(machine.queue.desc, 128))
    machine.queue.publish()
    machine.kick()
    assert bytes(machine.memory.view(machine.queue.desc, 128)) == before


def test_the_device_writes_only_the_used_ring():
    """2.7.5.1: no descriptor table, no readable buffer, nothing else."""
    machine = Machine().bring_up(EVENT_IDX)
    machine.add(frame())
    machine.queue.publish()
    before = bytes(machine.memory.view(0, RAM))
    machine.kick()
    after = bytes(machine.memory.view(0, RAM))
    used = range(machine.queue.used, machine.queue.used + 6 + 8 * 8)
    assert all(address in used for address in range(RAM) if before[address] != after[address])


def test_the_same_head_many_times_is_sent_many_times():
    """Case 28."""
    machine = Machine().bring_up()
    span = machine.put(FRAMES, bytes(12) + frame())
    machine.queue.write_descriptor(5, *span)
    for _ in range(8):
        machine.queue.make_available(5)
    machine.kick()
    assert machine.tap.frames == [frame()] * 8
    assert machine.rules == []


# Queue setup (cases 33 to 41) ---------------------------------------------------------------

SETUPS = {
    "33 size 0": ("size", {"size": 0}),
    "33 size 3": ("size", {"size": 3}),
    "33 size 512 of 256": ("size", {"size": 512}),
    "33 size 65535": ("size", {"size": 65535}),
    "33 size 2^31": ("size", {"size": 2**31}),
    "34 descriptor table misaligned": ("alignment", {"desc": 0x1001}),
    "34 available ring misaligned": ("alignment", {"avail": 0x2001}),
    "34 used ring misaligned": ("alignment", {"used": 0x3001}),
    "35 descriptor table over the end": ("area-range", {"desc": RAM - 112}),
    "35 available ring over the end": ("area-range", {"avail": RAM - 20}),
    "35 used ring over the end": ("area-range", {"used": RAM - 68}),
    "35 beyond RAM": ("area-range", {"used": 1 << 40}),
    "35 wraps past 2^64": ("area-range", {"desc": 2**64 - 64}),
    "35 on the device's page": ("area-range", {"used": 0xD0000000}),
}


@pytest.mark.parametrize("name", SETUPS)
def test_a_queue_that_cannot_be(name):
    rule, setting = SETUPS[name]
    machine = Machine()
    machine.negotiate()
    areas = {"size": 8, "desc": 0x1000, "avail": 0x2000, "used": 0x3000} | setting
    with little_memory():
        assert machine.set_up_queue(1, **areas) == 0
    assert machine.rules == [f"virtio.split.{rule}"]
    assert machine.status & NEEDS_RESET
    machine.write(Reg.STATUS, LIVE)
    machine.kick()
    assert (machine.ledger.ring_reads, machine.ledger.ring_writes) == (0, 0)


def test_a_queue_made_ready_without_addresses_lies_over_itself_at_0():
    """Case 40: allowed, since there is RAM at 0; and harmless."""
    machine = Machine()
    machine.negotiate()
    assert machine.set_up_queue(1, 8) == 1
    machine.write(Reg.STATUS, LIVE)
    for _ in range(10):
        machine.kick()
    assert machine.status & ~NEEDS_RESET == LIVE


def test_two_queues_that_share_a_ring_do_no_harm():
    """Case 41."""
    machine = Machine().bring_up()
    queue = machine.queue
    assert machine.set_up_queue(0, 8, queue.desc, queue.avail, queue.used) == 1
    machine.send(frame())
    machine.kick(0)
    assert machine.tap.frames == [frame()]


def test_all_queue_registers_with_a_queue_that_is_not_there():
    """Case 39."""
    machine = Machine()
    machine.negotiate()
    for index in (2, 0xFFFF, 2**31, 0xFFFFFFFF):
        machine.write(Reg.QUEUE_SEL, index)
        for register in range(Reg.QUEUE_NUM_MAX, Reg.QUEUE_RESET + 4, 4):
            if register != Reg.STATUS:
                machine.read(register)
                machine.write(register, 0xFFFFFFFF)
    assert not machine.net.queues[0].ready
    assert not machine.net.queues[1].ready
    assert machine.net.queues[0].config.size == machine.net.queues[1].config.size == 0


# Every rule can fire --------------------------------------------------------------------------


def test_the_rules_of_this_room_are_all_tested_somewhere():
    """Each name stands in a test of this folder: here, or beside the register it is about."""
    import pathlib

    text = "".join(path.read_text() for path in pathlib.Path(__file__).parent.glob("*.py"))
    fired = {rule for rule, _ in BAD_PACKETS.values()}
    names = {rule.name for rule in vars(rules).values() if isinstance(rule, Rule)}
    for name in sorted(names):
        group, last = name.removeprefix("virtio.").split(".")
        assert name in text or f'"{last}"' in text or last in fired, name
        assert group in {"mmio", "config", "notify", "status", "features", "net"}


def test_every_rule_says_where_it_stands_and_what_it_says():
    for name, rule in Rule.catalogue.items():
        assert name == rule.name
        assert rule.section.startswith("VIRTIO 1.2, ")
        assert len(rule.hint) > 20
        error = rule.broken("the guest did it")
        assert (error.rule, error.section, error.exit_status) == (name, rule.section, 1)


# Random scripts --------------------------------------------------------------------------------

OFFSETS = st.one_of(
    st.sampled_from(sorted(REGISTERS)),
    st.integers(0, 0x1FF),
    st.sampled_from([0xFFF, 0x1000, 1 << 32]),
)
VALUES = st.one_of(
    st.integers(0, 16), st.sampled_from([0x1000, 0x2000, 0x3000]), st.integers(0, 2**64 - 1)
)
ACCESSES = st.lists(
    st.tuples(st.booleans(), OFFSETS, st.sampled_from([1, 2, 4, 4, 4, 8]), VALUES), max_size=60
)


@settings(max_examples=300, deadline=None)
@given(accesses=ACCESSES, alive=st.booleans())
def test_random_register_scripts_never_raise(accesses, alive):
    machine = Machine()
    if alive:
        machine.bring_up()
        machine.add(frame())
    for is_write, offset, size, value in accesses:
        if is_write:
            machine.mmio.write(offset, size, value & ((1 << 8 * size) - 1))
        else:
            assert 0 <= machine.mmio.read(offset, size) < 1 << 8 * size
        assert machine.line == int(machine.mmio.interrupt_status != 0)
        if not machine.net.status & 4:
            assert machine.ledger.ring_reads == 0 or alive
    machine.bring_up()
    machine.send(frame(3))
    assert machine.tap.frames[-1] == frame(3)


@settings(max_examples=200, deadline=None)
@given(
    noise=st.binary(min_size=512, max_size=512),
    kicks=st.lists(st.integers(0, 2), max_size=5),
    idx=st.integers(0, 9),
    features=st.sampled_from([0, INDIRECT, EVENT_IDX, INDIRECT | EVENT_IDX]),
)
def test_noise_in_the_rings_never_raises(noise, kicks, idx, features):
    machine = Machine().bring_up(features)
    machine.put(machine.queue.desc, noise[: machine.queue.tables - machine.queue.desc])
    machine.queue.write_avail_idx(idx)
    for slot in range(0, 8, 2):
        machine.queue.write_avail_entry(slot, slot)
    for index in kicks:
        machine.kick(index)
    assert machine.status in (LIVE, LIVE | NEEDS_RESET)
    assert machine.net.packets_sent <= 9 * 5
    assert machine.ledger.ring_reads < 5 * 9 * 20 + 20


WORDS = st.one_of(st.integers(0, 8), st.sampled_from([0x1000, FRAMES, RAM - 4, 2**64 - 1]))
ENTRIES = st.lists(
    st.tuples(WORDS, st.sampled_from([0, 1, 12, 26, 74, 2**32 - 1]), st.integers(0, 7), WORDS),
    min_size=1,
    max_size=8,
)


@settings(max_examples=300, deadline=None)
@given(entries=ENTRIES, heads=st.lists(st.integers(0, 8), max_size=8))
def test_random_descriptors_end_sent_dropped_or_in_needs_reset(entries, heads):
    machine = Machine().bring_up(INDIRECT)
    for index, (addr, length, flags, following) in enumerate(entries):
        machine.queue.write_descriptor(index, addr, length, flags, following & 0xFFFF)
    for slot, head in enumerate(heads):
        machine.queue.write_avail_entry(slot, head)
    machine.queue.write_avail_idx(len(heads))
    machine.kick()
    done = machine.net.packets_sent + machine.net.packets_dropped
    assert machine.memory.read_u16(machine.queue.used + 2) == done
    assert done == len(heads) or machine.status & NEEDS_RESET
    assert not machine.status & FAILED
