"""The ping responders' replies, byte by byte: what is answered, and what is not."""

from __future__ import annotations

import select
import shutil
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from own_net import OwnNet, why_not
from ping_kit import (
    BROADCAST,
    CAPTURE,
    GUEST,
    GUEST_MAC,
    NEIGHBOUR_MAC,
    OTHER,
    OTHER_MAC,
    answer,
    answers,
    captured,
    ethernet_frame,
    ping,
    who_has,
)
from running import run

from toyvisor.host.pcap import PcapWriter
from toyvisor.host.tun import TunTap
from toyvisor.qemu.machine import Arrivals

VIRTIO, MMIO = "ping_responder", "mmio_nic_ping_responder"
#: program, symbols, device options
WAYS = {
    "virtio-net": (VIRTIO, {}, {}),
    "event-idx": (VIRTIO, {"EVENT_IDX": 1}, {}),
    "small-queue": (VIRTIO, {"QUEUE_SIZE": 2}, {}),
    "ioeventfd": (VIRTIO, {}, {"ioeventfd": True}),
    "irqfd": (VIRTIO, {"EVENT_IDX": 1}, {"ioeventfd": True, "irqfd": True}),
    "vhost": (VIRTIO, {}, {"vhost": True}),
    "vhost-event-idx": (VIRTIO, {"EVENT_IDX": 1}, {"vhost": True}),
    "mmio-nic": (MMIO, {}, {}),
    "mmio-nic-8": (MMIO, {"CARRY_WIDTH": 8}, {}),
}


def reply_to(frames: list[bytes], way: str = "virtio-net", burst: int = 1) -> list[bytes]:
    program, symbols, options = WAYS[way]
    done = run(
        program,
        frames,
        symbols=symbols,
        options={"virtio-net": options},
        arrivals=Arrivals(burst, 50_000),
        budget=20_000_000,
    )
    assert (done.outcome, done.rules) == ("halted", [])
    assert "no interrupt is to come" in done.ending.explanation, "it waits for the next one"
    return done.sent


ODD = {
    "nothing but a header": GUEST_MAC + OTHER_MAC + b"\x08\x00",
    "another protocol": ethernet_frame(0x86DD, bytes(46)),
    "a VLAN tag": ethernet_frame(0x8100, b"\0\1\x08\0" + bytes(42)),
    "to another station": ping(to=OTHER_MAC),
    "to a group of stations": ping(to=bytes.fromhex("01005e000001")),
    "ARP for another address": who_has(OTHER),
    "an ARP reply": who_has(op=2),
    "ARP from our own address": who_has(sender=GUEST),
    "ARP cut short": who_has(pad=0)[:41],
    "ARP of another hardware": ethernet_frame(0x806, b"\0\7" + who_has()[16:42]),
    "to another address": ping(dst=OTHER),
    "to all addresses": ping(dst=b"\xff" * 4, to=BROADCAST),
    "from our own address": ping(src=GUEST),
    "from nobody": ping(src=bytes(4)),
    "from the loopback": ping(src=bytes([127, 0, 0, 1])),
    "from a group": ping(src=bytes([224, 0, 0, 1])),
    "from everybody": ping(src=b"\xff" * 4),
    "the first fragment": ping(mf=1),
    "the last fragment": ping(offset=8),
    "IP options": ping(opts=b"\1\1\1\1", hl=6),
    "version 6": ping(v=6),
    "UDP": ping(p=17),
    "an echo reply": ping(kind=0),
    "another code": ping(code=1),
    "a bad header checksum": ping(sum=0x1111),
    "cut short": ping(b"x" * 100)[:-1],
    "IP cut short": ping(pad=0)[:33],
}
#: a flipped bit in the data, after its checksum was made
FLIPPED = bytearray(ping(b"x" * 100))
FLIPPED[-1] ^= 1
ODD["a bad ICMP checksum"] = bytes(FLIPPED)
LENGTH = bytearray(ping())
LENGTH[16:18] = b"\0\x1b"  # 27 bytes: no room for ICMP's header
ODD["a packet shorter than its headers"] = bytes(LENGTH)

