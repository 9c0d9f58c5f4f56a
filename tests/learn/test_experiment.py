"""The experiment's figures are counts of real runs, and nothing of the set-up is in them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from toyvisor.errors import UsageError
from toyvisor.host.frames import DEFAULT_MAC
from toyvisor.learn.counts import COUNTED, Counts, hop_difference
from toyvisor.learn.experiment import run_experiment
from toyvisor.learn.frames import numbered_frame, numbered_frames
from toyvisor.learn.measure import ExperimentError, load, measure, most_in_a_batch
from toyvisor.learn.setups import MMIO_NIC, SETUPS, VIRTIO_NET

STORE_WIDTH = 4  # mmio_nic_tx.s


@pytest.fixture(scope="module")
def experiment():
    return run_experiment(packets=16, sizes=(14, 64, 1500), batches=(1, 8))


def row(experiment, name, size, batch=None):
    return next(
        r for r in experiment.rows if (r.setup.name, r.size, r.batch) == (name, size, batch)
    )


# What a packet costs ------------------------------------------------------------------------


@pytest.mark.parametrize("size", [14, 64, 1500])
def test_mmio_nic_exits_once_a_store_and_three_times_for_the_doorbell(experiment, size):
    stores = size // STORE_WIDTH + size % STORE_WIDTH
    sent = row(experiment, "mmio-nic", size)
    assert sent.sending.exits == 16 * (stores + 3)
    assert sent.per_packet("exits") == stores + 3


def test_mmio_nic_copies_every_byte_three_times(experiment):
    sent = row(experiment, "mmio-nic", 1500)
    assert sent.hops["qemu->host"] == (16, 16 * 1500)
    registers = 8  # length and doorbell
    assert sent.hops["guest->kvm"] == (16 * 377, 16 * (1500 + registers))
    assert sent.hops["kvm->qemu"] == sent.hops["guest->kvm"]
    assert sent.hops["kvm->guest"] == (16, 16 * 4)  # one look at TX_STATUS
    assert sent.copied_per_byte == pytest.approx(3.016)


@pytest.mark.parametrize("size", [14, 64, 1500])
@pytest.mark.parametrize(("batch", "kicks"), [(1, 16), (8, 2)])
def test_virtio_net_exits_once_a_batch_whatever_the_size(experiment, size, batch, kicks):
    sent = row(experiment, "virtio-net", size, batch)
    assert sent.sending.exits == kicks
    assert sent.hops["qemu->host"] == (16, 16 * size)
    assert sent.sending.copies == 16 + 2 * kicks
    assert sent.sending.syscalls == 16


def test_every_exit_of_these_drivers_goes_to_qemu(experiment):
    for sent in experiment.rows:
        assert sent.sending.userspace_returns == sent.sending.exits == sent.sending.mmio_exits
        assert sent.sending.lightweight_exits == sent.sending.interrupts == 0


def test_the_set_up_is_counted_apart(experiment):
    assert row(experiment, "mmio-nic", 64).set_up.exits == 5
    assert row(experiment, "virtio-net", 64, 1).set_up.exits > 20
    assert all(r.set_up.syscalls == r.set_up.bytes_copied % 4 == 0 for r in experiment.rows)


def test_figures_per_packet_do_not_depend_on_how_many_packets_are_sent(experiment):
    more = run_experiment(packets=32, sizes=(64,), batches=(1, 8))
    for name, batch in (("mmio-nic", None), ("virtio-net", 1), ("virtio-net", 8)):
        few, many = row(experiment, name, 64, batch), row(more, name, 64, batch)
        for quantity in ("exits", "copies", "bytes_copied", "syscalls", "instructions"):
            assert few.per_packet(quantity) == many.per_packet(quantity), quantity


def test_the_same_experiment_gives_the_same_numbers(experiment):
    assert run_experiment(packets=16, sizes=(14, 64, 1500), batches=(1, 8)) == experiment


def test_rows_come_by_size_then_setup_then_batch(experiment):
    order = [(r.size, r.setup.name, r.batch) for r in experiment.rows]
    one = [("mmio-nic", None), ("virtio-net", 1), ("virtio-net", 8)]
    assert order == [(size, *rest) for size in (14, 64, 1500) for rest in one]


def test_a_size_or_batch_named_twice_is_run_once():
    again = run_experiment(packets=1, sizes=(64, 64), batches=(8, 1, 8))
    assert (again.sizes, again.batches, len(again.rows)) == ((64,), (8, 1), 3)


def test_a_batch_that_does_not_divide_the_packets_ends_with_a_smaller_one():
    odd = run_experiment(packets=10, sizes=(64,), batches=(4, 64))
    assert row(odd, "virtio-net", 64, 4).sending.exits == 3
    assert row(odd, "virtio-net", 64, 64).sending.exits == 1


def test_frames_beyond_the_machines_memory_get_more_of_it():
    large = run_experiment(packets=1500, sizes=(1514,), batches=(64,), setups=(VIRTIO_NET,))
    assert large.rows[0].sending.bytes_copied > 1500 * 1514 > 2 << 20


def test_a_setup_is_an_entry_of_data():
    wide = replace(MMIO_NIC, name="mmio-nic, 8-byte stores", symbols={"STORE_WIDTH": 8})
    both = run_experiment(packets=2, sizes=(1024,), setups=(MMIO_NIC, wide))
    assert [r.per_packet("exits") for r in both.rows] == [259, 131]


def test_progress_is_told_before_each_run_and_at_the_end():
    told = []
    run_experiment(1, (64, 128), (1, 8), progress=lambda *step: told.append(step))
    assert [done for done, _, _ in told] == list(range(10))
    assert {total for _, total, _ in told} == {9}
    assert told[0][2] == "mmio-nic, no packets"
    assert told[1][2] == "mmio-nic, 64 bytes"


# What is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"packets": 0}, "--packets 0: from 1 to 4095"),
        ({"packets": -3}, "--packets -3"),
        ({"packets": 4096}, "--packets 4096"),
        ({"sizes": [13]}, "--size 13: an Ethernet frame has from 14 to 1514 bytes"),
        ({"sizes": [64, 1515]}, "--size 1515"),
        ({"sizes": []}, "--size needs"),
        ({"batches": []}, "--batch needs"),
        ({"batches": [0]}, "--batch 0: from 1 to 128"),
        ({"batches": [1, 129]}, "--batch 129: from 1 to 128"),
    ],
)
def test_numbers_that_make_no_experiment_are_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        run_experiment(**arguments)


def test_the_largest_batch_is_the_programs_own():
    assert most_in_a_batch(VIRTIO_NET, load(VIRTIO_NET)) == 128
    assert most_in_a_batch(MMIO_NIC, load(MMIO_NIC)) is None


HEAD = """; /// machine
; mode = "long"
; devices = ["{device}"]
; ///
"""


@pytest.mark.parametrize(
    ("device", "code", "message"),
    [
        ("mmio-nic", "hlt", "2 frames were given, 0 were sent"),
        ("mmio-nic", "here: jmp here", "still running after"),
        ("mmio-nic", "ud2", "the run did not end well"),
        ("mmio-nic", "mov edi, 0xd0000000\nmov dword ptr [rdi], 1\nhlt", "read-only"),
    ],
    ids=["sends nothing", "hangs", "crashes", "breaks a rule"],
)
def test_a_run_that_fails_is_an_error_and_no_figure(tmp_path, device, code, message):
    path = tmp_path / "bad.s"
    path.write_text(HEAD.format(device=device) + code + "\n")
    bad = replace(MMIO_NIC, name="bad", program=str(path))
    with pytest.raises(ExperimentError, match=message):
        measure(bad, load(bad), None, numbered_frames(2, 64))


def test_a_frame_sent_with_other_bytes_is_an_error(tmp_path):
    """A driver that sends the first frame twice."""
    from toyvisor.guest.library import guest_programs_dir

    text = (guest_programs_dir() / "mmio_nic_tx.s").read_text()
    text = text.replace("add     r13, FRAME_ENTRY", "nop")
    for include in guest_programs_dir().glob("*.inc"):
        (tmp_path / include.name).write_text(include.read_text())
    path = tmp_path / "twice.s"
    path.write_text(text)
    bad = replace(MMIO_NIC, program=str(path))
    with pytest.raises(ExperimentError, match="frame 1 was sent with other bytes"):
        measure(bad, load(bad), None, numbered_frames(3, 64))


# Frames and counts --------------------------------------------------------------------------


@pytest.mark.parametrize("size", [14, 15, 60, 64, 1500, 1514])
def test_a_frame_has_exactly_its_size_and_a_valid_header(size):
    frame = numbered_frame(300, size)
    assert len(frame) == size
    assert frame[0] & 1 == 0  # unicast
    assert frame[0] & 2  # locally administered
    assert frame[6:12] == DEFAULT_MAC
    assert frame[12:14] == b"\x88\xb5"


@pytest.mark.parametrize("size", [14, 64])
def test_no_two_frames_are_alike(size):
    assert len(set(numbered_frames(4095, size))) == 4095


def test_counts_are_subtracted_one_by_one():
    large = Counts(*range(10, 10 + len(COUNTED)))
    assert large - Counts(*([4] * len(COUNTED))) == Counts(*range(6, 6 + len(COUNTED)))
    assert (large - large).to_json() == dict.fromkeys(COUNTED, 0)


def test_hops_that_did_not_change_are_left_out():
    assert hop_difference({"a": (3, 30), "b": (1, 4)}, {"a": (1, 10), "b": (1, 4)}) == {
        "a": (2, 20)
    }


def test_the_shipped_setups_have_names_of_their_own():
    names = [setup.name for setup in SETUPS]
    assert len(set(names)) == len(names)
