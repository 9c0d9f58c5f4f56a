"""ioeventfd and irqfd (Linux: virt/kvm/eventfd.c), and the bus an ioeventfd sits on."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toyvisor.errors import UsageError
from toyvisor.exit_reasons import ExitReason, KvmExit
from toyvisor.guest.assembler import assemble_text
from toyvisor.host.eventfd import EventFd
from toyvisor.kvm.api import KvmRegs
from toyvisor.kvm.eventfd import LENGTHS, IoEventFd, IoEventFds, IrqFds
from toyvisor.kvm.io_bus import KvmIoBus
from toyvisor.kvm.vm import Kvm
from toyvisor.modes import CpuMode
from toyvisor.qemu.boot import boot_sregs, write_boot_tables
from toyvisor.trace.events import IOEVENTFD, IRQFD, KVM_FAST_MMIO, Trace
from toyvisor.trace.ledger import Ledger

AT = 0xD0000050
PAGE = 0x1000


class Other:
    """A device that takes everything it is offered."""

    def __init__(self) -> None:
        self.stores: list[tuple[int, int, int]] = []

    def accepts(self, address: int, size: int, value: int | None) -> bool:
        return True

    def read(self, address: int, size: int) -> int | None:
        return 0x77

    def write(self, address: int, size: int, value: int) -> bool:
        self.stores.append((address, size, value))
        return True


class Bench:
    """The buses of a VM with its eventfds."""

    def __init__(self, *, trace: bool = False) -> None:
        self.trace = Trace(enabled=trace)
        self.mmio, self.pio = KvmIoBus(12), KvmIoBus(0)
        self.ioeventfds = IoEventFds(self.mmio, self.pio, self.trace)
        self.lines: list[tuple[int, int]] = []
        self.irqfds = IrqFds(lambda gsi, level: self.lines.append((gsi, level)), self.trace)

    def kick(self, length: int = 4, datamatch: int | None = None, **where: object) -> EventFd:
        eventfd = EventFd("kick")
        self.ioeventfds.assign(eventfd, where.pop("at", AT), length, datamatch, **where)
        return eventfd


# The bus ---------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [0, 12])
@pytest.mark.parametrize("length", [0, 1, 4, PAGE, 3 * PAGE])
def test_an_unregistered_device_is_asked_no_more(bits: int, length: int) -> None:
    bus, device, stays = KvmIoBus(bits), Other(), Other()
    bus.register(AT, length, device)
    bus.register(AT + max(length - 1, 0), 1, stays)
    assert bus.write(AT, 1, 1)
    assert (bus.read(AT, 1), len(device.stores)) == (0x77, 1)
    bus.unregister(device)
    assert bus.write(AT + max(length - 1, 0), 1, 2)
    assert (len(device.stores), len(stays.stores)) == (1, 1)
    bus.unregister(stays)
    assert not bus.write(AT, 1, 3)
    assert bus.read(AT, 1) is None


def test_unregistering_a_stranger_does_nothing() -> None:
    bus, device = KvmIoBus(12), Other()
    bus.register(AT, 4, device)
    bus.unregister(Other())
    assert bus.write(AT, 4, 1)


def test_a_device_with_two_ranges_loses_both() -> None:
    bus, device = KvmIoBus(12), Other()
    bus.register(AT, 4, device)
    bus.register(AT + PAGE, 4, device)
    bus.unregister(device)
    assert not bus.write(AT, 4, 1)
    assert not bus.write(AT + PAGE, 4, 1)


@pytest.mark.parametrize("at", [AT, 0xD0000000, 0xD0000FFF])
def test_length_0_is_asked_about_every_width_in_its_own_page(at: int) -> None:
    bus, device = KvmIoBus(12), Other()
    bus.register(at, 0, device)
    for size in (1, 2, 4, 8):
        assert bus.write(at, size, 5)
    assert len(device.stores) == 4
    assert not bus.write(at - 1, 1, 5)


# What signals ----------------------------------------------------------------------------


@pytest.mark.parametrize("length", LENGTHS)
def test_a_store_of_the_right_width_signals(length: int) -> None:
    bench = Bench()
    eventfd = bench.kick(length)
    hits = [size for size in (1, 2, 4, 8) if bench.mmio.write(AT, size, 0x12)]
    assert hits == ([length] if length else [1, 2, 4, 8])
    assert eventfd.signals == len(hits)


def test_data_decides_which_queue_was_kicked() -> None:
    bench = Bench()
    queues = [bench.kick(4, index) for index in range(3)]
    assert [bench.mmio.write(AT, 4, index) for index in (0, 2, 2, 3)] == [True, True, True, False]
    assert [eventfd.read() for eventfd in queues] == [1, 0, 2]


def test_the_address_has_to_be_exact() -> None:
    bench = Bench()
    eventfd = bench.kick(0)
    for offset in (-4, -1, 1, 4, 8):
        assert not bench.mmio.write(AT + offset, 1, 0)
    assert eventfd.signals == 0


def test_a_load_is_never_taken() -> None:
    bench = Bench()
    eventfd = bench.kick(0)
    assert bench.mmio.read(AT, 4) is None
    assert eventfd.signals == 0


def test_memory_and_ports_are_two_things() -> None:
    bench = Bench()
    port, memory = bench.kick(2, at=0x300, pio=True), bench.kick(2, at=0x300)
    assert bench.pio.write(0x300, 2, 1)
    assert (port.signals, memory.signals) == (1, 0)


def test_what_does_not_fit_goes_on_to_the_next_device() -> None:
    bench, other = Bench(), Other()
    eventfd = bench.kick(4, 1)
    bench.mmio.register(AT & ~(PAGE - 1), PAGE, other)
    assert bench.mmio.write(AT, 4, 1)
    assert bench.mmio.write(AT, 4, 2)
    assert bench.mmio.write(AT, 2, 1)
    assert (eventfd.signals, other.stores) == (1, [(AT, 4, 2), (AT, 2, 1)])


def test_one_eventfd_may_have_several_addresses() -> None:
    bench, eventfd = Bench(), EventFd("kick")
    for index in range(2):
        bench.ioeventfds.assign(eventfd, AT, 4, index)
    bench.mmio.write(AT, 4, 0)
    bench.mmio.write(AT, 4, 1)
    assert eventfd.read() == 2


# Assigning ------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [-1, 3, 5, 6, 7, 9, 16, 1 << 32])
def test_there_is_no_such_width(length: int) -> None:
    with pytest.raises(UsageError, match="1, 2, 4 or 8"):
        Bench().kick(length)


@pytest.mark.parametrize(("at", "length"), [(2**64 - 1, 1), (2**64 - 4, 4), (2**64 - 7, 8)])
def test_a_range_does_not_wrap_round(at: int, length: int) -> None:
    with pytest.raises(UsageError, match="wrap round"):
        Bench().kick(length, at=at)


def test_any_width_has_no_data_to_match() -> None:
    with pytest.raises(UsageError, match="any width"):
        Bench().kick(0, 1)


def test_two_for_the_same_store_are_refused_and_change_nothing() -> None:
    bench = Bench()
    eventfd = bench.kick(4, 1)
    for length, datamatch in ((4, 1), (4, None), (0, None)):
        with pytest.raises(UsageError, match="same stores"):
            bench.kick(length, datamatch)
    bench.mmio.write(AT, 4, 1)
    assert eventfd.signals == 1


def test_two_for_different_stores_are_neighbours() -> None:
    bench = Bench()
    eventfds = [bench.kick(4, 1), bench.kick(4, 2), bench.kick(2, 1), bench.kick(1)]
    for size, value in ((4, 1), (4, 2), (2, 1), (1, 1)):
        assert bench.mmio.write(AT, size, value)
    assert [eventfd.read() for eventfd in eventfds] == [1, 1, 1, 1]


def test_a_deassigned_one_is_gone_and_its_place_free() -> None:
    bench = Bench()
    eventfd = bench.kick(4, 1)
    bench.ioeventfds.deassign(eventfd, AT, 4, 1)
    assert not bench.mmio.write(AT, 4, 1)
    again = bench.kick(4, 1)
    assert bench.mmio.write(AT, 4, 1)
    assert (eventfd.signals, again.signals) == (0, 1)


def test_deassign_takes_the_very_same_arguments() -> None:
    bench = Bench()
    eventfd = bench.kick(4, 1)
    other = EventFd("other")
    for args in ((other, AT, 4, 1), (eventfd, AT + 4, 4, 1), (eventfd, AT, 2, 1),
                 (eventfd, AT, 4, 2), (eventfd, AT, 4, None)):  # fmt: skip
        with pytest.raises(UsageError, match="none like this"):
            bench.ioeventfds.deassign(*args)
    with pytest.raises(UsageError, match="none like this"):
        bench.ioeventfds.deassign(eventfd, AT, 4, 1, pio=True)
    assert bench.mmio.write(AT, 4, 1)


IOEVENTFD_ARGS = st.tuples(
    st.sampled_from([AT, AT + 4, 0x300]),
    st.sampled_from(LENGTHS),
    st.none() | st.integers(0, 2),
    st.booleans(),
)


@settings(deadline=None)
@given(st.lists(IOEVENTFD_ARGS, max_size=12), st.integers(0, 2))
def test_a_store_signals_at_most_one(assigned: list, value: int) -> None:
    """Which is what the rule about collisions is for."""
    bench = Bench()
    there: list[EventFd] = []
    for at, length, datamatch, pio in assigned:
        try:
            there.append(bench.kick(length, datamatch, at=at, pio=pio))
        except UsageError:
            continue
    for bus in (bench.mmio, bench.pio):
        for at in (AT, AT + 4, 0x300):
            for size in (1, 2, 4, 8):
                taken = bus.write(at, size, value)
                assert sum(eventfd.read() for eventfd in there) == int(taken)


# irqfd --------------------------------------------------------------------------------------


def test_each_signal_is_an_edge() -> None:
    bench, call = Bench(), EventFd("call")
    bench.irqfds.assign(call, 5)
    call.signal()
    call.signal()
    assert bench.lines == [(5, 1), (5, 0)] * 2


def test_the_counter_is_taken() -> None:
    bench, call = Bench(), EventFd("call")
    bench.irqfds.assign(call, 5)
    call.signal()
    assert not call.readable


def test_several_eventfds_share_a_line() -> None:
    bench, calls = Bench(), [EventFd("rx"), EventFd("tx")]
    for call in calls:
        bench.irqfds.assign(call, 5)
    for call in calls:
        call.signal()
    assert bench.lines == [(5, 1), (5, 0)] * 2


def test_an_eventfd_has_one_line_only() -> None:
    bench, call = Bench(), EventFd("call")
    bench.irqfds.assign(call, 5)
    with pytest.raises(UsageError, match="interrupts already"):
        bench.irqfds.assign(call, 6)
    call.signal()
    assert bench.lines == [(5, 1), (5, 0)]


def test_a_signal_from_before_is_not_lost() -> None:
    bench, call = Bench(), EventFd("call")
    call.signal()
    bench.irqfds.assign(call, 5)
    assert bench.lines == [(5, 1), (5, 0)]


def test_a_deassigned_eventfd_interrupts_nobody() -> None:
    bench, call = Bench(), EventFd("call")
    bench.irqfds.assign(call, 5)
    bench.irqfds.deassign(call, 4)  # another line: there is none, and Linux does not mind
    call.signal()
    bench.irqfds.deassign(call, 5)
    call.signal()
    assert (len(bench.lines), call.read(), call.has_waiters) == (2, 1, False)


def test_a_vm_that_ends_leaves_no_waiter_behind() -> None:
    bench, calls = Bench(), [EventFd("rx"), EventFd("tx")]
    for call in calls:
        bench.irqfds.assign(call, 5)
    bench.irqfds.release()
    assert not any(call.has_waiters for call in calls)


# The trace ----------------------------------------------------------------------------------


def test_events_have_linuxs_names_where_it_has_some() -> None:
    bench = Bench(trace=True)
    bench.kick(4, 1)
    bench.kick(0, at=AT + 4)
    bench.kick(0, at=0x300, pio=True)
    call = EventFd("call")
    bench.irqfds.assign(call, 5)
    bench.mmio.write(AT, 4, 1)
    bench.mmio.write(AT, 4, 2)
    bench.mmio.write(AT + 4, 2, 9)
    bench.pio.write(0x300, 1, 9)
    call.signal()
    assert [(event.kind, *event.fields.values()) for event in bench.trace] == [
        (IOEVENTFD, "kick", AT, 4, 1),
        (KVM_FAST_MMIO, AT + 4),
        (IOEVENTFD, "kick", AT + 4, 2, 9),
        (IOEVENTFD, "kick", 0x300, 1, 9),
        (IRQFD, "call", 5),
    ]


# With a guest -------------------------------------------------------------------------------


def test_a_kick_is_a_lightweight_exit() -> None:
    """Four stores: two signal and stay in KVM, two come out to userspace."""
    ledger = Ledger(Trace())
    vm = Kvm(ledger).create_vm()
    ram = bytearray(0x80000)
    vm.set_user_memory_region(0, 0, memoryview(ram))
    text = "\n".join(f"mov dword ptr [rdi], {value}" for value in (0, 1, 2, 1)) + "\nhlt"
    code = assemble_text(text, mode=CpuMode.LONG, origin=0x1000).image
    write_boot_tables(memoryview(ram), CpuMode.LONG)
    ram[0x1000 : 0x1000 + len(code)] = code
    eventfd = EventFd("kick")
    vm.ioeventfd(eventfd, AT, 4, 1)
    vcpu = vm.create_vcpu()
    vcpu.set_sregs(boot_sregs(CpuMode.LONG))
    vcpu.set_regs(KvmRegs(rip=0x1000, rflags=2, rsp=0x8FF0, rdi=AT))
    seen = []
    while True:
        vcpu.run()
        if vcpu.kvm_run.exit_reason == KvmExit.HLT:
            break
        seen.append(vcpu.kvm_run.mmio.data[0])
    vm.close()
    assert (seen, eventfd.signals) == ([0, 2], 2)
    exits = ledger.exits[ExitReason.EPT_VIOLATION] + ledger.exits[ExitReason.EPT_MISCONFIG]
    assert (exits, ledger.userspace[KvmExit.MMIO], ledger.lightweight_exits) == (4, 2, 2)
    assert ledger.guest_to_kvm.count == 2  # what KVM takes is not copied to kvm_run


def test_an_ioeventfd_says_what_it_is_like() -> None:
    trace = Trace()
    eventfd = EventFd("kick")
    one = IoEventFd(eventfd, AT, 4, 1, trace)
    assert one.is_like(IoEventFd(eventfd, AT, 4, 1, trace))
    assert not one.is_like(IoEventFd(eventfd, AT, 4, 1, trace, is_mmio=False))
