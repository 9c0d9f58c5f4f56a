"""ioeventfd and irqfd: which thread works, who leaves KVM, and what it costs."""

from __future__ import annotations

import pytest
from virtio_kit import DRIVER_OK, EVENT_IDX, FAILED, LIVE, NEEDS_RESET, frame
from wired_kit import GSI, NOTIFY, Wired

from toyvisor.qemu.virtio.registers import Reg
from toyvisor.trace.events import (
    IOCTL,
    IOEVENTFD,
    IRQFD,
    KINDS,
    VIRTIO_NOTIFY_IRQFD,
    VIRTIO_QUEUE_NOTIFY,
    VIRTQUEUE_POP,
    Layer,
    Thread,
)
from toyvisor.virtio.net import RECEIVE, TRANSMIT

# Kicks ---------------------------------------------------------------------------------------


def test_a_kick_stays_in_kvm_and_the_main_loop_works():
    machine = Wired(ioeventfd=True).bring_up()
    with machine.delta() as kick:
        assert machine.send(frame(0))
    assert (kick.exits, kick.syscalls, kick.copies, machine.sent) == (0, 0, 0, [])
    with machine.delta() as work:
        assert machine.others() == 2  # to the main loop, and back
    assert machine.sent == [frame(0)]
    assert (work.ppoll, work.event_reads, work.writev, work.syscalls) == (1, 1, 1, 3)
    assert getattr(work, "qemu->host") == 1


def test_without_it_the_kick_is_an_exit_and_the_vcpus_thread_works():
    machine = Wired().bring_up()
    with machine.delta() as kick:
        assert machine.send(frame(0))
    assert (kick.exits, kick.writev, kick.syscalls, machine.sent) == (1, 1, 1, [frame(0)])
    assert machine.others() == 0


def test_kicks_while_the_main_loop_sleeps_come_together():
    machine = Wired(ioeventfd=True).bring_up()
    for number in range(3):
        machine.send(frame(number))
        machine.kick()
    with machine.delta() as delta:
        machine.others()
    assert machine.sent == [frame(number) for number in range(3)]
    assert (delta.ppoll, delta.event_reads) == (1, 1)


def test_each_queue_has_its_eventfd_at_the_notify_register():
    machine = Wired(ioeventfd=True).bring_up()
    assert [args[1:] for args in machine.vm.ioeventfds] == [
        (NOTIFY, 4, RECEIVE),
        (NOTIFY, 4, TRANSMIT),
    ]
    machine.give(2)
    machine.network.deliver(frame(1))
    machine.others()
    assert machine.received() == [frame(1)]


def test_only_a_kick_that_kvm_can_tell_for_one_stays_there():
    machine = Wired(ioeventfd=True).bring_up()
    with machine.delta() as delta:
        machine.kick(2)
        machine.kick(0xFFFF0001)
    assert delta.exits == 2
    assert machine.rules == ["virtio.notify.no-queue"] * 2


def test_a_kick_that_comes_out_to_qemu_after_all_goes_to_the_main_loop():
    """As when QEMU runs without KVM: virtio_queue_notify() sets the host notifier."""
    machine = Wired(ioeventfd=True).bring_up()
    machine.add(frame(0))
    machine.queue.publish()
    with machine.delta() as delta:
        machine.mmio.write(Reg.QUEUE_NOTIFY, 4, TRANSMIT)
    assert (delta.event_writes, machine.sent) == (1, [])
    machine.others()
    assert machine.sent == [frame(0)]


# Starting and stopping ------------------------------------------------------------------------


def test_before_driver_ok_a_kick_is_an_exit_and_a_mistake():
    machine = Wired(ioeventfd=True)
    machine.set_up()
    assert machine.vm.ioeventfds == []
    with machine.delta() as delta:
        machine.kick()
    assert delta.exits == 1
    assert machine.rules == ["virtio.notify.early"]


def test_what_was_there_at_driver_ok_is_served_by_the_main_loop():
    machine = Wired(ioeventfd=True)
    machine.set_up()
    machine.add(frame(0))
    machine.queue.publish()
    with machine.delta() as delta:
        machine.write(Reg.STATUS, LIVE)
    assert (delta.event_writes, machine.sent) == (2, [])  # QEMU kicks both queues itself
    machine.others()
    assert machine.sent == [frame(0)]
    assert machine.rules == []


