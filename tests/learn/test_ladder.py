"""The ladder: from rung to rung one thing changes, and the counts say what that does.

A packet's exits can be added up from the drivers' sources, where every one is marked.
"""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from toyvisor.errors import UsageError
from toyvisor.guest.library import guest_programs_dir
from toyvisor.learn.experiment import run_experiment
from toyvisor.learn.frames import numbered_frames, turned_round
from toyvisor.learn.ladder import LADDER, rungs, setups_of
from toyvisor.learn.measure import ExperimentError, load, measure
from toyvisor.learn.setups import SETUPS, Pattern

TRANSMIT, RECEIVE, REQUEST = Pattern
NAMES = [
    "mmio-nic", "virtio-net", "+ EVENT_IDX", "+ ioeventfd/irqfd", "+ vhost", "- EVENT_IDX",
]  # fmt: skip
VIRTIO, IOEVENTFD, VHOST = NAMES[1], NAMES[3], NAMES[4]
LADDERS = [setup for pattern in Pattern for setup in rungs(pattern)]


@pytest.fixture(scope="module")
def experiment():
    return run_experiment(packets=16, sizes=(64, 1500), batches=(1, 8), setups=LADDERS)


def row(experiment, pattern, name, size=1500, batch=1):
    return next(r for r in experiment.climb(pattern, size, batch) if r.setup.name == name)


def counts(found, *names):
    return tuple(found.per_packet(name) for name in names)


# What is on the ladder --------------------------------------------------------------------------


def test_every_pattern_has_every_rung_in_the_same_order():
    for pattern in Pattern:
        assert [setup.name for setup in rungs(pattern)] == NAMES
        assert {setup.pattern for setup in rungs(pattern)} == {pattern}


def test_the_rungs_past_the_vcpu_and_past_qemu_change_the_machine_only():
    for pattern in Pattern:
        event_idx, eventfds, vhost, _ = rungs(pattern)[2:]
        for lower, upper in ((event_idx, eventfds), (eventfds, vhost)):
            same = replace(upper, name=lower.name, options=lower.options, rung=lower.rung)
            assert same == lower
        _, virtio, event_idx, *_ = rungs(pattern)
        assert replace(event_idx, name=virtio.name, symbols={}, rung=virtio.rung) == virtio


def test_what_a_rung_watches_is_counted():
    for way in LADDER:
        for name in way.rung.watches:
            assert isinstance(getattr(experiment_of_one().rows[0].sending, name), int)


def experiment_of_one():
    return run_experiment(packets=1, sizes=(64,), setups=SETUPS[:1])


def test_setups_are_chosen_by_pattern_and_each_once():
    assert setups_of([RECEIVE, RECEIVE]) == rungs(RECEIVE)
    assert setups_of([TRANSMIT])[: len(SETUPS)] == SETUPS
    assert len(setups_of(Pattern)) == len(SETUPS) + 3 * len(NAMES)


# What a packet costs ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "name", "exits", "to_qemu", "switches", "interrupts", "copies", "syscalls"),
    [
        # The kick; QEMU sends during it, so there is nothing to wait for.
        (TRANSMIT, VIRTIO, 1, 1, 0, 0, 3, 1),
        # Kick, HLT, InterruptStatus, InterruptACK, EOI. Two threads: there and back.
        (TRANSMIT, IOEVENTFD, 5, 2, 2, 1, 5, 4),
        (TRANSMIT, VHOST, 5, 2, 2, 1, 5, 0),
        # HLT, InterruptStatus, InterruptACK, EOI.
        (RECEIVE, VIRTIO, 4, 2, 2, 1, 6, 5),
        (RECEIVE, IOEVENTFD, 4, 2, 2, 1, 6, 4),
        (RECEIVE, VHOST, 4, 2, 2, 1, 5, 0),
        # And a kick for the answer.
        (REQUEST, VIRTIO, 5, 3, 2, 1, 9, 6),
        (REQUEST, IOEVENTFD, 5, 2, 4, 1, 7, 7),
        (REQUEST, VHOST, 5, 2, 4, 1, 6, 0),
    ],
)
@pytest.mark.parametrize("size", [64, 1500])
def test_one_packet_by_virtio_whatever_its_size(
    experiment, size, pattern, name, exits, to_qemu, switches, interrupts, copies, syscalls
):
    found = row(experiment, pattern, name, size)
    assert counts(found, "exits", "userspace_returns", "lightweight_exits") == (
        exits, to_qemu, exits - to_qemu,
    )  # fmt: skip
    assert counts(found, "context_switches", "interrupts", "timer_exits") == (
        switches, interrupts, 0,
    )  # fmt: skip
    assert counts(found, "copies", "syscalls") == (copies, syscalls)


