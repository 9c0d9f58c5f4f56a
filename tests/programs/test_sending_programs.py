"""The drivers: what a packet costs each of them, and that it arrives unchanged."""

from __future__ import annotations

from math import ceil
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from running import load_here, program, run

from toyvisor.guest.program import load_program
from toyvisor.host.net import NetBackend
from toyvisor.memory import PAGE_SIZE
from toyvisor.qemu.boot import BOOT_STACK_POINTER, PD_START, PML4_START
from toyvisor.qemu.catalog import MMIO_BASE
from toyvisor.qemu.machine import Machine
from toyvisor.qemu.virtio.registers import Reg

DRIVERS = ("mmio_nic_tx", "virtio_net_tx", "virtio_net_tx_batch")
VIRTIO_DRIVERS = DRIVERS[1:]

# Exits before the first frame.
NIC_SET_UP = 4
VIRTIO_SET_UP = 27


def frame(length: int, seed: int = 0) -> bytes:
    """A frame to anybody, with bytes that are all its own."""
    return Random(seed << 16 | length).randbytes(length)


def frames(*lengths: int) -> list[bytes]:
    return [frame(length, seed) for seed, length in enumerate(lengths)]


def stores(length: int, width: int = 4) -> int:
    """Stores that carry a frame into the card: whole words, then single bytes."""
    return length // width + length % width


lengths = st.integers(14, 1514) | st.sampled_from([14, 15, 17, 60, 64, 1513, 1514])


# What one packet of 60 bytes costs -----------------------------------------------------------


def test_mmio_nic_carries_one_frame_in_22_exits():
    done = run("mmio_nic_tx", frames(60))
    assert done.outcome == "halted"
    # 4 to set up, 15 stores of 4 bytes, then length, doorbell and status
    assert done.exits == {"mmio": NIC_SET_UP + 15 + 3, "hlt": 1}
    assert done.copies == {
        # 2 stores to CONTROL, 15 of the frame, length and doorbell: 19 of 4 bytes each
        "guest->kvm": (19, 76),
        "kvm->qemu": (19, 76),
        # ID, VERSION and TX_STATUS
        "qemu->kvm": (3, 12),
        "kvm->guest": (3, 12),
        # the frame, from the card's buffer into the host's kernel
        "qemu->host": (1, 60),
    }
    assert done.ledger.syscalls == {"writev": 1}


@pytest.mark.parametrize("driver", VIRTIO_DRIVERS)
def test_virtio_sends_one_frame_with_one_kick(driver):
    done = run(driver, frames(60), trace=True)
    assert done.outcome == "halted"
    assert done.exits == {"mmio": VIRTIO_SET_UP + 1, "hlt": 1}
    kick = ("write", 4, MMIO_BASE + Reg.QUEUE_NOTIFY, 1)
    assert done.device_accesses[VIRTIO_SET_UP:] == [kick]
    assert done.copies == {
        # 19 register stores to set up, and the kick
        "guest->kvm": (20, 80),
        "kvm->qemu": (20, 80),
        "qemu->kvm": (8, 32),
        "kvm->guest": (8, 32),
        # the frame, from guest RAM into the host's kernel: the only copy of its bytes
        "qemu->host": (1, 60),
    }
    assert done.ledger.syscalls == {"writev": 1}
    assert (done.ledger.injected, done.ledger.suppressed) == (0, 1)


# What each packet costs, whatever its size -----------------------------------------------------


@pytest.mark.parametrize("width", [1, 2, 4, 8])
@pytest.mark.parametrize("length", [14, 15, 60, 64, 1499, 1500, 1514])
def test_a_longer_frame_costs_mmio_nic_more_exits_and_a_wider_store_fewer(length, width):
    done = run("mmio_nic_tx", frames(length, length), symbols={"STORE_WIDTH": width})
    assert done.exits["mmio"] == NIC_SET_UP + 2 * (stores(length, width) + 3)
    # Two registers written to set up, two for each frame; the frames' bytes are the same.
    assert done.copies["guest->kvm"][1] == 4 * (2 + 2 * 2) + 2 * length
    assert done.copies["kvm->qemu"] == done.copies["guest->kvm"]
    assert done.copies["qemu->host"] == (2, 2 * length)
    assert done.sent == frames(length, length)


@pytest.mark.parametrize("length", [14, 15, 60, 64, 1499, 1500, 1514])
def test_virtio_costs_the_same_for_every_length(length):
    done = run("virtio_net_tx", frames(length, length))
    assert done.exits["mmio"] == VIRTIO_SET_UP + 2
    assert done.copies["guest->kvm"] == (19 + 2, 4 * (19 + 2))
    assert done.copies["qemu->host"] == (2, 2 * length)
    assert done.sent == frames(length, length)


