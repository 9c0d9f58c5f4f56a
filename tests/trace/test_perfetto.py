"""Chrome trace JSON: slices that nest, counters that count, and an arrow for every packet."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trace_runs import ALL, WAYS, event, run, strange_events

from toyvisor.exit_reasons import ExitReason
from toyvisor.trace.guest_time import STEP, nanoseconds
from toyvisor.trace.perfetto import to_perfetto


@dataclass
class Picture:
    """What a viewer makes of the file. Checks all that the format asks for."""

    #: (process, thread) -> slices: (begin, end, name), in nanoseconds
    slices: dict[tuple[str, str], list[tuple[int, int, str]]]
    instants: list[dict[str, Any]] = field(default_factory=list)
    counters: list[dict[str, Any]] = field(default_factory=list)
    #: for each flow, the slices that its arrows go through
    flows: list[tuple[str, ...]] = field(default_factory=list)

    def names(self, process: str, thread: str) -> Counter[str]:
        return Counter(name for _, _, name in self.slices[process, thread])


def nano(microseconds: float) -> int:
    return round(microseconds * 1000)


def picture(events) -> Picture:
    items = json.loads("".join(to_perfetto(events)))["traceEvents"]
    names: dict[tuple[str, int], str] = {}
    for item in items:
        if item["ph"] == "M" and item["name"] in ("process_name", "thread_name"):
            number = item["pid" if item["name"] == "process_name" else "tid"]
            assert names.setdefault((item["name"], number), item["args"]["name"])
    found = Picture(defaultdict(list))
    latest: dict[object, float] = defaultdict(float)
    stacks = defaultdict(list)
    arrows = defaultdict(list)
    for item in items:
        phase = item["ph"]
        if phase == "M":
            continue
        if phase in "stf":
            assert item.get("bp") == (None if phase == "s" else "e")
            arrows[item["id"]].append(item)
            continue
        track = (names["process_name", item["pid"]], names.get(("thread_name", item.get("tid"))))
        assert item["ts"] >= latest[track], "a track's items are in the order of time"
        latest[track] = item["ts"]
        if phase == "B":
            stacks[track].append(item)
        elif phase == "E":
            begin = stacks[track].pop()
            assert begin["name"] == item["name"]
            found.slices[track].append((nano(begin["ts"]), nano(item["ts"]), item["name"]))
        elif phase == "X":
            begin = nano(item["ts"])
            found.slices[track].append((begin, begin + nano(item["dur"]), item["name"]))
        else:
            {"i": found.instants, "C": found.counters}[phase].append(item)
    assert not any(stacks.values()), "every slice ends"
    for slices in found.slices.values():
        slices.sort(key=lambda one: (one[0], -one[1]))
        _check_nesting(slices)
    found.flows = [_path(steps, found, names) for steps in arrows.values()]
    return found


def _check_nesting(slices) -> None:
    """A slice lies inside of another, or beside it; and all can be seen."""
    enclosing: list[int] = []
    for begin, end, name in slices:
        assert end - begin >= STEP, name
        while enclosing and enclosing[-1] <= begin:
            enclosing.pop()
        assert not enclosing or end <= enclosing[-1], name
        enclosing.append(end)


def _path(steps, found: Picture, names) -> tuple[str, ...]:
    """The slices under a flow's arrows, from its one start to its one finish."""
    assert [step["ph"] for step in steps] == ["s", *"t" * (len(steps) - 2), "f"]
    times = [nano(step["ts"]) for step in steps]
    assert times == sorted(set(times))
    path = []
    for time, step in zip(times, steps, strict=True):
        track = names["process_name", step["pid"]], names["thread_name", step["tid"]]
        around = [name for begin, end, name in found.slices[track] if begin <= time < end]
        assert around, f"an arrow to nothing on {track}"
        path.append(around[-1])
    return tuple(path)


@cache
def picture_of(name: str, device: str = "") -> Picture:
    return picture(run(name, device).events)


@pytest.mark.parametrize(("name", "device"), ALL)
def test_the_file_is_as_the_format_wants_it(name, device):
    """And every exit is a slice of KVM's, every return of KVM_RUN one of QEMU's."""
    one = run(name, device)
    found = picture_of(name, device)
    kinds = Counter(one.kinds())
    reasons = {reason.name for reason in ExitReason}
    handled = {n: c for n, c in found.names("KVM", "CPU 0/KVM").items() if n in reasons}
    assert sum(handled.values()) == kinds["vm_exit"] == one.result.total_exits
    assert found.names("guest", "vCPU 0") == {"guest": kinds["vm_entry"]}
    in_qemu = found.names("QEMU", "CPU 0/KVM")
    assert in_qemu["ioctl(KVM_RUN)"] >= one.result.userspace_exits
    last_of = {c["name"]: c["args"] for c in found.counters}
    assert last_of["exits"] == {
        "vmexits": one.result.total_exits, "to QEMU": one.result.userspace_exits,
    }  # fmt: skip
    if one.result.copies:
        assert last_of["copied"] == {"bytes": one.result.bytes_copied}


