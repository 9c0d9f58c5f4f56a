"""From reset to DRIVER_OK and back: status, features, kicks (VIRTIO 1.2, 2.1, 2.2, 3.1)."""

from __future__ import annotations

import pytest
from virtio_kit import (
    ACKNOWLEDGE,
    DRIVER,
    DRIVER_OK,
    EVENT_IDX,
    FAILED,
    FEATURES_OK,
    INDIRECT,
    LIVE,
    NEEDS_RESET,
    VERSION_1,
    Machine,
    frame,
)

from toyvisor.errors import UsageError
from toyvisor.qemu.device import DeviceContext, GuestErrorLog
from toyvisor.qemu.virtio.device import VirtioDevice
from toyvisor.qemu.virtio.net_format import FEATURES, MAC, STATUS
from toyvisor.qemu.virtio.registers import Reg
from toyvisor.trace.events import (
    DEVICE,
    GUEST_ERROR,
    IRQ_LINE,
    VIRTIO_NOTIFY,
    VIRTIO_QUEUE_NOTIFY,
    VIRTIO_SET_STATUS,
)


def break_the_ring(machine):
    """Make the device give up: avail.idx jumps."""
    machine.queue.write_avail_idx(0x4000)
    machine.kick()


# The way up -----------------------------------------------------------------------------------


def test_the_way_up_as_the_specification_has_it():
    machine = Machine()
    seen = []
    for status in (0, ACKNOWLEDGE, ACKNOWLEDGE | DRIVER):
        machine.write(Reg.STATUS, status)
        seen.append(machine.status)
    machine.write(Reg.DRIVER_FEATURES_SEL, 1)
    machine.write(Reg.DRIVER_FEATURES, 1)
    machine.write(Reg.STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK)
    seen.append(machine.status)
    machine.lay_out()
    machine.write(Reg.STATUS, LIVE)
    seen.append(machine.status)
    assert seen == [0, 1, 3, 11, 15]
    assert machine.rules == []


def test_seabios_comes_up_in_big_steps():
    machine = Machine()
    for status in (0, 3, 0xB, 0xF):
        if status == 0xB:
            machine.write(Reg.DRIVER_FEATURES_SEL, 1)
            machine.write(Reg.DRIVER_FEATURES, 1)
        machine.write(Reg.STATUS, status)
    assert machine.status == 0xF
    assert machine.rules == []


def test_buffers_that_are_there_before_driver_ok_are_sent_at_driver_ok():
    machine = Machine()
    machine.negotiate()
    machine.queue = machine.lay_out()
    machine.add(frame())
    machine.queue.publish()
    assert machine.tap.frames == []
    assert (machine.ledger.ring_reads, machine.ledger.ring_writes) == (0, 0)
    machine.write(Reg.STATUS, LIVE)
    assert machine.tap.frames == [frame()]
    assert machine.interrupts == 1


@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
def test_a_queue_may_become_ready_before_or_after_driver_ok(late):
    machine = Machine()
    machine.negotiate()
    if late:
        machine.write(Reg.STATUS, LIVE)
    machine.queue = machine.lay_out()
    machine.write(Reg.STATUS, LIVE)
    machine.send(frame())
    assert machine.tap.frames == [frame()]


# Features -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("features", "rule"),
    [
        (0, "version-1"),
        (MAC | EVENT_IDX, "version-1"),
        (VERSION_1 | 1, "not-offered"),
        (VERSION_1 | 1 << 33, "not-offered"),
        (VERSION_1 | 1 << 34, "not-offered"),
        (VERSION_1 | 1 << 40, "not-offered"),
        (VERSION_1 | 1 << 63, "not-offered"),
    ],
)
def test_features_that_cannot_be_are_refused(features, rule):
    machine = Machine()
    machine.negotiate(features)
    assert machine.status == ACKNOWLEDGE | DRIVER
    assert machine.rules == [f"virtio.features.{rule}"]


@pytest.mark.parametrize("page", [2, 3, 4, 1000, 2**31, 0xFFFFFFFF])
def test_bits_on_far_pages_are_refused_and_cost_nothing(page):
    machine = Machine()
    machine.write(Reg.DRIVER_FEATURES_SEL, page)
    machine.write(Reg.DRIVER_FEATURES, 0x80000000)
    machine.write(Reg.DRIVER_FEATURES_SEL, 1)
    machine.write(Reg.DRIVER_FEATURES, 1)
    assert machine.net.accepted < 1 << 128
    machine.write(Reg.STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK)
    assert machine.status == ACKNOWLEDGE | DRIVER
    assert machine.rules == ["virtio.features.not-offered"]