def test_a_packet_of_1500_bytes_side_by_side():
    def cost(driver: str) -> tuple[int, int, int]:
        """Exits, copies and bytes copied of one packet more."""
        one, two = run(driver, frames(1500)).ledger, run(driver, frames(1500, 1500)).ledger
        return (
            two.total_exits - one.total_exits,
            two.copies - one.copies,
            two.bytes_copied - one.bytes_copied,
        )

    # 375 stores, length, doorbell, status; each exit is two copies; and the one to the host
    assert cost("mmio_nic_tx") == (378, 2 * 378 + 1, 2 * (1500 + 12) + 1500)
    # the kick: 4 bytes, twice; and the one to the host
    assert cost("virtio_net_tx") == (1, 3, 8 + 1500)


@pytest.mark.parametrize("batch", [1, 2, 3, 8, 100])
def test_a_batch_costs_one_kick(batch):
    count = 20
    done = run("virtio_net_tx_batch", frames(*[64] * count), registers={"r12": batch})
    assert done.exits["mmio"] == VIRTIO_SET_UP + ceil(count / batch)
    assert done.copies["qemu->host"] == (count, 64 * count)
    assert done.ledger.syscalls == {"writev": count}


def test_the_machine_block_gives_the_batch_of_8():
    done = run("virtio_net_tx_batch", frames(*[64] * 17))
    assert done.exits["mmio"] == VIRTIO_SET_UP + 3


@given(given_lengths=st.lists(lengths, max_size=20))
@settings(max_examples=100, deadline=None)
def test_a_batch_of_one_costs_what_the_plain_driver_costs(given_lengths):
    sent = frames(*given_lengths)
    plain, batch = (
        run(driver, sent, registers={"r12": 1}, trace=True) for driver in VIRTIO_DRIVERS
    )
    assert batch.exits == plain.exits
    assert batch.copies == plain.copies
    assert batch.ledger.syscalls == plain.ledger.syscalls
    assert batch.ledger.ring_reads == plain.ledger.ring_reads
    assert batch.ledger.ring_writes == plain.ledger.ring_writes


# Setting up -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("driver", "set_up"),
    [("mmio_nic_tx", NIC_SET_UP)] + [(driver, VIRTIO_SET_UP) for driver in VIRTIO_DRIVERS],
)
def test_without_frames_only_the_set_up_is_paid(driver, set_up):
    done = run(driver, [])
    assert done.outcome == "halted"
    assert done.exits == {"mmio": set_up, "hlt": 1}
    assert (done.sent, done.rules, done.ledger.syscalls) == ([], [], {})


def test_the_include_file_sets_up_exactly_as_the_textbook_driver_does():
    """virtio_net_init.inc says so of itself; only the place of the rings follows their size."""
    symbols = {"QUEUE_SIZE": 16}
    plain, batch = (
        run(driver, [], symbols=symbols, trace=True).device_accesses for driver in VIRTIO_DRIVERS
    )
    assert batch == plain


def test_the_driver_follows_the_eight_steps_of_the_specification():
    """VIRTIO 1.2, 3.1.1."""
    accesses = run("virtio_net_tx", [], trace=True).device_accesses
    status = MMIO_BASE + Reg.STATUS
    written = [
        value for kind, _, address, value in accesses if (kind, address) == ("write", status)
    ]
    assert written == [0, 1, 1 | 2, 1 | 2 | 8, 1 | 2 | 8 | 4]
    order = [address - MMIO_BASE for _, _, address, _ in accesses]
    features_ok = order.index(Reg.DRIVER_FEATURES)
    ready = len(order) - 1 - order[::-1].index(Reg.QUEUE_READY)
    assert features_ok < order.index(Reg.QUEUE_SEL) < order.index(Reg.QUEUE_NUM) < ready
    assert order[-1] == Reg.STATUS  # DRIVER_OK comes last


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_driver_that_finds_another_device_says_so_and_gives_up(driver, tmp_path):
    text = (
        program(driver).path.read_text().replace('"mmio-nic", ', "").replace('"virtio-net", ', "")
    )
    done = run(load_here(tmp_path, text), [])
    assert done.outcome == "shutdown"
    assert "at the first window" in done.console
    assert done.exits["mmio"] == 1


@pytest.mark.parametrize("driver", VIRTIO_DRIVERS)
def test_a_driver_that_finds_too_small_a_queue_gives_up(driver):
    done = run(driver, frames(60), symbols={"QUEUE_SIZE": 512})
    assert done.outcome == "shutdown"
    assert "too small" in done.console
    assert done.sent == []


