"""Drivers that lose frames: how many, why, and what is told of it, whoever serves the queues."""

from __future__ import annotations

import pytest
from running import Run, load_here, program, run

from toyvisor.host.net import NetBackend
from toyvisor.host.tap import TX_QUEUE_LEN
from toyvisor.qemu.machine import Arrivals, Machine

SERVED = {
    "vcpu thread": {"ioeventfd": False},
    "ioeventfd": {"ioeventfd": True},
    "irqfd": {"ioeventfd": True, "irqfd": True},
    "vhost": {"vhost": True},
}
FRAMES = [bytes([n]) * 60 for n in range(29)]


def receive(
    name: str, served: str = "vcpu thread", frames: list[bytes] = FRAMES, burst: int = 1
) -> Run:
    return run(
        f"broken/{name}",
        frames,
        options={"virtio-net": SERVED[served]},
        arrivals=Arrivals(burst),
    )


def told(done: Run) -> list[str]:
    return [error.message for _, error in done.errors]


# no_interrupt_ack ---------------------------------------------------------------------------------


@pytest.mark.parametrize("served", ["vcpu thread", "ioeventfd"])
def test_without_acknowledgement_there_is_no_second_interrupt(served):
    done = receive("no_interrupt_ack", served)
    assert done.ledger.injected == 1
    assert done.console == "."
    assert len(done.received) == 9, "as many as there were buffers: 8, and the one given back"
    assert done.rules == ["pic.blocked", "virtio.net.rx-waiting"]


@pytest.mark.parametrize("served", ["irqfd", "vhost"])
def test_with_an_irqfd_each_signal_is_an_edge_and_nothing_is_lost(served):
    """The mistake does not show: nobody holds the line up until it is acknowledged."""
    done = receive("no_interrupt_ack", served)
    assert (done.ledger.injected, done.console) == (29, "." * 29)
    assert done.rules == []


# used_event_never_updated -------------------------------------------------------------------------


@pytest.mark.parametrize("served", SERVED)
def test_a_used_event_left_behind_is_met_once(served):
    done = receive("used_event_never_updated", served)
    assert (done.ledger.injected, done.ledger.suppressed) == (1, 28)
    assert done.console == "."
    assert len(done.received) == 29, "they lie in the guest's buffers"
    assert done.rules == ["virtio.net.rx-unheard"]
    assert "28 used buffer(s) of receiveq were not announced" in told(done)[0]


@pytest.mark.parametrize("served", SERVED)
def test_with_one_frame_it_is_not_noticed(served):
    done = receive("used_event_never_updated", served, FRAMES[:1])
    assert (done.console, done.rules) == (".", [])


@pytest.mark.parametrize("served", SERVED)
def test_the_flag_left_set_is_told_as_well(served, tmp_path):
    text = program("broken/rx_no_buffers").path.read_text()
    text = text.replace(
        "done:\n",
        "done:\n        mov word ptr [RXQ_AVAIL + VIRTQ_AVAIL_FLAGS], VIRTQ_AVAIL_F_NO_INTERRUPT\n"
        "        mov [RXQ_AVAIL + VIRTQ_AVAIL_IDX], bx\n",
    )
    include = program("broken/rx_no_buffers").path.with_name("receive.inc")
    (tmp_path / "receive.inc").write_text(include.read_text())
    done = run(load_here(tmp_path, text), FRAMES[:3], options={"virtio-net": SERVED[served]})
    assert done.console == "."
    assert done.rules == ["virtio.net.rx-unheard"]
    assert "VIRTQ_AVAIL_F_NO_INTERRUPT set, and used.idx is 3" in told(done)[0]


# index_masked_early -------------------------------------------------------------------------------


@pytest.mark.parametrize("served", SERVED)
def test_a_full_ring_looks_empty_when_indices_are_cut(served):
    done = receive("index_masked_early", served)
    assert done.console == ""
    assert len(done.received) == (5 if served == "vhost" else 4), "vhost looks at the next one"
    assert done.rules == ["virtio.net.rx-waiting"]
    assert (
        "all buffers in receiveq are used, none came back: avail.idx and used.idx are 4"
        in told(done)[0]
    )


def test_three_frames_are_no_trouble():
    assert receive("index_masked_early", frames=FRAMES[:3]).console == "..."


