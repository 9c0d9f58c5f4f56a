"""Reading captures: every form, and everything that is none."""

from __future__ import annotations

import os
import struct

import pytest
from handmade import FRAMES, PCAP_MAGICS, Pcapng, pcap
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from toyvisor.errors import InputError
from toyvisor.host import captures
from toyvisor.host.captures import read_frames


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("unit", ["us", "ns"])
def test_classic_captures_of_both_byte_orders_and_units(save, order, unit):
    path = save(pcap(FRAMES, order=order, magic=PCAP_MAGICS[unit]))
    assert read_frames(path) == FRAMES


@pytest.mark.parametrize("order", ["<", ">"])
def test_pcapng_of_both_byte_orders(save, order):
    file = Pcapng(order).section().interface()
    for frame in FRAMES:
        file.enhanced(frame)
    assert read_frames(save(file.data)) == FRAMES


def test_pcapng_with_nanoseconds_names_and_comments(save):
    tsresol = struct.pack("<HHB3x", 9, 1, 9)
    comment = struct.pack("<HH4s", 1, 4, b"\xff\xfe\xfd\xfc")  # not UTF-8, and nobody's business
    end = struct.pack("<HH", 0, 0)
    file = Pcapng().section(options=comment + end).interface(options=tsresol + end)
    file.block(4, bytes(8)).block(5, bytes(12)).block(0xBAD, b"from the future")
    file.enhanced(FRAMES[0], options=comment + end)
    assert read_frames(save(file.data)) == FRAMES[:1]


def test_pcapng_of_several_sections_interfaces_and_byte_orders(save):
    first = Pcapng("<").section().interface(113).interface(1).enhanced(FRAMES[0], interface=1)
    second = Pcapng(">").section().interface(1).enhanced(FRAMES[1])
    assert read_frames(save(first.data + second.data)) == FRAMES[:2]


def test_pcapng_with_simple_and_obsolete_packets(save):
    file = Pcapng().section().interface().simple(FRAMES[0]).obsolete(FRAMES[1])
    assert read_frames(save(file.data)) == FRAMES[:2]


def test_the_upper_half_of_the_link_type_is_about_checksums(save):
    assert read_frames(save(pcap(FRAMES[:1], link_type=0x54000001))) == FRAMES[:1]


def test_a_capture_can_come_through_a_pipe(save, tmp_path):
    read_end, write_end = os.pipe()
    os.write(write_end, pcap(FRAMES[:3]))
    os.close(write_end)
    try:
        assert read_frames(f"/dev/fd/{read_end}") == FRAMES[:3]
    finally:
        os.close(read_end)


def test_a_missing_file(tmp_path):
    with pytest.raises(InputError, match="no such capture"):
        read_frames(str(tmp_path / "nowhere.pcap"))


def test_a_directory(tmp_path):
    with pytest.raises(InputError, match="is a directory"):
        read_frames(str(tmp_path))


def test_a_name_that_no_file_can_have():
    with pytest.raises(InputError, match="null"):
        read_frames("a\0b")


