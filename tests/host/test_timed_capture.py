"""Frames of both directions with the guest's time, in a file that others read."""

from __future__ import annotations

import struct

from dpkt import pcap

from toyvisor.host.tap import Tap
from toyvisor.host.timed_capture import TimedCapture
from toyvisor.host.wire import Wire
from toyvisor.trace.guest_time import HERTZ, nanoseconds

OUT, IN = b"o" * 60, b"i" * 1514


def packets(data: bytes) -> list[tuple[int, bytes]]:
    """(nanoseconds, frame) of a classic pcap file, read by hand."""
    magic, major, minor, _, _, _, linktype = struct.unpack_from("<IHHiIII", data)
    assert (magic, major, minor, linktype) == (0xA1B23C4D, 2, 4, 1)
    found, at = [], 24
    while at < len(data):
        seconds, fraction, captured, length = struct.unpack_from("<IIII", data, at)
        assert captured == length
        assert fraction < 1_000_000_000
        found.append((seconds * 1_000_000_000 + fraction, data[at + 16 : at + 16 + length]))
        at += 16 + length
    return found


def test_what_goes_through_a_tap_is_kept_in_order_with_its_time():
    now = 0
    tap = Tap("tap0", cable := Wire(), watcher=(before := Wire()))
    capture = TimedCapture(lambda: now)
    capture.attach(tap)
    tap.deliver(IN)
    now = 1000
    tap.transmit(bytearray(OUT))
    now = 3 * HERTZ - 1
    assert tap.recv() == IN
    assert packets(capture.to_pcap()) == [
        (nanoseconds(1000), OUT),
        (nanoseconds(3 * HERTZ - 1), IN),
    ]
    assert cable.frames == [OUT]
    assert before.frames == [IN], "who listened before still hears it"


def test_a_tap_without_a_watcher():
    tap = Tap("tap0")
    capture = TimedCapture(lambda: 0)
    capture.attach(tap)
    tap.deliver(IN)
    assert tap.recv() == IN
    assert packets(capture.to_pcap()) == [(0, IN)]


def test_no_packets_make_an_empty_capture():
    data = TimedCapture(lambda: 0).to_pcap()
    assert packets(data) == []
    assert len(data) == 24


def test_the_first_frames_are_kept_of_very_many():
    capture = TimedCapture(lambda: 7)
    capture.limit = 2
    for _ in range(5):
        capture.receive(OUT)
    assert packets(capture.to_pcap()) == [(nanoseconds(7), OUT)] * 2
    assert capture.carried == 5


def test_dpkt_reads_what_it_wrote(tmp_path):
    capture = TimedCapture(lambda: HERTZ // 2)
    capture.receive(OUT)
    (tmp_path / "x.pcap").write_bytes(capture.to_pcap())
    with open(tmp_path / "x.pcap", "rb") as file:
        ((time, frame),) = pcap.Reader(file)
    assert (float(time), frame) == (0.5, OUT)