# used_index_not_reread ----------------------------------------------------------------------------


@pytest.mark.parametrize("served", ["vcpu thread", "ioeventfd"])
def test_frames_that_come_during_the_handler_are_not_seen(served):
    done = receive("used_index_not_reread", served)
    assert len(done.received) == 29
    assert 0 < len(done.console) < 29
    assert done.rules == [], "it breaks no rule"


def test_frames_that_come_far_apart_are_all_seen():
    """The mistake needs a frame that comes while another one is worked on."""
    done = run("broken/used_index_not_reread", FRAMES, arrivals=Arrivals(1, 50_000))
    assert done.console == "." * 29


# rx_no_buffers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("served", SERVED)
def test_without_buffers_frames_wait_in_the_host(served):
    done = receive("rx_no_buffers", served)
    assert done.console == "...."
    assert done.rules == ["virtio.net.rx-waiting"]
    assert "25 frames wait in the host" in told(done)[0]


def test_and_are_dropped_when_its_queue_is_full():
    net = NetBackend([bytes(60)] * 600)
    with Machine(program("broken/rx_no_buffers"), net, arrivals=Arrivals(600)) as machine:
        machine.run()
        assert len(net.received) == 4
        assert net.file.tx_dropped == 600 - TX_QUEUE_LEN
        ((_, error),) = machine.errors.entries
        assert f"{TX_QUEUE_LEN - 4} frames wait" in error.message


@pytest.mark.parametrize(
    ("call", "why"),
    [
        ("post_buffers", "into receiveq: avail.idx and used.idx are 0"),
        ("virtio_net_add_receiveq", "the driver has not set up receiveq, the queue for them"),
        ("virtio_net_driver_ok", "the device is not live, Status is 0xb"),
    ],
)
def test_a_step_left_out_of_the_set_up_is_told(call, why, tmp_path):
    source = program("broken/rx_no_buffers").path
    include = source.with_name("receive.inc").read_text()
    without = include.replace(f"        call    {call}\n", "", 1)
    if call != "virtio_net_add_receiveq":
        without = without.replace("        mov     dword ptr [rdi + VIRTIO_MMIO_QUEUE_NOTIFY]", ";")
    if call == "post_buffers":
        without = without.replace("        call    virtio_net_driver_ok", "xor ebx, ebx\n"
                                  "        mov [RXQ_AVAIL + VIRTQ_AVAIL_IDX], bx\n"
                                  "        call    virtio_net_driver_ok", 1)  # fmt: skip
    (tmp_path / "receive.inc").write_text(without)
    done = run(load_here(tmp_path, source.read_text()), FRAMES)
    assert done.rules[-1] == "virtio.net.rx-waiting"
    assert told(done)[-1].endswith(why)


# publishes_before_filling -------------------------------------------------------------------------


@pytest.mark.parametrize("served", ["ioeventfd", "irqfd", "vhost"])
def test_a_packet_published_too_early_is_found_half_done(served):
    done = receive("publishes_before_filling", served)
    assert done.sent == []
    assert "len 0" in told(done)[0]


def test_a_device_that_looks_during_kicks_only_never_finds_out():
    done = receive("publishes_before_filling")
    assert ([len(frame) for frame in done.sent], done.rules) == ([1514] * 8, [])


# frame_not_released -------------------------------------------------------------------------------


def test_a_card_with_a_frame_in_it_takes_no_other():
    done = receive("frame_not_released")
    assert (len(done.received), done.ledger.injected) == (1, 1)
    assert "28 frames wait" in told(done)[0]


def test_a_card_that_may_not_receive_says_so(tmp_path):
    text = program("broken/frame_not_released").path.read_text()
    done = run(load_here(tmp_path, text.replace("NIC_CONTROL_RX_ENABLE | ", "")), FRAMES)
    assert told(done) == [
        "the guest sleeps in HLT while 29 frames wait in the host: CONTROL.RX_ENABLE is 0"
    ]


def test_a_guest_that_has_switched_interrupts_off_wants_no_more_frames(tmp_path):
    text = program("broken/frame_not_released").path.read_text()
    assert run(load_here(tmp_path, text.replace("        sti\n", "")), FRAMES).rules == []
