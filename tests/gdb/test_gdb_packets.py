"""The frames of gdb's protocol: what goes out comes in again, and garbage does no harm."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toyvisor.debug.gdb.packets import Arrival, ArrivalKind, PacketReader, frame

PACKET, DAMAGED = ArrivalKind.PACKET, ArrivalKind.DAMAGED


def arrivals(data: bytes, most: int = 1000) -> list[Arrival]:
    return list(PacketReader(most).feed(data))


def test_a_packet_has_the_sum_of_its_bytes_behind_it():
    assert frame(b"OK") == b"$OK#9a"
    assert frame(b"") == b"$#00"
    assert arrivals(b"$OK#9a$m1000,4#8e") == [(PACKET, b"OK"), (PACKET, b"m1000,4")]


def test_the_four_special_bytes_are_escaped():
    assert frame(b"#$}*")[1:-3] == b"}\x03}\x04}]}\x0a"
    assert arrivals(frame(b"a#b$c}d*e")) == [(PACKET, b"a#b$c}d*e")]


@pytest.mark.parametrize(
    ("more", "shortened"),
    [(2, b"000"), (3, b"0* "), (5, b'0*"'), (6, b'0*"0'), (7, b'0*"00'), (8, b"0*%"), (97, b"0*~"),
     (98, b"0*~0"), (101, b"0*~0* ")],
)  # fmt: skip
def test_runs_are_shortened_but_never_with_a_special_count(more, shortened):
    """The manual's example: `0* ` stands for `0000`. Six and seven would be `#` and `$`."""
    assert frame(b"0" * (more + 1))[1:-3] == shortened


@given(st.binary(max_size=300))
def test_what_is_framed_comes_in_again(data):
    assert arrivals(frame(data)) == [(PACKET, data)]


@given(st.lists(st.sampled_from(b"#$}*0a\x03"), max_size=400).map(bytes))
def test_runs_of_special_bytes_come_in_again(data):
    assert arrivals(frame(data)) == [(PACKET, data)]


@given(st.lists(st.binary(max_size=20), max_size=5), st.data())
def test_packets_may_come_in_pieces(packets, data):
    stream = b"+".join(map(frame, packets))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    reader = PacketReader()
    found = [a for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)
             for a in reader.feed(stream[start:end])]  # fmt: skip
    assert [a.data for a in found if a.kind is PACKET] == packets


@given(st.binary(max_size=500))
def test_garbage_never_raises_and_the_next_packet_is_read(garbage):
    reader = PacketReader(100)
    list(reader.feed(garbage))
    after = list(reader.feed(b"#00$g#67"))
    assert after[-1] == (PACKET, b"g")


@given(st.binary(min_size=1, max_size=60), st.data())
def test_a_changed_byte_is_never_taken_for_the_packet(data, draw):
    framed = bytearray(frame(data))
    position = draw.draw(st.integers(1, len(framed) - 4))
    framed[position] ^= draw.draw(st.integers(1, 255))
    assert (PACKET, data) not in arrivals(bytes(framed))


def test_between_packets_there_are_acknowledgements_and_ctrl_c():
    kinds = [arrival.kind.name for arrival in arrivals(b"+-\x03xyz\x00+")]
    assert kinds == ["ACK", "NAK", "INTERRUPT", "ACK"]
    assert arrivals(frame(b"\x03+-")) == [(PACKET, b"\x03+-")]


@pytest.mark.parametrize("stream", [
    b"$OK#9b", b"$OK#zz", b"$OK# a", b"$*%#4f", b"$a*#8b", b"$a*\x05#90", b"$a}#de", b"$}}a#5b",
])  # fmt: skip
def test_what_makes_no_sense_is_damaged(stream):
    """Checksums, runs of nothing or with a bad count, an escape with nothing behind it."""
    if stream[-3:] not in (b"#9b", b"#zz", b"# a"):
        assert int(stream[-2:], 16) == sum(stream[1:-3]) & 0xFF  # nothing else is wrong
    assert [arrival.kind for arrival in arrivals(stream)] == [DAMAGED]


def test_a_packet_that_was_broken_off_does_not_spoil_the_next():
    assert arrivals(b"$m10$g#67") == [(DAMAGED, b""), (PACKET, b"g")]


def test_a_packet_that_is_too_long_is_damaged_and_takes_no_memory():
    reader = PacketReader(most=10)
    assert list(reader.feed(frame(b"0123456789"))) == [(PACKET, b"0123456789")]
    assert list(reader.feed(frame(b"0123456789a"))) == [(DAMAGED, b"")]
    assert list(reader.feed(b"$" + b"x" * 100_000)) == []
    assert len(reader._body) <= 22
    assert [a.kind for a in reader.feed(b"#00$g#67")] == [DAMAGED, PACKET]


def test_a_run_does_not_become_longer_than_a_packet():
    body = b"0*~" * 50
    assert arrivals(b"$%s#%02x" % (body, sum(body) & 0xFF), most=1000) == [(DAMAGED, b"")]
    assert re.fullmatch(rb"\$(0\*~)+.*#..", frame(b"0" * 900))