@pytest.mark.parametrize(("name", "device", "sent", "received"), WAYS)
def test_there_is_an_arrow_for_each_packet(name, device, sent, received):
    one = run(name, device)
    assert (len(one.result.sent), len(one.result.received)) == (sent, received)
    flows = picture_of(name, device).flows
    out = [path for path in flows if path[-1] == "writev tap0" or "writev tap0" in path
           or "tun_sendmsg" in path]  # fmt: skip
    into = [path for path in flows if "read tap0" in path or "tun_recvmsg" in path]
    assert (len(out), len(into)) == (sent, received)
    assert len(flows) == sent + received


@pytest.mark.parametrize(
    ("name", "device", "path"),
    [
        (
            "mmio_nic_tx", "",
            "copy guest->kvm, copy kvm->qemu, write mmio-nic+0x800, copy qemu->host, writev tap0",
        ),
        ("virtio_net_tx", "", "virtqueue_pop, copy qemu->host, writev tap0, virtqueue_fill"),
        (
            "virtio_net_tx_sleep", "virtio-net,vhost=on",
            "virtqueue_pop, copy guest->host, tun_sendmsg, virtqueue_fill, vhost_signal, HLT, "
            "guest",
        ),
        (
            "virtio_net_rx", "",
            "copy host->qemu, read tap0, virtqueue_pop, copy qemu->guest, virtqueue_fill, "
            "virtio_notify, HLT, guest",
        ),
        (
            "virtio_net_rx", "virtio-net,vhost=on",
            "tun_recvmsg, virtqueue_pop, copy host->guest, virtqueue_fill, vhost_signal, HLT, "
            "guest",
        ),
        (
            "mmio_nic_rx", "",
            "copy host->qemu, read tap0, copy qemu->qemu, main_loop_wait, HLT, guest, "
            "read mmio-nic+0x200, copy qemu->kvm, copy kvm->guest",
        ),
        (
            "hello_serial", "",
            "copy guest->kvm, copy kvm->qemu, write serial+0x0, copy qemu->host, write console",
        ),
    ],
)  # fmt: skip
def test_the_way_of_a_packet(name, device, path):
    ways = Counter(picture_of(name, device).flows)
    assert set(ways) == {tuple(path.split(", "))}


def test_a_turn_of_another_thread_is_a_slice_around_what_it_does():
    found = picture_of("virtio_net_rx", "virtio-net,vhost=on")
    vhost = found.names("host kernel", "vhost-1")
    assert vhost["vhost_worker"] == vhost["handle_rx_net"] + vhost["handle_rx_kick"] == 30
    assert vhost["tun_recvmsg"] == vhost["copy host->guest"] == 29
    assert found.names("QEMU", "qemu-system-x86")["main_loop_wait"] == 1


def test_a_device_s_part_is_inside_of_qemu_s_handling_of_the_exit():
    slices = picture_of("one_store").slices["QEMU", "CPU 0/KVM"]
    handling, copy, store = slices[1:4]
    assert [one[2] for one in (handling, copy, store)] == [
        "KVM_EXIT_MMIO", "copy kvm->qemu", "write mmio-nic+0x18",
    ]  # fmt: skip
    assert handling[0] < copy[0] < copy[1] <= store[0] < store[1] == handling[1]


def test_the_guest_s_slices_begin_and_end_by_its_instructions():
    guest = picture_of("one_store").slices["guest", "vCPU 0"]
    assert guest[0] == (STEP, nanoseconds(2), "guest")


def test_interrupts_and_errors_are_instants():
    interrupts = [i["name"] for i in picture_of("virtio_net_rx").instants]
    assert Counter(interrupts)["kvm_inj_virq"] == 29
    broken = [event("guest_error", layer="QEMU", device="virtio-net", rule="r", what="w")]
    (instant,) = picture(broken).instants
    assert (instant["name"], instant["args"]["what"]) == ("guest_error", "w")


def test_a_buffer_that_nobody_was_told_of_ends_where_it_was_put():
    events = [
        event("virtqueue_pop", queue="q", head=0, in_num=0, out_num=1),
        event("virtqueue_fill", queue="q", head=0, len=0, idx=0),
        event("virtio_notify", device="d", queue="q", suppressed=True),
    ]
    assert picture(events).flows == [("virtqueue_pop", "virtqueue_fill")]


def test_a_packet_that_goes_nowhere_has_no_arrow():
    assert picture([event("tun_recvmsg", file="tap0", bytes=60)]).flows == []


def test_a_timer_s_interrupt_takes_no_packet_along():
    def told(vector):
        events = [
            event("ioctl", request="KVM_RUN"),
            event("virtqueue_pop", queue="q", head=0, in_num=0, out_num=1),
            event("virtqueue_fill", queue="q", head=0, len=0, idx=0),
            event("virtio_notify", device="d", queue="q", suppressed=False),
            event("kvm_set_irq", gsi=5, level=1, source=0),
            event("kvm_inj_virq", irq=vector),
            event("vm_entry"),
            event("vm_exit", clock=9, reason=12, rip=1, address=0, size=0),
        ]
        (flow,) = picture([{**e, "layer": "GUEST"} if e["event"] == "vm_entry" else e
                           for e in events]).flows  # fmt: skip
        return flow

    assert told(0x25)[-1] == "guest"
    assert told(0x20)[-1] == "virtio_notify"


def test_a_stream_of_nothing():
    assert json.loads("".join(to_perfetto([])))["traceEvents"] == []


@given(st.lists(strange_events))
def test_events_that_somebody_else_wrote_make_a_good_file(events):
    picture(events)
