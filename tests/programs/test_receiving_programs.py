"""Receiving: what a frame costs each driver, and that every byte comes in."""

from __future__ import annotations

from math import ceil
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from running import Run, load_here, program, run

from toyvisor.exit_reasons import ExitReason
from toyvisor.host.net import NetBackend
from toyvisor.host.tap import TX_QUEUE_LEN
from toyvisor.memory import PAGE_SIZE
from toyvisor.qemu.boot import BOOT_STACK_POINTER, PD_START, PML4_START
from toyvisor.qemu.machine import Arrivals, Machine
from toyvisor.virtio.net import HEADER_SIZE

VIRTIO, NIC = "virtio_net_rx", "mmio_nic_rx"
#: who works on the queues, and what the machine says for that
SERVED = {
    "vcpu thread": {},
    "ioeventfd": {"ioeventfd": True},
    "irqfd": {"ioeventfd": True, "irqfd": True},
    "vhost": {"vhost": True},
}
# Exits before the first frame. Lightweight: 10 to set up the PIC, 2 to unmask the line.
VIRTIO_SET_UP, NIC_SET_UP, PIC_SET_UP = 28, 5, 12
BUFFERS, BUFFER_STEP = 0x30000, 2048

lengths = st.integers(14, 1514) | st.sampled_from([14, 15, 17, 60, 64, 1513, 1514])


def frames(*lengths: int) -> list[bytes]:
    """Frames with bytes that are all their own, to anybody."""
    return [Random(seed << 16 | n).randbytes(n) for seed, n in enumerate(lengths)]


def receive(
    driver: str,
    given: list[bytes],
    served: str = "vcpu thread",
    *,
    burst: int = 1,
    interval: int | None = None,
    symbols: dict[str, int] | None = None,
    registers: dict[str, int] | None = None,
) -> Run:
    return run(
        driver,
        given,
        symbols=symbols,
        registers=registers,
        options={"virtio-net": SERVED[served]},
        arrivals=Arrivals(burst, interval),
        budget=20_000_000,
    )


def counted(done: Run) -> tuple[int, int]:
    """Frames and bytes, as the driver counted them."""
    return done.registers.r13, done.registers.r14


def difference(many: Run, none: Run) -> dict[str, int]:
    """What the frames alone cost, timers apart."""
    counts = {
        "userspace": lambda r: r.exits.get("mmio", 0),
        "interrupts": lambda r: r.ledger.injected,
        "switches": lambda r: r.ledger.context_switches,
        "hlt": lambda r: r.ledger.exits[ExitReason.HLT],
        "io": lambda r: r.ledger.exits[ExitReason.IO_INSTRUCTION],
    }
    return {name: count(many) - count(none) for name, count in counts.items()}


# One frame of 60 bytes ------------------------------------------------------------------------


def test_virtio_receives_one_frame_with_two_exits_to_qemu():
    done = receive(VIRTIO, frames(60))
    assert done.outcome == "halted"
    assert done.ending.explanation == "the guest waits in HLT, and no interrupt is to come"
    # InterruptStatus and InterruptACK; in KVM: EOI, and two times HLT
    assert done.exits == {"mmio": VIRTIO_SET_UP + 2, "lightweight": PIC_SET_UP + 1 + 2}
    assert done.copies == {
        "guest->kvm": (21, 84),
        "kvm->qemu": (21, 84),
        "qemu->kvm": (9, 36),
        "kvm->guest": (9, 36),
        # the frame: the host's kernel to QEMU, QEMU to guest RAM
        "host->qemu": (1, 60),
        "qemu->guest": (1, 60),
    }
    assert (done.ledger.injected, done.ledger.suppressed) == (1, 0)
    assert counted(done) == (1, 60)


def test_vhost_brings_the_frame_in_with_one_copy_and_without_qemu():
    done = receive(VIRTIO, frames(60), "vhost")
    assert {hop for hop in done.copies if "host" in hop} == {"host->guest"}
    assert done.copies["host->guest"] == (1, 60)
    assert "read" not in done.ledger.syscalls
    # The kick that said that there are buffers has become a lightweight exit.
    assert done.exits == {"mmio": VIRTIO_SET_UP - 1 + 2, "lightweight": PIC_SET_UP + 1 + 2 + 1}