GOOD = {
    "ARP": who_has(),
    "ARP without padding": who_has(pad=0),
    "ARP to us alone": who_has(to=GUEST_MAC),
    "ARP from a machine without address": who_has(sender=bytes(4)),
    "a ping": ping(),
    "a ping to all stations": ping(to=BROADCAST),
    "a ping without data": ping(b"", pad=0),
    "a ping with odd data": ping(b"x"),
    "the longest ping": ping(bytes(range(256)) * 5 + bytes(192)),
    "don't fragment": ping(df=1),
    "type of service": ping(tos=0xB8),
    "the last hop": ping(ttl=1),
    "a sum of all ones": ping(b"\xff" * 40),
    "a sum that carries": ping(b"\xf7\xff" * 300 + b"\xff"),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_shipped_capture_is_answered_frame_by_frame(way):
    frames = captured()
    replies = reply_to(frames, way)
    assert replies == answers(frames)
    assert len(replies) == 12


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("burst", [3, 100])
def test_frames_that_come_all_at_once_are_answered_in_order(way, burst):
    frames = [ping(bytes([n]) * n, n) if n % 4 else who_has() for n in range(100)]
    assert reply_to(frames, way, burst) == answers(frames)


@pytest.mark.parametrize("way", ["virtio-net", "mmio-nic"])
def test_all_that_is_good_is_answered(way):
    assert [name for name, frame in GOOD.items() if answer(frame) is None] == []
    assert reply_to(list(GOOD.values()), way) == answers(list(GOOD.values()))


@pytest.mark.parametrize("way", ["virtio-net", "vhost", "mmio-nic"])
def test_what_is_odd_is_ignored_and_the_next_ping_answered(way):
    assert [name for name, frame in ODD.items() if answer(frame) is not None] == []
    for name, frame in ODD.items():
        assert reply_to([frame, GOOD["a ping"]], way) == [answer(GOOD["a ping"])], name


@settings(max_examples=60, deadline=None)
@given(
    data=st.lists(
        st.tuples(
            st.sampled_from([*GOOD.values(), *ODD.values()]),
            st.lists(st.tuples(st.integers(0, 60), st.integers(0, 255)), max_size=2),
            st.integers(0, 80) | st.none(),
        ),
        min_size=1,
        max_size=20,
    ),
    burst=st.integers(1, 20),
)
def test_mutated_frames(data, burst):
    """Bytes overwritten, ends cut off: the guest agrees with the model about every one."""
    frames = []
    for frame, changes, length in data:
        mutated = bytearray(frame)
        for place, value in changes:
            if place < len(mutated):
                mutated[place] = value
        frames.append(bytes(mutated[:length]) if length else bytes(mutated))
    assert reply_to([*frames, GOOD["a ping"]], burst=burst) == answers([*frames, GOOD["a ping"]])


def test_another_address_can_be_assembled_in():
    done = run(VIRTIO, [who_has(OTHER), who_has()], symbols={"IP_ADDRESS": 0x0A000003})
    assert [frame[28:32] for frame in done.sent] == [OTHER]


# What others say of the replies ---------------------------------------------------------------


def replies_saved(tmp_path) -> str:
    target = str(tmp_path / "replies.pcap")
    writer = PcapWriter(target)
    for frame in reply_to([*captured(), *GOOD.values()]):
        writer.receive(frame)
    writer.close()
    return target


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
def test_wireshark_finds_nothing_wrong_with_the_replies(tmp_path):
    suspect = "_ws.malformed || _ws.expert.severity >= 6291456 || ip.checksum.status != 1 || "
    suspect += "icmp.checksum.status != 1"
    command = ["tshark", "-r", replies_saved(tmp_path), "-o", "ip.check_checksum:TRUE"]
    done = subprocess.run(
        [*command, "-Y", suspect], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == ""
    every = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert every.stdout.count("Echo (ping) reply") == 10 + 10
    assert every.stdout.count("is at") == 2 + 4


def test_scapy_would_have_answered_the_same():
    """Its answering machines are not asked, but built packet by packet; it adds the checksums."""
    pytest.importorskip("scapy")
    from scapy.layers.inet import ICMP, IP
    from scapy.layers.l2 import ARP, Ether

    for frame, reply in zip(GOOD.values(), reply_to(list(GOOD.values())), strict=True):
        asked = Ether(frame)
        expected = Ether(dst=asked.src, src=GUEST_MAC.hex(":"))
        if ARP in asked:
            expected /= ARP(
                op="is-at", hwsrc=GUEST_MAC.hex(":"), psrc="10.0.0.2",
                hwdst=asked.hwsrc, pdst=asked.psrc,
            )  # fmt: skip
        else:
            expected /= IP(src="10.0.0.2", dst=asked[IP].src, tos=asked.tos, id=0, flags="DF")
            data = bytes(asked[ICMP].payload)[: asked[IP].len - 28]
            expected /= ICMP(type="echo-reply", id=asked[ICMP].id, seq=asked[ICMP].seq) / data
        assert bytes(expected) == reply


@pytest.fixture(scope="module")
def linux():
    """A real Linux that has the guest's addresses; ask it with a list of frames."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    net = OwnNet()
    net.enter()
    net.ip("tuntap add tap0 mode tap")
    net.ip(f"link set tap0 address {GUEST_MAC.hex(':')}")
    net.ip("addr add 10.0.0.2/24 dev tap0")
    net.ip("link set tap0 up")
    net.ip(f"neigh add 10.0.0.1 lladdr {NEIGHBOUR_MAC.hex(':')} nud permanent dev tap0")
    tap = net.run(TunTap, "tap0")
    net.host_side("tap0").close()

    def ask(frame: bytes) -> list[bytes]:
        tap.transmit(bytearray(frame))
        found = []
        while select.select([tap], [], [], 0.2 if not found else 0)[0]:
            reply = tap.recv()
            if reply is not None:
                found.append(reply)
        return found

    yield ask
    tap.close()
    net.close()


def without_number(frame: bytes) -> bytes:
    """An IP packet without what numbers it (identification, don't fragment, checksum)."""
    if frame[12:14] != b"\x08\x00":
        return frame
    return frame[:18] + frame[22:24] + frame[26:]


#: Linux takes IP options, any code of an echo request, and pings in frames to any group.
LINUX_IS_MORE_GENEROUS = {"IP options", "another code", "to a group of stations"}


@pytest.mark.slow
def test_linux_answers_the_same(linux):
    """But for the number of the packet, which it counts on and the guest leaves 0."""
    frames = {**GOOD, **{n: f for n, f in ODD.items() if n not in LINUX_IS_MORE_GENEROUS}}
    for name, frame in frames.items():
        told = [without_number(reply) for reply in linux(frame)]
        expected = answer(frame)
        assert told == ([] if expected is None else [without_number(expected)]), name


def test_the_script_makes_the_capture_again_byte_for_byte(tmp_path):
    script = CAPTURE.with_name("make_pings.py")
    command = [sys.executable, str(script), str(tmp_path / "again.pcap")]
    subprocess.run(command, check=True, timeout=60)
    assert (tmp_path / "again.pcap").read_bytes() == CAPTURE.read_bytes()
