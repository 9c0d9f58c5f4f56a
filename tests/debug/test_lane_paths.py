"""One exit's way through the layers: where control is, and where the bytes are."""

from __future__ import annotations

from sessions import session

from toyvisor.debug.views.lanes import Place, bytes_at, path_of_exit
from toyvisor.trace.events import Layer


def test_a_store_goes_down_and_comes_back() -> None:
    """Events 2 to 9 of one_store are its exit; event 9 enters the guest again."""
    with session("one_store") as s:
        s.go_to_end()
        path = path_of_exit(s.events, 6)
        assert path is not None
        assert (path.first, path.last, path.is_over) == (2, 9, False)
        assert path.title == "store to 0xd0000018, 4 bytes"
        assert [hop.layer for hop in path.hops] == [
            Layer.GUEST, Layer.KVM, Layer.KVM, Layer.KVM, Layer.QEMU, Layer.QEMU, Layer.QEMU,
            Layer.GUEST,
        ]  # fmt: skip
        assert path.hops[path.current].event == 6
        assert [hop.is_done for hop in path.hops] == 5 * [True] + 3 * [False]
        assert path.hops[0].label == "exit: EPT_VIOLATION"
        assert [(m.event, m.source, m.target, m.count) for m in path.moves] == [
            (4, Place.GUEST, Place.KVM_RUN, 4), (6, Place.KVM_RUN, Place.DEVICE, 4),
        ]  # fmt: skip


def test_where_the_bytes_of_a_store_are_at_each_event() -> None:
    with session("one_store") as s:
        s.go_to_end()
        places = [bytes_at(s.events, number).place for number in range(2, 10)]
    assert places == [
        Place.GUEST, Place.GUEST, Place.KVM_RUN, Place.KVM_RUN, Place.DEVICE, Place.DEVICE,
        Place.DEVICE, Place.DEVICE,
    ]  # fmt: skip


def test_the_answer_of_a_load_comes_up() -> None:
    with session("one_load") as s:
        s.go_to_end()
        places = [bytes_at(s.events, number) for number in range(2, 11)]
    assert [place.place for place in places] == [
        Place.NONE, Place.NONE, Place.NONE, Place.DEVICE, Place.KVM_RUN, Place.KVM_RUN,
        Place.KVM_RUN, Place.GUEST, Place.GUEST,
    ]  # fmt: skip
    assert (places[4].count, places[4].words) == (4, "4 bytes in kvm_run.mmio.data")


def test_a_virtio_packet_stays_in_guest_ram_until_the_host_takes_it() -> None:
    with session("virtio_net_tx") as s:
        s.go_to_end()
        kick = next(e.seq for e in s.events if e.kind.name == "virtio_queue_notify")
        found = {}
        for number in range(kick, kick + 8):
            found[s.events[number].kind.name] = bytes_at(s.events, number)
    assert (found["virtqueue_pop"].place, found["virtqueue_pop"].count) == (Place.RAM, 342)
    assert (found["copy"].place, found["copy"].layer) == (Place.TAP, Layer.HOST)
    assert found["syscall"].words == "342 bytes sent: tap0 has them"
    assert found["virtqueue_flush"].place is Place.SENT


def test_vhost_takes_a_frame_straight_into_guest_ram() -> None:
    with session("virtio_net_rx", options={"virtio-net": {"vhost": True}}) as s:
        s.go_to_end()
        first = next(e.seq for e in s.events if e.kind.name == "tun_recvmsg")
        places = [bytes_at(s.events, number).place for number in range(first, first + 3)]
        path = path_of_exit(s.events, first)
    assert places == [Place.TAP, Place.TAP, Place.RAM]
    assert path is not None
    assert path.title == "HLT"  # the guest sleeps meanwhile


def test_before_the_first_exit_it_is_the_way_in() -> None:
    with session("one_store") as s:
        path = path_of_exit(s.events, 1)
        assert path is not None
        assert (path.title, path.is_over, path.last) == ("the first entry", True, 1)
        assert path_of_exit(s.events, -1) is None
        assert path_of_exit([], 0) is None


def test_a_list_of_events_will_do() -> None:
    with session("one_store") as s:
        s.go_to_end()
        assert path_of_exit(list(s.events), 7) == path_of_exit(s.events, 7)


def test_an_exit_that_never_ends_has_no_last_event() -> None:
    with session("one_store") as s:
        s.go_to_end()
        path = path_of_exit(s.events, len(s.events) - 1)
    assert path is not None
    assert (path.title, path.last, path.is_over) == ("HLT", None, False)


def test_labels_fit_into_a_lane() -> None:
    with session("virtio_net_tx") as s:
        s.go_to_end()
        for number in s.events.exits[:40]:
            path = path_of_exit(s.events, number)
            assert path is not None
            assert all(0 < len(hop.label) <= 30 for hop in path.hops)