def test_a_loop_of_links(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(InputError, match="symbolic links"):
        read_frames(str(tmp_path / "loop"))


ETHERNET = Pcapng().section().interface().data
WIFI = Pcapng().section().interface(105).enhanced(FRAMES[0]).data

BAD = {
    "empty file": (b"", "not a capture"),
    "two bytes": (b"\xd4\xc3", "not a capture"),
    "text": (b"hello, world, this is text\n", "not a capture"),
    "compressed": (b"\x1f\x8b\x08\x00" + bytes(20), "gunzip"),
    "half a file header": (pcap([])[:20], "truncated"),
    "no frames": (pcap([]), "without a single frame"),
    "no frames, pcapng": (ETHERNET, "without a single frame"),
    "half a packet header": (pcap(FRAMES[:2])[: 24 + 16 + 60 + 8], "truncated in frame 2"),
    "header without its frame": (pcap(FRAMES[:1])[: 24 + 16], "truncated in frame 1"),
    "half a frame": (pcap(FRAMES[:2])[:-1], "truncated in frame 2"),
    "wifi": (pcap(FRAMES[:1], link_type=105), "frame 1 has link type 105, not Ethernet"),
    "any": (pcap(FRAMES[:1], link_type=113), "link type 113"),
    "wifi, pcapng": (WIFI, "link type 105"),
    "a frame of 13 bytes": (pcap([FRAMES[0], bytes(13)]), "frame 2 has 13 bytes"),
    "a frame of no bytes": (pcap([b""]), "frame 1 has 0 bytes"),
    "a frame of 65536 bytes": (pcap([bytes(65536)]), "frame 1 has 65536 bytes, more than"),
    "a frame of 4 GiB": (pcap([]) + struct.pack("<IIII", 0, 0, 2**32 - 1, 2**32 - 1), "more than"),
    "a frame cut when captured": (
        pcap([]) + struct.pack("<IIII", 0, 0, 64, 1514) + bytes(64),
        "1514 bytes, of which only 64 were captured",
    ),
    "more captured than there was": (
        pcap([]) + struct.pack("<IIII", 0, 0, 64, 60) + bytes(64),
        "damaged",
    ),
    "cut when captured, pcapng": (
        Pcapng().section().interface().enhanced(FRAMES[0], original=90).data,
        "only 60 were captured",
    ),
    "cut when captured, simple": (
        Pcapng().section().interface(snaplen=40).simple(FRAMES[0][:40], original=60).data,
        "only 40 were captured",
    ),
    "half a section header": (ETHERNET[:20], "truncated"),
    "half a block header": (ETHERNET + b"\6\0\0\0\x20", "truncated"),
    "half a block": (Pcapng().section().interface().enhanced(FRAMES[0]).data[:-1], "truncated"),
    "a section without byte order": (b"\x0a\x0d\x0d\x0a" + bytes(24), "without a byte order"),
    "pcapng of the future": (Pcapng().section(major=2).data, "version 2"),
    "a packet before its interface": (
        Pcapng().section().enhanced(FRAMES[0]).data,
        "interface 0: unknown",
    ),
    "a simple packet before an interface": (
        Pcapng().section().simple(FRAMES[0]).data,
        "damaged in frame 1",
    ),
    "a block of length 0": (ETHERNET + struct.pack("<III", 6, 0, 0), "a block of 0 bytes"),
    "a block of odd length": (ETHERNET + struct.pack("<II", 6, 33) + bytes(25), "of 33 bytes"),
    "a block of 4 GiB": (ETHERNET + struct.pack("<II", 6, 2**32 - 4), "a block of 4294967292"),
    "a block with two lengths": (
        ETHERNET + struct.pack("<II", 6, 32) + bytes(20) + struct.pack("<I", 36),
        "a block without an end",
    ),
    "a packet block too short": (ETHERNET + struct.pack("<IIII", 6, 16, 0, 16), "too short"),
    "a packet longer than its block": (
        ETHERNET + struct.pack("<IIIIIIIII", 6, 36, 0, 0, 0, 60, 60, 0, 36),
        "longer than its block",
    ),
    "a simple packet longer than its block": (
        ETHERNET + struct.pack("<IIIII", 3, 20, 60, 0, 20),
        "longer than its block",
    ),
    "an interface block too short": (
        Pcapng().section().block(1, b"").data,
        "too short",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_good_capture_is_an_input_error(save, name):
    data, reason = BAD[name]
    path = save(data)
    with pytest.raises(InputError) as caught:
        read_frames(path)
    line = str(caught.value)
    assert reason in line
    assert path in line
    assert "\n" not in line


def test_a_capture_is_a_workload_and_not_an_archive(save, monkeypatch):
    monkeypatch.setattr(captures, "MAX_FRAMES", 3)
    assert len(read_frames(save(pcap(FRAMES[:3])))) == 3
    with pytest.raises(InputError, match="more than 3 frames"):
        read_frames(save(pcap(FRAMES)))


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    start=st.sampled_from([pcap(FRAMES[:3]), WIFI, Pcapng(">").section().interface().data]),
    cut=st.integers(0, 1700),
    changes=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=4),
    tail=st.binary(max_size=40),
)
def test_damage_is_an_input_error_or_goes_unseen(save, start, cut, changes, tail):
    data = bytearray(start[:cut] + tail)
    for place, value in changes:
        if place < len(data):
            data[place] = value
    try:
        frames = read_frames(save(bytes(data)))
    except InputError:
        return
    assert frames
    assert all(14 <= len(frame) <= 65535 for frame in frames)