@pytest.mark.parametrize("size", [64, 1500])
def test_the_card_without_dma_exits_for_every_word_either_way(experiment, size):
    words = size // 4
    assert row(experiment, TRANSMIT, "mmio-nic", size).per_packet("exits") == words + 3
    # HLT, length, acknowledgement, release, EOI
    received = row(experiment, RECEIVE, "mmio-nic", size)
    assert counts(received, "exits", "lightweight_exits", "interrupts") == (words + 5, 2, 1)
    # and status, length, doorbell for the answer
    answered = row(experiment, REQUEST, "mmio-nic", size)
    timer = answered.per_packet("timer_exits")
    assert answered.per_packet("exits") - timer == 2 * words + 8


def test_frames_are_copied_where_the_rung_says(experiment):
    """qemu->qemu: into the card; qemu->guest: QEMU's DMA; host->guest: vhost."""
    frames = (16, 16 * 1500)
    found = {name: row(experiment, RECEIVE, name).hops for name in NAMES}
    assert found["mmio-nic"]["host->qemu"] == found["mmio-nic"]["qemu->qemu"] == frames
    for name in NAMES[1:4]:
        assert found[name]["host->qemu"] == found[name]["qemu->guest"] == frames
    assert found[VHOST]["host->guest"] == frames
    assert not {"host->qemu", "qemu->guest", "qemu->host"} & set(found[VHOST])
    assert row(experiment, TRANSMIT, VHOST).hops["guest->host"] == frames
    assert row(experiment, REQUEST, VHOST).copied_per_byte == pytest.approx(2, abs=0.02)


def test_qemus_main_loop_and_the_ioctls_are_gone_with_vhost(experiment):
    for pattern in Pattern:
        assert row(experiment, pattern, VHOST).per_packet("syscalls") == 0
        assert row(experiment, pattern, IOEVENTFD).per_packet("syscalls") > 0


# Batches ----------------------------------------------------------------------------------------


def test_packets_that_come_at_once_share_all_but_their_copies(experiment):
    for name in NAMES[1:]:
        one, eight = (row(experiment, RECEIVE, name, batch=batch) for batch in (1, 8))
        for quantity in ("exits", "context_switches", "interrupts"):
            assert eight.per_packet(quantity) == one.per_packet(quantity) / 8, (name, quantity)
        assert eight.copied_per_byte == pytest.approx(one.copied_per_byte, abs=0.02)


def test_a_card_with_room_for_one_frame_shares_nothing(experiment):
    one, eight = (row(experiment, RECEIVE, "mmio-nic", batch=batch) for batch in (1, 8))
    assert counts(one, "exits", "interrupts") == counts(eight, "exits", "interrupts") == (380, 1)


def test_who_is_asked_by_an_index_is_not_kicked_for_what_he_will_find_anyway(experiment):
    """Eight packets, published one by one: one kick, or eight. HLT and the rest are shared."""
    by_index = row(experiment, TRANSMIT, VHOST, batch=8)
    by_flag = row(experiment, TRANSMIT, "- EVENT_IDX", batch=8)
    assert by_index.sending.exits == 2 * (1 + 4)
    assert by_flag.sending.exits == 2 * (8 + 4)


def test_a_device_that_works_during_the_kick_is_kicked_for_each_packet_either_way(experiment):
    for name in (VIRTIO, "+ EVENT_IDX"):
        assert row(experiment, TRANSMIT, name, batch=8).per_packet("exits") == 1


def test_event_indices_spare_notifications_that_would_tell_nothing(experiment):
    assert row(experiment, RECEIVE, VIRTIO, batch=8).per_packet("suppressed") == 0
    assert row(experiment, RECEIVE, "+ EVENT_IDX", batch=8).per_packet("suppressed") == 7 / 8


def test_requests_have_no_batches(experiment):
    assert experiment.batches_of(REQUEST) == [None]
    assert experiment.batches_of(RECEIVE) == [1, 8]
    assert {r.batch for r in experiment.climb(REQUEST, 64, None)} == {None}


# Exactness ------------------------------------------------------------------------------------