def test_a_queue_that_is_not_ready_is_not_kicked_by_qemu():
    machine = Wired(ioeventfd=True)
    machine.negotiate()
    machine.queue = machine.lay_out(TRANSMIT)
    with machine.delta() as delta:
        machine.write(Reg.STATUS, LIVE)
    machine.others()
    assert delta.event_writes == 1
    assert machine.rules == []


def test_a_kick_of_a_queue_that_is_not_ready_is_reported_by_the_main_loop():
    machine = Wired(ioeventfd=True)
    machine.negotiate()
    machine.queue = machine.lay_out(TRANSMIT)
    machine.write(Reg.STATUS, LIVE)
    machine.kick(RECEIVE)
    assert machine.rules == []
    machine.others()
    assert machine.rules == ["virtio.notify.not-ready"]


def test_a_reset_gives_the_register_back_and_leaves_no_handler():
    machine = Wired(ioeventfd=True).bring_up()
    kicks = [args[0] for args in machine.vm.ioeventfds]
    machine.write(Reg.STATUS, 0)
    assert machine.vm.ioeventfds == []
    assert not any(eventfd.has_waiters or eventfd.readable for eventfd in kicks)
    with machine.delta() as delta:
        machine.kick()
    assert delta.exits == 1


def test_a_kick_that_nobody_had_seen_is_seen_to_before_the_reset():
    """QEMU: virtio_bus_cleanup_host_notifier(). What was kicked was the device's."""
    machine = Wired(ioeventfd=True).bring_up()
    machine.send(frame(0))
    machine.write(Reg.STATUS, 0)
    assert machine.sent == [frame(0)]
    machine.others()
    assert machine.sent == [frame(0)]


def test_a_kick_that_nobody_had_seen_is_seen_to_before_the_queue_stops():
    machine = Wired(ioeventfd=True).bring_up()
    machine.send(frame(0))
    machine.write(Reg.QUEUE_SEL, TRANSMIT)
    machine.write(Reg.QUEUE_READY, 0)
    assert machine.sent == [frame(0)]
    machine.others()
    assert machine.rules == []


def test_a_second_driver_finds_everything_as_the_first():
    machine = Wired(ioeventfd=True)
    for number in range(3):
        machine.bring_up()
        machine.send(frame(number))
        machine.others()
        assert len(machine.vm.ioeventfds) == 2
    assert machine.sent == [frame(number) for number in range(3)]


@pytest.mark.parametrize("status", [FAILED, LIVE | FAILED])
def test_a_driver_that_gives_up_is_served_no_more(status):
    machine = Wired(ioeventfd=True).bring_up()
    machine.send(frame(0))
    machine.write(Reg.STATUS, LIVE | status)
    assert machine.vm.ioeventfds == []
    machine.others()
    assert machine.sent == []


def test_a_broken_ring_is_found_in_the_main_loop_and_ends_it():
    machine = Wired(ioeventfd=True).bring_up()
    machine.queue.make_available(0xFFFF)
    machine.kick()
    assert not machine.status & NEEDS_RESET
    machine.others()
    assert machine.rules == ["virtio.split.head-range"]
    assert machine.status & NEEDS_RESET
    assert machine.interrupts == 2
    assert machine.vm.ioeventfds == []
    machine.bring_up()
    machine.send(frame(0))
    machine.others()
    assert machine.sent == [frame(0)]


def test_a_device_that_is_broken_at_driver_ok_is_not_started():
    machine = Wired(ioeventfd=True)
    machine.negotiate()
    assert machine.set_up_queue(TRANSMIT, 8, 1, 2, 4) == 0  # misaligned: needs reset
    machine.write(Reg.STATUS, LIVE)
    assert machine.status & (NEEDS_RESET | DRIVER_OK) == NEEDS_RESET | DRIVER_OK
    assert machine.vm.ioeventfds == []