def test_mmio_nic_carries_one_frame_out_in_18_exits():
    done = receive(NIC, frames(60))
    assert done.outcome == "halted"
    # length, 15 loads of 4 bytes, acknowledgement, release; in KVM: EOI, and two times HLT
    assert done.exits == {"mmio": NIC_SET_UP + 1 + 15 + 2, "lightweight": PIC_SET_UP + 1 + 2}
    assert done.copies == {
        "guest->kvm": (5, 20),
        "kvm->qemu": (5, 20),
        # ID, VERSION, the length and the frame: 18 loads of 4 bytes
        "qemu->kvm": (18, 72),
        "kvm->guest": (18, 72),
        "host->qemu": (1, 60),
        "qemu->qemu": (1, 60),
    }
    assert done.ledger.injected == 1
    assert counted(done) == (1, 60)


# What each frame costs --------------------------------------------------------------------------


@pytest.mark.parametrize("served", SERVED)
@pytest.mark.parametrize("event_idx", [0, 1])
@pytest.mark.parametrize("length", [14, 60, 1514])
def test_virtio_costs_the_same_for_every_length_and_whoever_serves_it(served, event_idx, length):
    symbols = {"EVENT_IDX": event_idx}
    none, some = (receive(VIRTIO, frames(*[length] * n), served, symbols=symbols) for n in (0, 20))
    cost = difference(some, none)
    assert cost["userspace"] == 20 * 2
    assert cost["io"] == cost["hlt"] == cost["interrupts"] == 20
    assert cost["switches"] == 20 * 2  # to the main loop or to vhost, and back
    assert counted(some) == (20, 20 * length)


@pytest.mark.parametrize("width", [1, 2, 4, 8])
@pytest.mark.parametrize("length", [14, 60, 61, 1514])
def test_mmio_nic_costs_a_load_for_each_word(width, length):
    symbols = {"LOAD_WIDTH": width}
    none, some = (
        receive(NIC, frames(*[length] * n), symbols=symbols, interval=50_000) for n in (0, 20)
    )
    cost = difference(some, none)
    assert cost["userspace"] == 20 * (1 + ceil(length / width) + 2)
    assert cost["io"] == cost["hlt"] == cost["interrupts"] == 20
    # to the main loop for the frame, and once more because the buffer is free again
    assert cost["switches"] == 20 * 4
    assert counted(some) == (20, 20 * length)


@pytest.mark.parametrize("served", SERVED)
@pytest.mark.parametrize("event_idx", [0, 1])
def test_frames_that_come_together_share_an_interrupt(served, event_idx):
    done = receive(VIRTIO, frames(*[60] * 64), served, burst=8, symbols={"EVENT_IDX": event_idx})
    assert done.ledger.injected == 8
    assert counted(done) == (64, 64 * 60)


def test_mmio_nic_takes_an_interrupt_for_each_all_the_same():
    assert receive(NIC, frames(*[60] * 64), burst=8).ledger.injected == 64


def test_with_event_idx_qemu_need_not_even_raise_the_line_again():
    """Seven of eight buffers are behind used_event; without it each one is worth a call."""
    without, with_it = (
        receive(VIRTIO, frames(*[60] * 64), "irqfd", burst=8, symbols={"EVENT_IDX": on})
        for on in (0, 1)
    )
    assert (without.ledger.suppressed, with_it.ledger.suppressed) == (0, 64 - 8)
    saved = without.ledger.syscalls["write(eventfd)"] - with_it.ledger.syscalls["write(eventfd)"]
    assert saved == 64 - 8


# Where the frames are -----------------------------------------------------------------------------


def ram_after(driver: str, given: list[bytes]) -> bytes:
    with Machine(program(driver), NetBackend(given)) as machine:
        machine.run(20_000_000)
        return bytes(machine.ram)


def test_each_frame_lies_in_a_buffer_of_its_own_behind_the_header():
    given = frames(60, 61, 1514, 14)
    ram = ram_after(VIRTIO, given)
    for number, frame in enumerate(given):
        at = BUFFERS + number * BUFFER_STEP
        assert ram[at : at + HEADER_SIZE] == bytes(10) + b"\1\0"  # num_buffers
        assert ram[at + HEADER_SIZE :][: len(frame)] == frame


@pytest.mark.parametrize("length", [14, 15, 1513, 1514])
def test_mmio_nic_frame_is_carried_to_ram_unchanged(length):
    (frame,) = frames(length)
    ram = ram_after(NIC, [frame])
    assert ram[BUFFERS : BUFFERS + length] == frame
    assert ram[BUFFERS + length : BUFFERS + 2048] == bytes(2048 - length), "and no more"