def test_a_refused_driver_may_try_again_with_less():
    machine = Machine()
    machine.negotiate(VERSION_1 | 1)
    machine.write(Reg.DRIVER_FEATURES_SEL, 0)
    machine.write(Reg.DRIVER_FEATURES, 0)
    machine.write(Reg.STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK)
    assert machine.status == ACKNOWLEDGE | DRIVER | FEATURES_OK


@pytest.mark.parametrize("features", [VERSION_1, FEATURES, VERSION_1 | MAC, VERSION_1 | EVENT_IDX])
def test_any_subset_with_version_1_is_accepted_again_and_again(features):
    machine = Machine()
    for _ in range(3):
        machine.negotiate(features)
        assert machine.status == ACKNOWLEDGE | DRIVER | FEATURES_OK
        assert machine.net.features == features
    assert machine.rules == []


def test_no_feature_bits_after_features_ok():
    machine = Machine()
    machine.negotiate(VERSION_1)
    machine.write(Reg.DRIVER_FEATURES, 0xFFFFFFFF)
    assert machine.net.features == VERSION_1
    machine.write(Reg.STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK)
    assert machine.rules == ["virtio.features.late"]


def test_a_device_offers_less_if_told_to():
    machine = Machine(offered=VERSION_1 | MAC)
    assert machine.read(Reg.DEVICE_FEATURES) == MAC
    machine.negotiate(VERSION_1 | INDIRECT)
    assert machine.rules == ["virtio.features.not-offered"]


@pytest.mark.parametrize("offered", [MAC, 0, VERSION_1 | 1 << 34, VERSION_1 | 1 << 14])
def test_a_device_cannot_offer_what_it_cannot_do(offered):
    with pytest.raises(UsageError):
        Machine(offered=offered)


class NeedyDevice(VirtioDevice):
    """Bit 1 requires bit 0 or bit 2."""

    supported = VERSION_1 | 7
    requires = {1 << 1: (1 << 0, 1 << 2)}  # noqa: RUF012


def needy(features):
    machine = Machine()
    context = DeviceContext(
        "needy",
        memory=machine.memory,
        ledger=machine.ledger,
        errors=GuestErrorLog(machine.ledger.trace),
    )
    return NeedyDevice(context, features=features)


@pytest.mark.parametrize(
    ("accepted", "fine"), [(2, False), (3, True), (6, True), (7, True), (5, True), (0, True)]
)
def test_a_feature_comes_with_what_it_requires(accepted, fine):
    device = needy(VERSION_1 | 7)
    device.set_driver_features(0, accepted)
    device.set_driver_features(1, 1)
    breach = device._features_breach()
    assert (breach is None) is fine
    if breach is not None:
        assert breach.rule == "virtio.features.dependency"


def test_a_device_offers_a_feature_with_what_it_requires():
    with pytest.raises(UsageError):
        needy(VERSION_1 | 2)


# Status, written wrongly ----------------------------------------------------------------------


def test_a_status_bit_cannot_be_cleared():
    machine = Machine().bring_up()
    machine.write(Reg.STATUS, ACKNOWLEDGE)
    assert machine.status == LIVE
    assert machine.rules == ["virtio.status.cleared"]


@pytest.mark.parametrize("bits", [0x10, 0x20, 0x100, 0xFFFFFF00])
def test_undefined_status_bits_are_ignored(bits):
    machine = Machine().bring_up()
    machine.write(Reg.STATUS, LIVE | bits)
    assert machine.status == LIVE
    assert machine.rules == ["virtio.status.undefined"]


def test_only_the_whole_word_0_is_a_reset():
    machine = Machine().bring_up()
    machine.write(Reg.STATUS, 0x100)
    assert machine.status == LIVE


def test_needs_reset_is_the_devices_bit():
    machine = Machine().bring_up()
    machine.write(Reg.STATUS, LIVE | NEEDS_RESET)
    assert machine.status == LIVE
    assert machine.rules == ["virtio.status.needs-reset"]


def test_driver_ok_needs_features_ok():
    machine = Machine()
    machine.write(Reg.STATUS, ACKNOWLEDGE | DRIVER)
    machine.write(Reg.STATUS, ACKNOWLEDGE | DRIVER | DRIVER_OK)
    assert machine.status == ACKNOWLEDGE | DRIVER
    assert machine.rules == ["virtio.status.driver-ok"]