def test_the_first_packets_are_not_in_the_figures(experiment):
    """So those do not depend on how many there are, to the last context switch."""
    more = run_experiment(packets=48, sizes=(64,), batches=(1, 8), setups=LADDERS)
    for found in more.rows:
        few = row(experiment, found.setup.pattern, found.setup.name, 64, found.batch)
        for quantity in ("exits", "context_switches", "interrupts", "copies", "syscalls"):
            assert few.per_packet(quantity) == found.per_packet(quantity), found.setup.title


def test_the_same_experiment_gives_the_same_numbers():
    setups = rungs(REQUEST)
    one, other = (run_experiment(4, (64,), (1,), setups=setups) for _ in range(2))
    assert one == other


def test_rows_come_by_pattern_then_size_then_rung():
    found = run_experiment(1, (64, 128), (1, 2), setups=setups_of([REQUEST, RECEIVE]))
    order = [(r.setup.pattern, r.size, r.setup.name, r.batch) for r in found.rows]
    assert found.patterns == [REQUEST, RECEIVE]
    assert order == [
        (pattern, size, name, batch)
        for pattern, batches in ((REQUEST, (None,)), (RECEIVE, (1, 2)))
        for size in (64, 128)
        for name in NAMES
        for batch in batches
    ]


def test_as_many_packets_as_fit_leave_no_room_for_first_ones():
    found = run_experiment(4095, (14,), (64,), setups=rungs(TRANSMIT)[3:4])
    assert found.rows[0].sending.syscalls > 4095


def test_progress_tells_the_pattern_and_ends_at_its_end():
    told = []
    setups = rungs(RECEIVE)[:1]
    run_experiment(1, (64, 128), (1,), progress=lambda *step: told.append(step), setups=setups)
    assert [what for _, _, what in told] == [
        "receive, mmio-nic, the first packets", "receive, mmio-nic, 64 bytes",
        "receive, mmio-nic, the first packets", "receive, mmio-nic, 128 bytes", "done",
    ]  # fmt: skip
    assert {total for _, total, _ in told} == {4}


# What is refused --------------------------------------------------------------------------------


@pytest.fixture
def changed(tmp_path):
    """A setup whose program has a line replaced."""

    def change(setup, old: str, new: str):
        for include in guest_programs_dir().glob("*.inc"):
            shutil.copy(include, tmp_path)
        text = (guest_programs_dir() / f"{setup.program}.s").read_text()
        assert old in text
        path = tmp_path / f"{setup.program}.s"
        path.write_text(text.replace(old, new, 1))
        return replace(setup, program=str(path))

    return change


def test_a_driver_that_does_not_see_a_frame_is_an_error(changed):
    """The device has received it, its driver lets it lie."""
    bad = changed(rungs(RECEIVE)[1], "inc     r13\n", "nop\n")
    message = r"receive, virtio-net with batch 1: 2 frames of together 128 bytes came in, the guest"
    with pytest.raises(ExperimentError, match=message):
        measure(bad, load(bad), 1, numbered_frames(2, 64))


def test_frames_that_found_no_room_are_an_error():
    setup = rungs(RECEIVE)[0]
    with pytest.raises(ExperimentError, match="501 frames were given, 500 were received"):
        measure(setup, load(setup), 501, numbered_frames(501, 64))


@pytest.mark.parametrize(
    ("pattern", "batch", "message"),
    [
        (RECEIVE, 0, "--batch 0: from 1 to 500"),
        (RECEIVE, 501, "--batch 501: from 1 to 500"),
        (TRANSMIT, 129, "--batch 129: from 1 to 128"),
    ],
)
def test_a_batch_that_has_no_room_is_refused_before_anything_runs(pattern, batch, message):
    with pytest.raises(UsageError, match=message):
        run_experiment(2, (64,), (1, batch), setups=rungs(pattern))


def test_an_answer_that_is_none_is_an_error(changed):
    bad = changed(rungs(REQUEST)[1], "mov     [rsi + ETH_SOURCE + 4], ax", "nop")
    with pytest.raises(ExperimentError, match="frame 0 was sent back with other bytes"):
        measure(bad, load(bad), None, numbered_frames(2, 64))


def test_a_frame_turned_round_twice_is_itself():
    (frame,) = numbered_frames(1, 64)
    assert turned_round(turned_round(frame)) == frame
    assert turned_round(frame)[:6] == frame[6:12]