# Every byte arrives -------------------------------------------------------------------------------


@given(
    given_lengths=st.lists(lengths, max_size=12),
    width=st.sampled_from([1, 2, 4, 8]),
)
@settings(max_examples=100, deadline=None)
def test_mmio_nic_sends_the_frames_unchanged(given_lengths, width):
    given_frames = frames(*given_lengths)
    done = run("mmio_nic_tx", given_frames, symbols={"STORE_WIDTH": width})
    assert (done.outcome, done.rules) == ("halted", [])
    assert done.sent == given_frames
    exits = sum(stores(length, width) + 3 for length in given_lengths)
    assert done.exits["mmio"] == NIC_SET_UP + exits


@given(given_lengths=st.lists(lengths, max_size=40), queue_size=st.sampled_from([2, 4, 8, 256]))
@settings(max_examples=200, deadline=None)
def test_virtio_sends_the_frames_unchanged_round_and_round_the_ring(given_lengths, queue_size):
    given_frames = frames(*given_lengths)
    done = run("virtio_net_tx", given_frames, symbols={"QUEUE_SIZE": queue_size})
    assert (done.outcome, done.rules) == ("halted", [])
    assert done.sent == given_frames
    assert done.exits["mmio"] == VIRTIO_SET_UP + len(given_frames)


@given(
    given_lengths=st.lists(lengths, max_size=60),
    batch=st.integers(0, 70) | st.sampled_from([128, 129, 256, 1 << 32, (1 << 64) - 1]),
    queue_size=st.sampled_from([2, 4, 8, 16, 256]),
)
@settings(max_examples=300, deadline=None)
def test_batches_send_the_frames_unchanged_with_a_kick_for_each(given_lengths, batch, queue_size):
    given_frames = frames(*given_lengths)
    symbols = {"QUEUE_SIZE": queue_size}
    done = run("virtio_net_tx_batch", given_frames, registers={"r12": batch}, symbols=symbols)
    assert (done.outcome, done.rules) == ("halted", [])
    assert done.sent == given_frames
    in_ring = min(max(batch, 1), queue_size // 2)
    assert done.exits["mmio"] == VIRTIO_SET_UP + ceil(len(given_frames) / in_ring)


@pytest.mark.parametrize("batch", [1, 8, 128])
def test_more_frames_than_the_ring_has_slots(batch):
    given_frames = frames(*[60] * 1000)
    done = run("virtio_net_tx_batch", given_frames, registers={"r12": batch})
    assert done.sent == given_frames
    assert done.exits["mmio"] == VIRTIO_SET_UP + ceil(1000 / batch)


@given(given_lengths=st.lists(lengths, max_size=10))
@settings(max_examples=50, deadline=None)
def test_all_drivers_put_the_same_frames_on_the_wire(given_lengths):
    given_frames = frames(*given_lengths)
    assert [run(driver, given_frames).sent for driver in DRIVERS] == [given_frames] * 3


def test_mmio_nic_leaves_out_a_frame_that_would_not_fit_the_card():
    """Its driver has to look; virtio has no buffer that could overflow."""
    given_frames = frames(60, 1515, 9000, 64)
    assert run("mmio_nic_tx", given_frames).sent == frames(60, 1515, 9000, 64)[::3]
    assert run("virtio_net_tx", given_frames).sent == given_frames


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_frame_shorter_than_an_ethernet_header_is_refused_and_the_next_one_sent(driver):
    done = run(driver, [b"short", frame(60)])
    assert done.outcome == "halted"
    assert done.sent == [frame(60)]
    assert len(done.rules) == 1


# A driver leaves alone what is not its own -----------------------------------------------------


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_driver_changes_nothing_in_ram_but_its_rings_and_its_stack(driver):
    with Machine(program(driver), NetBackend(frames(*[60] * 30))) as machine:
        before = bytes(machine.ram)
        machine.run()
        after = bytes(machine.ram)
    pages = range(0, len(before), PAGE_SIZE)
    changed = {at for at in pages if before[at : at + PAGE_SIZE] != after[at : at + PAGE_SIZE]}
    stack = BOOT_STACK_POINTER & -PAGE_SIZE
    page_tables = set(range(PML4_START, PD_START + 4 * PAGE_SIZE, PAGE_SIZE))  # accessed bits
    rings = {0x20000, 0x21000}
    assert changed - page_tables <= {stack, *rings}


def test_a_program_asks_for_its_store_width_at_the_top():
    """What the tutorial tells people to change is where it says."""
    source = load_program("mmio_nic_tx").path.read_text()
    assert ".set STORE_WIDTH, 4" in source