def test_features_ok_and_driver_ok_in_one_write_fall_together():
    machine = Machine()
    machine.write(Reg.STATUS, LIVE)
    assert machine.status == ACKNOWLEDGE | DRIVER
    assert machine.rules == ["virtio.features.version-1"]


def test_status_ff_is_a_failed_driver():
    machine = Machine().bring_up()
    machine.write(Reg.STATUS, 0xFF)
    assert machine.status == LIVE | FAILED
    assert machine.rules == ["virtio.status.undefined"]


def test_after_failed_nothing_works_but_a_reset():
    machine = Machine().bring_up()
    machine.write(Reg.STATUS, LIVE | FAILED)
    with machine.delta() as delta:
        machine.send(frame())
    assert (delta.sent, delta.ring_reads, delta.ring_writes, machine.rules) == (0, 0, 0, [])
    machine.write(Reg.STATUS, LIVE)
    assert machine.status == LIVE | FAILED
    assert machine.rules == ["virtio.status.failed"]
    machine.bring_up()
    machine.send(frame())
    assert machine.tap.frames == [frame()]


# Kicks ----------------------------------------------------------------------------------------


def test_a_kick_before_driver_ok_touches_nothing():
    machine = Machine()
    machine.negotiate()
    machine.queue = machine.lay_out()
    machine.add(frame())
    machine.queue.publish()
    machine.kick()
    assert (machine.ledger.ring_reads, machine.ledger.ring_writes) == (0, 0)
    assert machine.rules == ["virtio.notify.early"]


def test_a_kick_of_a_queue_that_is_not_ready_touches_nothing():
    machine = Machine().bring_up()
    machine.write(Reg.QUEUE_READY, 0)
    with machine.delta() as delta:
        machine.send(frame())
    assert (delta.ring_reads, delta.ring_writes, delta.sent) == (0, 0, 0)
    assert machine.rules == ["virtio.notify.not-ready"]


@pytest.mark.parametrize("index", [2, 0x10001, 0xFFFF, 0xFFFFFFFF])
def test_a_kick_of_a_queue_that_is_not_there_is_ignored(index):
    machine = Machine().bring_up()
    machine.add(frame())
    machine.queue.publish()
    machine.kick(index)
    assert machine.tap.frames == []
    assert machine.rules == ["virtio.notify.no-queue"]


def test_ten_thousand_kicks_for_nothing_are_no_breach_and_no_interrupt():
    machine = Machine().bring_up()
    for _ in range(10_000):
        machine.kick()
    assert (machine.rules, machine.interrupts, machine.tap.frames) == ([], 0, [])


# Giving up, and starting again ----------------------------------------------------------------


def test_a_broken_ring_needs_a_reset_and_says_so():
    machine = Machine().bring_up()
    break_the_ring(machine)
    assert machine.status == LIVE | NEEDS_RESET
    assert (machine.interrupts, machine.line) == (2, 1)
    assert machine.rules == ["virtio.split.avail-jump"]


def test_nothing_moves_while_a_reset_is_needed():
    machine = Machine().bring_up()
    break_the_ring(machine)
    machine.write(Reg.INTERRUPT_ACK, 2)
    machine.queue.write_avail_idx(0)
    with machine.delta() as delta:
        machine.send(frame())
        machine.write(Reg.STATUS, LIVE)
        machine.write(Reg.STATUS, LIVE | NEEDS_RESET)
    assert (delta.sent, delta.ring_reads, delta.ring_writes) == (0, 0, 0)
    assert machine.status == LIVE | NEEDS_RESET
    assert machine.interrupts == 0


def test_a_queue_that_cannot_be_made_ready_needs_a_reset_without_an_interrupt():
    """Before DRIVER_OK there is no driver to hear it (2.1.2)."""
    machine = Machine()
    machine.negotiate()
    assert machine.set_up_queue(1, 3, 0x1000, 0x2000, 0x3000) == 0
    assert machine.status == ACKNOWLEDGE | DRIVER | FEATURES_OK | NEEDS_RESET
    assert machine.interrupts == 0
    assert machine.rules == ["virtio.split.size"]
    assert machine.set_up_queue(1, 8, 0x1000, 0x2000, 0x3000) == 0  # until reset