@pytest.mark.parametrize("features", [0, EVENT_IDX])
def test_frames_wait_for_a_buffer_whose_kick_stays_in_kvm(features):
    machine = Wired(ioeventfd=True).bring_up(features)
    for number in range(2):
        machine.network.deliver(frame(number))
    machine.others()
    with machine.delta() as delta:
        assert machine.give(2)
    assert delta.exits == 0
    machine.others()
    assert machine.received() == [frame(0), frame(1)]


# irqfd -----------------------------------------------------------------------------------------


def test_without_irqfd_a_used_buffer_raises_the_line():
    machine = Wired().bring_up()
    machine.send(frame(0))
    assert (machine.line, machine.vm.lines, machine.interrupts) == (1, [], 1)
    machine.write(Reg.INTERRUPT_ACK, 1)
    assert (machine.line, machine.interrupts) == (0, 0)


def test_with_irqfd_it_is_a_system_call_and_an_edge():
    machine = Wired(irqfd=True).bring_up()
    with machine.delta() as delta:
        machine.send(frame(0))
    assert (delta.event_writes, delta.edges, delta.exits) == (1, 1, 1)
    assert (machine.line, machine.interrupts) == (0, 1)
    with machine.delta() as delta:
        machine.write(Reg.INTERRUPT_ACK, 1)
    assert (delta.edges, delta.event_writes, machine.interrupts) == (0, 0, 0)


def test_each_event_is_an_edge_of_its_own_acknowledged_or_not():
    """Nobody holds the line up, so a second event must not hide behind the first."""
    machine = Wired(irqfd=True).bring_up()
    with machine.delta() as delta:
        machine.send(frame(0))
        machine.send(frame(1))
        machine.net.set_link(False)
    assert delta.edges == 3
    assert machine.interrupts == 3
    machine.write(Reg.INTERRUPT_ACK, 1)
    assert (machine.interrupts, machine.line) == (2, 0)


def test_an_interrupt_not_wanted_is_no_edge():
    machine = Wired(irqfd=True).bring_up()
    machine.queue.want_interrupts(False)
    with machine.delta() as delta:
        machine.send(frame(0))
    assert (delta.edges, delta.event_writes, delta.suppressed) == (0, 0, 1)


def test_the_irqfd_belongs_to_the_line_of_the_window():
    machine = Wired(irqfd=True)
    ((eventfd, gsi),) = machine.vm.irqfds
    assert (eventfd.name, gsi) == ("virtio-net irqfd", GSI)


def test_a_device_that_gives_up_still_tells_the_driver():
    machine = Wired(ioeventfd=True, irqfd=True).bring_up()
    machine.queue.make_available(0xFFFF)
    machine.kick()
    with machine.delta() as delta:
        machine.others()
    assert (delta.edges, machine.interrupts) == (1, 2)


# The trace --------------------------------------------------------------------------------------


def test_the_way_of_a_kick_and_of_the_interrupt():
    machine = Wired(ioeventfd=True, irqfd=True, trace=True).bring_up()
    del machine.ledger.trace.records[:]
    machine.send(frame(0))
    machine.others()
    events = list(machine.ledger.trace)
    way = [
        (event.thread, event.layer, event.kind)
        for event in events
        if event.kind in (IOEVENTFD, VIRTIO_QUEUE_NOTIFY, VIRTQUEUE_POP, VIRTIO_NOTIFY_IRQFD, IRQFD)
    ]
    assert way == [
        (Thread.VCPU, Layer.KVM, IOEVENTFD),
        (Thread.MAIN_LOOP, Layer.QEMU, VIRTIO_QUEUE_NOTIFY),
        (Thread.MAIN_LOOP, Layer.QEMU, VIRTQUEUE_POP),
        (Thread.MAIN_LOOP, Layer.QEMU, VIRTIO_NOTIFY_IRQFD),
        (Thread.MAIN_LOOP, Layer.KVM, IRQFD),
    ]
    assert [event.kind for event in events].count(KINDS["sched_switch"]) == 2


def test_the_ioctls_are_on_record():
    machine = Wired(ioeventfd=True, trace=True).bring_up()
    machine.write(Reg.STATUS, 0)
    requests = [e.fields["request"] for e in machine.ledger.trace if e.kind is IOCTL]
    assert requests == ["KVM_IOEVENTFD"] * 2 + ["KVM_IOEVENTFD (deassign)"] * 2
