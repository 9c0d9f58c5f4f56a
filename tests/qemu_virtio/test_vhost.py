"""vhost as QEMU sets it up, tears it down, and answers for it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from virtio_kit import EVENT_IDX, FAILED, LIVE, NEEDS_RESET, frame
from wired_kit import GSI, Wired

from toyvisor.errors import UsageError
from toyvisor.host.vhost_net import TX_FORMAT
from toyvisor.qemu.virtio.device import QUEUE_FEATURES, VirtioDevice
from toyvisor.qemu.virtio.ioeventfd import KvmWiring, connect
from toyvisor.qemu.virtio.mmio import VirtioMmio
from toyvisor.qemu.virtio.registers import Reg
from toyvisor.trace.events import (
    COPY,
    IOCTL,
    IOEVENTFD,
    IRQFD,
    SYSCALL,
    VHOST_DEV_START,
    VHOST_DEV_STOP,
    VHOST_SIGNAL,
    VHOST_WORK,
    Layer,
    Thread,
)
from toyvisor.virtio.driver import DriverQueue
from toyvisor.virtio.net import MRG_RXBUF, RECEIVE, TRANSMIT

FEATURES = {"plain": 0, "event_idx": EVENT_IDX}
each_way = pytest.mark.parametrize("features", FEATURES.values(), ids=FEATURES)


def vhost_has(machine: Wired) -> list[int]:
    """The queues that vhost has."""
    return [
        queue.index for queue in machine.net.queue_service.vhost.queues if queue.ring is not None
    ]


# What it saves ---------------------------------------------------------------------------------


@each_way
def test_a_packet_out_passes_qemu_by(features):
    machine = Wired(vhost=True).bring_up(features)
    with machine.delta() as delta:
        assert machine.send(frame(0, 200))
        assert machine.others() == 2  # to vhost, and back
    assert machine.sent == [frame(0, 200)]
    assert (delta.exits, delta.syscalls, delta.ppoll) == (0, 0, 0)
    assert (delta.copies, delta.guest_to_host, delta.bytes) == (1, 1, 200)
    assert (delta.edges, machine.interrupts) == (1, 1)
    assert machine.queue.reap() == [(0, 0)]


@each_way
def test_a_packet_in_passes_qemu_by(features):
    machine = Wired(vhost=True).bring_up(features)
    machine.give()
    machine.others()
    with machine.delta() as delta:
        machine.network.deliver(frame(0, 200))
        assert machine.others() == 2
    assert machine.received() == [frame(0, 200)]
    assert (delta.exits, delta.syscalls, delta.ppoll) == (0, 0, 0)
    assert (delta.copies, delta.host_to_guest, delta.bytes) == (1, 1, 200)
    assert delta.edges == 1


def test_the_same_work_without_vhost_for_comparison():
    """One packet each way: what the main loop needs for it."""
    machine = Wired(ioeventfd=True, irqfd=True).bring_up()
    machine.give()
    machine.others()
    with machine.delta() as delta:
        machine.send(frame(0, 200))
        machine.network.deliver(frame(1, 200))
        machine.others()
    assert machine.sent == [frame(0, 200)]
    assert machine.received() == [frame(1, 200)]
    assert delta.copies == 3  # out: one; in: to QEMU, and on to the guest
    assert (delta.ppoll, delta.writev, delta.read, delta.event_reads) == (1, 1, 1, 1)


def test_frames_in_many_buffers_are_negotiated_with_vhost_too():
    machine = Wired(vhost=True).bring_up(MRG_RXBUF)
    machine.rx.add_buffer([], [(0x60000, 40)])
    machine.rx.add_buffer([], [(0x61000, 400)])
    machine.publish(machine.rx)
    machine.network.deliver(frame(0, 60))
    machine.others()
    assert [used.length for used in machine.rx.reap()] == [40, 32]
    assert bytes(machine.memory.view(0x60000 + 10, 2)) == b"\x02\0"


def test_an_interrupt_not_wanted_is_counted_as_one():
    machine = Wired(vhost=True).bring_up()
    machine.queue.want_interrupts(False)
    machine.send(frame(0))
    with machine.delta() as delta:
        machine.others()
    assert (delta.edges, delta.suppressed) == (0, 1)


def test_a_kick_that_comes_out_to_qemu_after_all_goes_to_vhost():
    machine = Wired(vhost=True).bring_up()
    machine.add(frame(0))
    machine.queue.publish()
    machine.mmio.write(Reg.QUEUE_NOTIFY, 4, TRANSMIT)
    assert machine.sent == []
    machine.others()
    assert machine.sent == [frame(0)]
    assert machine.ledger.guest_to_host.count == 1


def test_qemu_keeps_its_hands_off_the_rings_and_the_tap():
    machine = Wired(vhost=True).bring_up()
    machine.give()
    machine.others()
    machine.network.deliver(frame(0))
    machine.client.flush()
    machine.client.tap_send()
    assert machine.network.queued == 1
    machine.others()
    assert machine.received() == [frame(0)]
    assert machine.ledger.qemu_to_guest.count == 0


# InterruptStatus -------------------------------------------------------------------------------


def test_the_status_shows_what_vhost_used_until_it_is_acknowledged():
    machine = Wired(vhost=True).bring_up()
    assert machine.interrupts == 0
    machine.send(frame(0))
    assert machine.interrupts == 0  # not yet
    machine.others()
    assert (machine.interrupts, machine.interrupts) == (1, 1)
    machine.write(Reg.INTERRUPT_ACK, 1)
    assert machine.interrupts == 0


@pytest.mark.parametrize("which", ["out", "in"])
def test_it_shows_either_queue(which):
    machine = Wired(vhost=True).bring_up()
    machine.give()
    if which == "out":
        machine.send(frame(0))
    else:
        machine.network.deliver(frame(0))
    machine.others()
    assert machine.interrupts == 1


def test_what_is_used_between_the_look_and_the_acknowledgement_is_not_forgotten():
    """Its interrupt comes after the acknowledgement, and its handler has to find the bit."""
    machine = Wired(vhost=True).bring_up()
    machine.send(frame(0))
    machine.others()
    assert machine.interrupts == 1
    machine.queue.reap()
    machine.send(frame(1))
    with machine.delta() as delta:
        machine.others()
    machine.write(Reg.INTERRUPT_ACK, 1)
    assert (delta.edges, machine.interrupts) == (1, 1)


def test_a_look_costs_two_bytes_a_queue_and_no_system_call():
    machine = Wired(vhost=True).bring_up()
    with machine.delta() as delta:
        machine.read(Reg.INTERRUPT_STATUS)
    assert (delta.ring_reads, delta.ring_bytes, delta.syscalls) == (2, 4, 0)
    machine = Wired(ioeventfd=True).bring_up()
    with machine.delta() as delta:
        machine.read(Reg.INTERRUPT_STATUS)
    assert delta.ring_reads == 0


def test_both_bits_show_what_they_should():
    machine = Wired(vhost=True).bring_up()
    machine.send(frame(0))
    machine.others()
    machine.net.change_config(6, b"\0\0")
    assert machine.interrupts == 3
    machine.write(Reg.INTERRUPT_ACK, 2)
    assert machine.interrupts == 1


def test_one_acknowledgement_is_enough_for_both_queues():
    machine = Wired(vhost=True).bring_up()
    machine.give()
    machine.network.deliver(frame(0))
    machine.send(frame(1))
    machine.others()
    assert machine.interrupts == 1
    machine.write(Reg.INTERRUPT_ACK, 1)
    assert machine.interrupts == 0


def test_a_driver_that_never_looks_has_lost_nothing():
    """It acknowledges unseen; the next handler is told of a use that it knows. No harm."""
    machine = Wired(vhost=True).bring_up()
    machine.send(frame(0))
    machine.others()
    machine.write(Reg.INTERRUPT_ACK, 1)
    assert machine.interrupts == 1
    machine.write(Reg.INTERRUPT_ACK, 1)
    assert machine.interrupts == 0


class Believer:
    """A driver that works when it is interrupted, on what InterruptStatus tells it."""

    def __init__(self, features: int) -> None:
        self.machine = Wired(vhost=True).bring_up(features)
        self.sent: list[bytes] = []
        self.delivered: list[bytes] = []
        self.taken: list[bytes] = []
        self.handled = self.machine.vm.edges

    def send(self) -> None:
        if self.machine.queue.free_descriptors:
            self.sent.append(frame(len(self.sent)))
            self.machine.send(self.sent[-1])

    def deliver(self) -> None:
        self.delivered.append(frame(100 + len(self.delivered)))
        self.machine.network.deliver(self.delivered[-1])

    def give(self) -> None:
        self.machine.give(self.machine.rx.free_descriptors)

    def others(self) -> None:
        self.machine.others()

    def handler(self) -> None:
        """Linux: vm_interrupt(). Without an interrupt it does not run."""
        if self.handled == self.machine.vm.edges:
            return
        self.handled = self.machine.vm.edges
        bits = self.machine.interrupts
        self.machine.write(Reg.INTERRUPT_ACK, bits)
        if bits & 1:
            self.work_off()

    def work_off(self) -> None:
        """vring_interrupt() for each queue: take all, ask for the next one, look once more."""
        machine = self.machine
        for ring in (machine.rx, machine.queue):
            while True:
                if ring is machine.rx:
                    self.taken += machine.received()
                else:
                    ring.reap()
                ring.want_interrupts(True)
                if not ring.more_used:
                    break


@settings(deadline=None, max_examples=100)
@given(
    features=st.sampled_from([0, EVENT_IDX]),
    steps=st.lists(st.sampled_from(["send", "deliver", "give", "others", "handler"]), max_size=40),
)
def test_a_driver_that_believes_the_status_loses_nothing(features, steps):
    driver = Believer(features)
    for step in steps:
        getattr(driver, step)()
    for _ in range(50):
        driver.others()
        driver.handler()
        driver.give()
    machine = driver.machine
    assert (machine.sent, driver.taken) == (driver.sent, driver.delivered)
    assert not machine.queue.more_used
    assert machine.rules == []


# Starting and stopping -----------------------------------------------------------------------


def test_vhost_has_the_queues_from_driver_ok_to_reset():
    machine = Wired(vhost=True)
    machine.set_up()
    assert vhost_has(machine) == []
    machine.write(Reg.STATUS, LIVE)
    assert vhost_has(machine) == [RECEIVE, TRANSMIT]
    assert [gsi for _, gsi in machine.vm.irqfds] == [GSI] * 3  # QEMU's own, and one a queue
    assert len(machine.vm.ioeventfds) == 2
    machine.write(Reg.STATUS, 0)
    assert vhost_has(machine) == []
    assert len(machine.vm.irqfds) == 1
    assert machine.vm.ioeventfds == []
    assert not machine.network.has_waiters


def test_what_was_there_at_driver_ok_is_served():
    machine = Wired(vhost=True)
    machine.set_up()
    machine.add(frame(0))
    machine.queue.publish()
    machine.rx.add_buffer([], [(0x60000, 1526)])
    machine.rx.publish()
    machine.network.deliver(frame(1))
    machine.write(Reg.STATUS, LIVE)
    machine.others()
    assert machine.sent == [frame(0)]
    assert machine.received() == [frame(1)]


def test_a_reset_stops_the_worker_in_its_tracks():
    machine = Wired(vhost=True).bring_up()
    machine.send(frame(0))
    machine.write(Reg.STATUS, 0)
    with machine.delta() as delta:
        machine.others()
    assert (delta.ring_reads, delta.ring_writes, delta.copies, delta.edges) == (0, 0, 0, 0)


def test_driver_after_driver():
    machine = Wired(vhost=True)
    for number in range(3):
        machine.bring_up(EVENT_IDX * (number % 2))
        machine.give()
        machine.send(frame(number))
        machine.network.deliver(frame(10 + number))
        machine.others()
        assert machine.received() == [frame(10 + number)]
        assert machine.interrupts == 1
    assert machine.sent == [frame(number) for number in range(3)]
    assert machine.rules == []


def test_frames_that_come_without_a_driver_wait_in_the_tap():
    machine = Wired(vhost=True).bring_up()
    machine.write(Reg.STATUS, 0)
    for number in range(3):
        machine.network.deliver(frame(number))
    machine.others()
    assert machine.network.queued == 3
    machine.bring_up()
    machine.give(3)
    machine.others()
    assert machine.received() == [frame(number) for number in range(3)]


@each_way
def test_one_queue_can_stop_and_start_while_the_other_runs(features):
    machine = Wired(vhost=True).bring_up(features)
    machine.give()
    machine.write(Reg.QUEUE_SEL, TRANSMIT)
    machine.write(Reg.QUEUE_READY, 0)
    assert vhost_has(machine) == [RECEIVE]
    machine.network.deliver(frame(0))
    machine.others()
    assert machine.received() == [frame(0)]
    machine.queue = machine.lay_out(TRANSMIT, 8, features)
    assert vhost_has(machine) == [RECEIVE, TRANSMIT]
    machine.send(frame(1))
    machine.others()
    assert machine.sent == [frame(1)]
    machine.write(Reg.INTERRUPT_ACK, 1)
    machine.send(frame(2))
    machine.others()
    assert machine.interrupts == 1


def test_a_receive_queue_filled_before_it_is_ready_again_needs_no_kick():
    machine = Wired(vhost=True)
    machine.set_up()
    machine.write(Reg.STATUS, LIVE)
    machine.others()
    machine.write(Reg.QUEUE_SEL, RECEIVE)
    machine.write(Reg.QUEUE_READY, 0)
    machine.rx = DriverQueue(machine.memory, machine.rx.desc, 8)
    machine.rx.add_buffer([], [(0x60000, 1526)])
    machine.rx.publish()
    ring = machine.rx
    assert machine.set_up_queue(RECEIVE, 8, ring.desc, ring.avail, ring.used) == 1
    machine.others()
    machine.network.deliver(frame(0))
    machine.others()
    assert machine.received() == [frame(0)]


def test_a_queue_that_is_not_ready_stays_with_nobody():
    machine = Wired(vhost=True)
    machine.negotiate()
    machine.queue = machine.lay_out(TRANSMIT)
    machine.write(Reg.STATUS, LIVE)
    machine.others()
    assert vhost_has(machine) == [TRANSMIT]
    machine.network.deliver(frame(0))
    assert machine.others() == 0
    machine.send(frame(1))
    machine.others()
    assert machine.sent == [frame(1)]


def test_a_driver_that_gives_up_is_served_no_more():
    machine = Wired(vhost=True).bring_up()
    machine.write(Reg.STATUS, LIVE | FAILED)
    assert vhost_has(machine) == []
    machine.send(frame(0))
    machine.others()
    assert machine.sent == []


# The cable: QEMU takes the queues back, and gives them to vhost again ------------------------


@each_way
def test_without_a_cable_qemu_goes_on_where_vhost_was(features):
    machine = Wired(vhost=True).bring_up(features)
    machine.send(frame(0))
    machine.others()
    machine.queue.reap()
    machine.net.set_link(False)
    assert vhost_has(machine) == []
    for number in (1, 2):
        machine.send(frame(number))
        machine.others()
        assert len(machine.queue.reap()) == 1
    assert (machine.sent, machine.net.packets_dropped) == ([frame(0)], 2)
    machine.net.set_link(True)
    assert vhost_has(machine) == [RECEIVE, TRANSMIT]
    machine.send(frame(3))
    machine.others()
    assert machine.sent == [frame(0), frame(3)]
    assert machine.rules == []


def test_without_a_cable_a_kick_still_counts_when_its_queue_stops():
    machine = Wired(vhost=True).bring_up()
    machine.net.set_link(False)
    machine.others()
    machine.send(frame(0))
    machine.write(Reg.QUEUE_SEL, TRANSMIT)
    machine.write(Reg.QUEUE_READY, 0)
    assert machine.net.packets_dropped == 1


def test_a_driver_that_comes_while_the_cable_is_out():
    machine = Wired(vhost=True)
    machine.net.set_link(False)
    machine.bring_up()
    assert vhost_has(machine) == []
    machine.send(frame(0))
    machine.others()
    assert machine.net.packets_dropped == 1
    machine.net.set_link(True)
    machine.send(frame(1))
    machine.others()
    assert machine.sent == [frame(1)]
    machine.write(Reg.STATUS, 0)
    machine.net.set_link(False)
    machine.net.set_link(True)
    assert vhost_has(machine) == []


def test_what_vhost_used_is_shown_also_after_it_has_gone():
    machine = Wired(vhost=True).bring_up()
    machine.send(frame(0))
    machine.others()
    machine.net.set_link(False)
    assert machine.interrupts & 1


def test_a_frame_that_qemu_held_is_lost_when_vhost_takes_over():
    """QEMU purges its queue there. Only without a cable can it hold one, and then drops it."""
    machine = Wired(vhost=True).bring_up()
    machine.net.set_link(False)
    machine.network.deliver(frame(0))
    machine.others()
    machine.net.set_link(True)
    machine.network.deliver(frame(1))
    machine.give(2)
    machine.others()
    assert machine.received() == [frame(1)]
    assert machine.net.receive_dropped == 1


# A broken driver --------------------------------------------------------------------------------


def test_qemu_hears_of_a_broken_ring_in_its_main_loop():
    machine = Wired(vhost=True).bring_up()
    machine.queue.make_available(0xFFFF)
    machine.kick()
    with machine.delta() as delta:
        machine.others()
    assert machine.rules == ["virtio.split.head-range"]
    assert machine.status & NEEDS_RESET
    assert (delta.ppoll, delta.event_reads) == (1, 1)
    assert (machine.interrupts, delta.edges) == (2, 1)
    assert vhost_has(machine) == []
    assert machine.vm.ioeventfds == []


def test_packets_before_the_broken_one_are_sent_and_told_of():
    machine = Wired(vhost=True).bring_up()
    machine.add(frame(0))
    machine.queue.make_available(0xFFFF)
    machine.kick()
    machine.others()
    assert machine.sent == [frame(0)]
    assert machine.interrupts == 3


def test_both_queues_broken_are_both_reported():
    machine = Wired(vhost=True).bring_up()
    machine.network.deliver(frame(0))
    machine.rx.make_available(0xFFFF)
    machine.queue.make_available(8)
    machine.kick(RECEIVE)
    machine.kick(TRANSMIT)
    machine.others()
    assert machine.rules == ["virtio.split.head-range"] * 2


def test_what_is_no_packet_stops_the_device():
    machine = Wired(vhost=True).bring_up()
    machine.queue.add_buffer([], [(0x80000, 100)])
    machine.queue.publish()
    machine.kick()
    machine.others()
    assert machine.rules == [TX_FORMAT.name]
    assert machine.status & NEEDS_RESET


def test_a_reset_before_qemu_heard_of_it_is_a_fresh_start():
    machine = Wired(vhost=True).bring_up()
    machine.queue.make_available(0xFFFF)
    machine.kick()
    machine.net.queue_service.vhost.run()
    machine.write(Reg.STATUS, 0)
    machine.bring_up()
    assert machine.rules == []
    assert not machine.status & NEEDS_RESET
    machine.send(frame(0))
    machine.others()
    assert machine.sent == [frame(0)]
    machine.queue.make_available(0xFFFF)
    machine.kick()
    machine.others()
    assert machine.rules == ["virtio.split.head-range"]


def test_ten_thousand_kicks_of_a_broken_queue_cost_nothing():
    machine = Wired(vhost=True).bring_up()
    machine.queue.make_available(0xFFFF)
    machine.kick()
    machine.others()
    for _ in range(10_000):
        machine.kick()
    assert machine.others() == 0
    assert len(machine.errors.entries) == 1


# Wiring -----------------------------------------------------------------------------------------


def test_vhost_implies_ioeventfd_and_irqfd():
    machine = Wired(vhost=True)
    assert machine.mmio.irqfd is not None
    machine.bring_up()
    assert len(machine.vm.ioeventfds) == 2


def test_only_network_devices_can_have_vhost():
    machine = Wired()
    device = VirtioDevice(machine.context, features=int(QUEUE_FEATURES))
    transport = VirtioMmio(machine.context, device)
    wiring = KvmWiring(machine.vm, 0xD0002000, 7, machine.main_loop, machine.scheduler)
    with pytest.raises(UsageError, match="network devices only"):
        connect(transport, wiring, vhost=True)


def test_nothing_asked_for_is_nothing_wired():
    machine = Wired().bring_up()
    assert machine.net.queue_service is None
    assert (machine.vm.ioeventfds, machine.vm.irqfds) == ([], [])


# The trace ---------------------------------------------------------------------------------------


def test_the_way_of_a_packet_in_the_trace_is_all_kernel():
    machine = Wired(vhost=True, trace=True).bring_up()
    del machine.ledger.trace.records[:]
    machine.send(frame(0))
    machine.others()
    events = list(machine.ledger.trace)
    assert {event.layer for event in events} == {Layer.KVM, Layer.HOST}
    kinds = (IOEVENTFD, VHOST_WORK, COPY, VHOST_SIGNAL, IRQFD)
    assert [(event.thread, event.kind) for event in events if event.kind in kinds] == [
        (Thread.VCPU, IOEVENTFD),
        (Thread.VHOST, VHOST_WORK),
        (Thread.VHOST, COPY),
        (Thread.VHOST, VHOST_SIGNAL),
        (Thread.VHOST, IRQFD),
    ]
    assert not any(event.kind is SYSCALL for event in events)


def test_setting_up_is_on_record():
    machine = Wired(vhost=True, trace=True).bring_up()
    machine.write(Reg.STATUS, 0)
    kinds = [e.kind for e in machine.ledger.trace if e.kind in (VHOST_DEV_START, VHOST_DEV_STOP)]
    assert kinds == [VHOST_DEV_START, VHOST_DEV_STOP]
    requests = [e.fields["request"] for e in machine.ledger.trace if e.kind is IOCTL]
    ring = ["KVM_IRQFD", *(f"VHOST_SET_VRING_{what}" for what in ("NUM", "BASE", "ADDR"))]
    ring += ["VHOST_SET_VRING_KICK", "VHOST_SET_VRING_CALL"]
    assert requests == [
        *["KVM_IOEVENTFD"] * 2,
        "VHOST_SET_FEATURES",
        *ring * 2,
        "VHOST_NET_SET_BACKEND",
        "VHOST_NET_SET_BACKEND",
        *["VHOST_GET_VRING_BASE", "KVM_IRQFD (deassign)"] * 2,
        *["KVM_IOEVENTFD (deassign)"] * 2,
    ]