@pytest.mark.parametrize("driver", [VIRTIO, NIC])
def test_a_driver_changes_nothing_in_ram_but_what_is_its_own(driver):
    with Machine(program(driver), NetBackend(frames(*[1514] * 100))) as machine:
        before = bytes(machine.ram)
        machine.run()
        after = bytes(machine.ram)
    pages = range(0, len(before), PAGE_SIZE)
    changed = {at for at in pages if before[at : at + PAGE_SIZE] != after[at : at + PAGE_SIZE]}
    stack, idt = BOOT_STACK_POINTER & -PAGE_SIZE, PD_START + 4 * PAGE_SIZE
    page_tables = set(range(PML4_START, PD_START + 4 * PAGE_SIZE, PAGE_SIZE))  # accessed bits
    buffers = set(range(BUFFERS, BUFFERS + 64 * BUFFER_STEP, PAGE_SIZE))
    assert changed - page_tables <= {stack, idt, 0x24000, *buffers}


# It goes on and on -------------------------------------------------------------------------------


@given(
    given_lengths=st.lists(lengths, max_size=40),
    burst=st.integers(1, 50),
    interval=st.sampled_from([1, 100, 1000, 10_000]),
    served=st.sampled_from(sorted(SERVED)),
    event_idx=st.integers(0, 1),
    queue_size=st.sampled_from([2, 4, 64, 256]),
)
@settings(max_examples=200, deadline=None)
def test_virtio_receives_every_frame_round_and_round_the_ring(
    given_lengths, burst, interval, served, event_idx, queue_size
):
    given_frames = frames(*given_lengths)
    symbols = {"EVENT_IDX": event_idx, "QUEUE_SIZE": queue_size}
    done = receive(VIRTIO, given_frames, served, burst=burst, interval=interval, symbols=symbols)
    assert (done.outcome, done.rules) == ("halted", [])
    assert done.received == given_frames
    assert counted(done) == (len(given_frames), sum(given_lengths))
    assert done.ledger.injected <= len(given_frames)


@given(
    given_lengths=st.lists(lengths, max_size=15),
    burst=st.integers(1, 20),
    interval=st.sampled_from([1, 100, 10_000]),
    width=st.sampled_from([1, 2, 4, 8]),
)
@settings(max_examples=60, deadline=None)
def test_mmio_nic_receives_every_frame(given_lengths, burst, interval, width):
    given_frames = frames(*given_lengths)
    symbols = {"LOAD_WIDTH": width}
    done = receive(NIC, given_frames, burst=burst, interval=interval, symbols=symbols)
    assert (done.outcome, done.rules) == ("halted", [])
    assert counted(done) == (len(given_frames), sum(given_lengths))
    assert done.ledger.injected == len(given_frames)


@pytest.mark.parametrize("served", SERVED)
def test_a_device_that_ran_out_of_buffers_is_kicked_when_there_are_some(served):
    """64 frames for 4 buffers: each time the driver gives back four, the device waits for it."""
    symbols = {"QUEUE_SIZE": 4}
    done = receive(VIRTIO, frames(*[60] * 64), served, burst=64, symbols=symbols)
    assert counted(done) == (64, 64 * 60)
    assert done.ledger.injected == 16


@pytest.mark.parametrize("driver", [VIRTIO, NIC])
def test_what_finds_the_hosts_queue_full_is_lost_and_counted(driver):
    net = NetBackend(frames(*[60] * (TX_QUEUE_LEN + 40)))
    with Machine(program(driver), net, arrivals=Arrivals(burst=TX_QUEUE_LEN + 40)) as machine:
        machine.run()
        assert machine.vcpu.get_regs().r13 == TX_QUEUE_LEN
        assert net.file.tx_dropped == 40


@pytest.mark.parametrize("driver", [VIRTIO, NIC])
def test_a_driver_that_was_given_a_number_stops_after_so_many(driver):
    done = receive(driver, frames(*[60] * 9), registers={"r12": 5})
    assert counted(done) == (5, 300)
    assert "interrupts off" in done.ending.explanation
    assert done.rules == []


@pytest.mark.parametrize("driver", [VIRTIO, NIC])
def test_a_driver_that_finds_another_device_says_so_and_gives_up(driver, tmp_path):
    text = program(driver).path.read_text()
    done = run(load_here(tmp_path, text.replace('"mmio-nic", ', "").replace('"virtio-net", ', "")))
    assert done.outcome == "shutdown"
    assert "at the first window" in done.console
