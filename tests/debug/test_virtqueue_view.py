"""The virtqueue view: what lies in the rings, who owns it now, what changed; whoever serves it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sessions import session, session_of

from toyvisor.debug.moment import StopReason, Unit
from toyvisor.debug.session import Session
from toyvisor.debug.views.virtqueue import (
    Owner,
    VirtqueueView,
    changed_in_queue,
    virtqueue,
    virtqueues,
)


def behind(s: Session, kind: str) -> VirtqueueView:
    """The transmit queue right behind the next event of a kind."""
    while s.step(Unit.EVENT).reason is StopReason.STEP:
        if s.events[s.moment.events - 1].kind.name == kind:
            found = virtqueue(s.machine, "virtio-net", 1)
            assert found is not None
            return found
    raise AssertionError(f"no {kind} comes")


@pytest.fixture
def sending() -> Iterator[Session]:
    """virtio_net_tx about to publish its first packet: descriptors 0 and 1."""
    with session("virtio_net_tx") as s:
        s.run_to("next_frame")
        yield s


def owners(view: VirtqueueView) -> str:
    return "".join(row.owner.mark for row in view.descriptors)


def test_a_queue_before_it_is_ready_is_the_drivers() -> None:
    with session("virtio_net_tx") as s:
        receive, transmit = virtqueues(s.machine)
        assert (receive.name, receive.ready, receive.max_size) == ("receiveq", False, 256)
        assert (transmit.name, transmit.size, transmit.served_by) == ("transmitq", 0, "")
        assert transmit.problem == "the queue has no size yet"
        assert transmit.descriptors == ()


def test_the_trip_of_one_packet(sending: Session) -> None:
    """VIRTIO 1.2, 2.7.13 and 2.7.14, step by step, as who owns descriptors 0 and 1."""
    s = sending
    views = [virtqueue(s.machine, "virtio-net", 1)]
    s.run_until("rip == wait_used - 7")  # avail.idx is written, the kick comes next
    views.append(virtqueue(s.machine, "virtio-net", 1))
    views += [behind(s, kind) for kind in ("virtqueue_pop", "virtqueue_fill", "virtqueue_flush")]
    assert [owners(view) for view in views if view is not None] == [
        "FFFFFFFF", "AAFFFFFF", "IIFFFFFF", "IIFFFFFF", "UUFFFFFF",
    ]  # fmt: skip
    used = views[-1]
    assert used is not None
    assert (used.avail.idx, used.used.idx, used.device_state.last_avail) == (1, 1, 1)
    assert used.descriptors[0].flag_names == "NEXT"
    assert [(c.head, c.indices, c.owner) for c in used.chains] == [(0, (0, 1), Owner.USED)]
    assert used.chains[0].is_inferred  # the driver keeps in a register how far it has looked


def test_what_each_step_of_a_packet_changes(sending: Session) -> None:
    s = sending
    pop = behind(s, "virtqueue_pop")
    flush = behind(s, "virtqueue_flush")
    assert changed_in_queue(pop, flush) == {
        "used.idx", "used_idx", "in_flight", "owner[0]", "owner[1]",
    }  # fmt: skip
    assert changed_in_queue(None, flush) == frozenset()
    again = behind(s, "virtqueue_pop")
    changed = changed_in_queue(flush, again)
    assert {"avail.idx", "desc[1]", "last_avail", "owner[0]", "driver_seen"} <= changed
    assert "desc[0]" not in changed  # the header stays where it is


def test_what_is_given_again_has_been_seen(sending: Session) -> None:
    s = sending
    behind(s, "virtqueue_flush")
    second = behind(s, "virtqueue_pop")
    assert second.driver_seen.position == 1
    assert second.driver_seen.how == "what it has made available again it has seen"
    assert [entry.owner.mark for entry in second.used.entries[:2]] == ["F", " "]
    assert [entry.owner.mark for entry in second.avail.entries[:3]] == ["F", "I", " "]
    assert second.avail.entries[2].is_next_for_driver
    assert second.avail.entries[2].is_next_for_device


def test_used_but_not_yet_published() -> None:
    """virtio_net_event_idx sends batches: the device publishes them together."""
    with session("virtio_net_event_idx") as s:
        behind(s, "virtqueue_fill")
        view = behind(s, "virtqueue_fill")
        filled = view.device_state.filled
        published = [c for c in view.chains if c.owner is Owner.PUBLISHING]
        # the event comes before the counter: the second element is still counted in flight
        assert (filled, len(published), view.used.idx) == (1, 1, 0)
        assert view.event_idx
        assert view.avail.used_event is not None


def test_vhosts_queue_looks_as_qemus_does() -> None:
    seen = []
    for vhost in (False, True):
        with session("virtio_net_event_idx", options={"virtio-net": {"vhost": vhost}}) as s:
            view = behind(s, "virtqueue_flush")
            state = view.device_state._replace(wants_kick=None)  # each asks at another time
            seen.append((view.served_by, owners(view), view.used.idx, state))
    assert [one[0] for one in seen] == ["QEMU", "vhost"]
    assert seen[0][1:] == seen[1][1:]
    assert seen[0][1].startswith(16 * "U")


def test_a_receive_queue_is_full_of_buffers_that_wait() -> None:
    with session("virtio_net_rx") as s:
        s.run_to("sleep")
        view = virtqueue(s.machine, "virtio-net", 0)
    assert view is not None
    assert owners(view) == 64 * "A"
    assert view.descriptors[3].flag_names == "WRITE"
    assert {(c.readable, c.writable) for c in view.chains} == {(0, 1526)}
    assert view.avail.idx == 64


@pytest.mark.parametrize(
    ("program", "problem"),
    [
        ("broken/descriptor_loop", "loops back to 0"),
        ("broken/descriptor_outside_ram", "descriptor 0: the buffer is not in RAM"),
    ],
)
def test_a_broken_chain_says_what_is_wrong(program: str, problem: str) -> None:
    with session(program) as s:
        while s.step(Unit.EXIT).reason is StopReason.STEP:
            chains = [c for view in virtqueues(s.machine) for c in view.chains]
            if chains:
                break
        assert chains[0].owner is Owner.AVAILABLE
        assert chains[0].problem == problem


def test_an_avail_index_that_jumped_is_no_hundred_buffers() -> None:
    with session("virtio_net_tx") as s:
        s.run_to("next_frame")
        s.write_memory(s.resolve("VIRTQ_AVAIL") + 2, (1000).to_bytes(2, "little"))
        view = virtqueue(s.machine, "virtio-net", 1)
    assert view is not None
    assert view.problem.startswith("avail.idx is 1000, the device stands at 0")
    assert owners(view) == "FFFFFFFF"


def test_a_ring_that_is_not_in_ram() -> None:
    with session("broken/ring_outside_ram") as s:
        s.go_to_end()
        view = virtqueue(s.machine, "virtio-net", 1)
    assert view is not None
    assert "not in RAM" in view.problem


def test_a_device_that_gave_up_serves_nobody() -> None:
    with session("broken/descriptor_loop") as s:
        s.go_to_end()
        view = virtqueue(s.machine, "virtio-net", 1)
    assert view is not None
    assert (view.ready, view.served_by, view.device_state.last_avail) == (True, "", None)
    assert all(chain.is_inferred for chain in view.chains)


def test_indirect_tables_are_opened(tmp_path: Path) -> None:
    """A driver written by hand: one descriptor with INDIRECT, a table of two."""
    source = """
        .include "machine.inc"
        .include "virtio.inc"
        .set VIRTIO_NET_FEATURES, 1 << VIRTIO_F_INDIRECT_DESC
        .set QUEUE_SIZE, 4
        mov     edi, MMIO_BASE
        call    virtio_net_negotiate
        call    virtio_net_add_queue
        mov     qword ptr [TXQ_DESC], 0x5000
        mov     dword ptr [TXQ_DESC + 8], 32
        mov     word ptr [TXQ_DESC + 12], VIRTQ_DESC_F_INDIRECT
        mov     qword ptr [0x5000], 0x6000
        mov     dword ptr [0x5008], 12
        mov     word ptr [0x500c], VIRTQ_DESC_F_NEXT
        mov     word ptr [0x500e], 1
        mov     qword ptr [0x5010], 0x7000
        mov     dword ptr [0x5018], 60
        mov     word ptr [TXQ_AVAIL + 2], 1
        hlt
        .include "virtio_net_init.inc"
        """
    block = 'mode = "long"\ndevices = ["virtio-net", "debugcon"]'
    with session_of(source, tmp_path, block=block) as s:
        s.go_to_end()
        view = virtqueue(s.machine, "virtio-net", 1)
    assert view is not None
    assert view.indirect
    (chain,) = view.chains
    assert (chain.indices, chain.indirect_of, chain.readable) == ((0,), 0, 72)
    rows = view.descriptors[0].indirect
    assert [(row.addr, row.length, row.flag_names) for row in rows] == [
        (0x6000, 12, "NEXT"), (0x7000, 60, ""),
    ]  # fmt: skip


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rings=st.binary(min_size=300, max_size=300))
def test_garbage_in_the_rings_raises_nothing(garbled: Session, rings: bytes) -> None:
    ram = garbled.machine.ram
    start = garbled.resolve("VIRTQ_DESC")
    kept = bytes(ram[start : start + len(rings)])
    ram[start : start + len(rings)] = rings
    view = virtqueue(garbled.machine, "virtio-net", 1)
    ram[start : start + len(rings)] = kept
    assert view is not None
    assert len(view.descriptors) == 8
    assert len(view.chains) <= 2 * 8
    assert all(len(chain.indices) <= 8 for chain in view.chains)


@pytest.fixture
def garbled() -> Iterator[Session]:
    with session("virtio_net_tx") as s:
        s.run_to("sent")
        yield s