def test_a_reset_clears_everything():
    machine = Machine().bring_up(EVENT_IDX)
    machine.lay_out(0, 4)
    machine.send(frame())
    break_the_ring(machine)
    machine.write(Reg.QUEUE_SEL, 1)
    machine.write(Reg.STATUS, 0)
    assert (machine.status, machine.interrupts, machine.line) == (0, 0, 0)
    assert (machine.mmio.queue_sel, machine.net.accepted) == (0, 0)
    for index in (0, 1):
        machine.write(Reg.QUEUE_SEL, index)
        assert machine.read(Reg.QUEUE_READY) == 0
        assert machine.net.queues[index].config.size == 0
    assert machine.net.queues[0].ring is None


def test_after_a_reset_the_device_starts_from_0():
    machine = Machine()
    for turn in range(3):
        machine.bring_up(EVENT_IDX if turn % 2 else 0)
        machine.send(frame(turn))
        assert machine.queue.reap() == [(0, 0)]
    assert machine.tap.frames == [frame(0), frame(1), frame(2)]
    assert machine.rules == []


def test_a_reset_storm_leaves_a_working_device():
    machine = Machine()
    for _ in range(500):
        machine.bring_up()
        machine.write(Reg.STATUS, 0)
    machine.bring_up()
    machine.send(frame())
    assert machine.tap.frames == [frame()]


def test_a_reset_in_the_middle_of_a_packet():
    """Another CPU resets the device while it is in writev(): no used entry, no interrupt."""
    machine = Machine().bring_up()
    machine.tap.instead = lambda sent: machine.write(Reg.STATUS, 0)
    for number in range(3):
        machine.add(frame(number), at=0x80000 + 0x1000 * number)
    machine.queue.publish()
    used = bytes(machine.memory.view(machine.queue.used, 70))
    machine.kick()
    assert machine.tap.frames == [frame(0)]
    assert bytes(machine.memory.view(machine.queue.used + 4, 66)) == used[4:]
    assert (machine.status, machine.interrupts, machine.line) == (0, 0, 0)


def test_a_new_ring_in_the_middle_of_a_packet_is_not_written_by_the_old_one():
    machine = Machine().bring_up()

    def restart(sent):
        machine.tap.instead = None
        machine.bring_up()

    machine.tap.instead = restart
    machine.send(frame())
    assert machine.queue.reap() == []
    assert machine.interrupts == 0
    machine.queue = machine.queue
    machine.send(frame(1))
    assert machine.queue.reap() == [(0, 0)]


def test_an_interrupt_that_is_pending_is_withdrawn_by_a_reset():
    machine = Machine().bring_up()
    machine.send(frame())
    assert machine.line == 1
    machine.write(Reg.STATUS, 0)
    assert machine.line == 0


def test_a_driver_that_never_acknowledges_sees_one_level():
    machine = Machine(trace=True).bring_up()
    for number in range(5):
        machine.send(frame(number))
    changes = [event.fields["level"] for event in machine.ledger.trace if event.kind is IRQ_LINE]
    assert changes == [1]


# What it tells --------------------------------------------------------------------------------


def test_the_trace_tells_the_story():
    machine = Machine(trace=True).bring_up()
    machine.send(frame())
    break_the_ring(machine)
    kinds = (
        VIRTIO_SET_STATUS,
        VIRTIO_QUEUE_NOTIFY,
        DEVICE,
        VIRTIO_NOTIFY,
        GUEST_ERROR,
    )
    story = [
        (event.kind.name, *list(event.fields.values())[1:])
        for event in machine.ledger.trace
        if event.kind in kinds
    ]
    assert [line for line in story if line[0] == "virtio_set_status"] == [
        ("virtio_set_status", status) for status in (0, 1, 3, 11, 15)
    ]
    assert story[5:9] == [
        ("virtio_queue_notify", 1),
        ("device", "transmit 60 bytes"),
        ("virtio_notify", "transmitq", False),
        ("virtio_queue_notify", 1),
    ]
    assert story[9][:2] == ("guest_error", "virtio.split.avail-jump")
    assert story[10][0] == "device"
    assert story[10][1].startswith("needs reset: ")


def test_without_a_listener_nothing_is_recorded():
    machine = Machine().bring_up()
    machine.send(frame())
    assert list(machine.ledger.trace) == []


def test_the_link_status_is_told_only_to_a_driver_that_is_there():
    machine = Machine()
    machine.net.set_link(False)
    assert machine.interrupts == 0
    machine.bring_up(VERSION_1 | STATUS)
    machine.net.set_link(True)
    assert machine.interrupts == 2
