"""The frames of gdb's remote serial protocol: `$data#checksum`.

Between the frames there are single bytes: `+` and `-` acknowledge, 0x03 is Ctrl-C.
Data in which `#`, `$`, `}` or `*` occur has them escaped; runs of one byte are shortened.

Source: the gdb manual, appendix "GDB Remote Serial Protocol", section "Overview".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum, auto
from typing import NamedTuple

#: The most data that we take in one packet, in bytes (qSupported: PacketSize).
PACKET_SIZE = 0x4000

_INTERRUPT, _ESCAPE, _ESCAPED_BY = 0x03, ord("}"), 0x20
_START, _END, _REPEAT = ord("$"), ord("#"), ord("*")
_SPECIAL = re.compile(rb"[#$}*]")
#: A byte and up to 97 more of it: the count, plus 29, has to be printable.
_RUN = re.compile(rb"(.)\1{3,97}", re.DOTALL)
_COUNT_BASE = 29
_FEWEST, _MOST = 1, 97


class ArrivalKind(Enum):
    """What came in."""

    PACKET = auto()
    DAMAGED = auto()  # a packet with a wrong checksum, or one that is too long
    INTERRUPT = auto()
    ACK = auto()
    NAK = auto()


class Arrival(NamedTuple):
    """Something that came in; `data` is a packet's, as it was before it was framed."""

    kind: ArrivalKind
    data: bytes = b""


_BETWEEN_PACKETS = {
    _INTERRUPT: Arrival(ArrivalKind.INTERRUPT),
    ord("+"): Arrival(ArrivalKind.ACK),
    ord("-"): Arrival(ArrivalKind.NAK),
}
_DAMAGED = Arrival(ArrivalKind.DAMAGED)


def frame(data: bytes) -> bytes:
    """A packet around `data`, escaped and with runs shortened."""
    escaped = _SPECIAL.sub(lambda found: bytes((_ESCAPE, found[0][0] ^ _ESCAPED_BY)), data)
    shortened = _RUN.sub(_shorten, escaped)
    return b"$%s#%02x" % (shortened, sum(shortened) & 0xFF)


def _shorten(run: re.Match[bytes]) -> bytes:
    """`aaaaa` as `a*!`: the byte, and how many more follow. No count may be `#` or `$`."""
    more = len(run[0]) - 1
    count = 5 if more in (6, 7) else more
    return run[1] + bytes((_REPEAT, count + _COUNT_BASE)) + run[1] * (more - count)


class PacketReader:
    """Takes bytes as they come, in pieces of any size. Whatever comes, it never raises."""

    def __init__(self, most: int = PACKET_SIZE) -> None:
        self._most = most
        self._body: bytearray | None = None  # None: between packets
        self._checksum = b""

    def feed(self, data: bytes) -> Iterator[Arrival]:
        """What is complete with these bytes. Stray bytes between packets are left out."""
        for byte in data:
            arrival = self._between(byte) if self._body is None else self._inside(byte)
            if arrival is not None:
                yield arrival

    def _between(self, byte: int) -> Arrival | None:
        if byte == _START:
            self._body, self._checksum = bytearray(), b""
        return _BETWEEN_PACKETS.get(byte)

    def _inside(self, byte: int) -> Arrival | None:
        body = self._body
        assert body is not None
        is_in_checksum = bool(body) and body[-1] == _END
        if is_in_checksum:
            self._checksum += bytes((byte,))
            if len(self._checksum) < 2:
                return None
            self._body = None
            return self._finished(bytes(body[:-1]))
        if byte == _START:  # the packet before was broken off
            self._body = bytearray()
            return _DAMAGED
        if len(body) <= 2 * self._most or byte == _END:  # beyond that, only wait for its end
            body.append(byte)
        return None

    def _finished(self, body: bytes) -> Arrival:
        if self._checksum.lower() != b"%02x" % (sum(body) & 0xFF):
            return _DAMAGED
        data = _unpacked(body, self._most)
        return _DAMAGED if data is None else Arrival(ArrivalKind.PACKET, data)


def _unpacked(body: bytes, most: int) -> bytes | None:
    """Runs at their full length, and nothing escaped; None if that makes no sense."""
    expanded = bytearray()
    position = 0
    while position < len(body):
        if body[position] == _REPEAT:
            count = body[position + 1] - _COUNT_BASE if position + 1 < len(body) else 0
            if not expanded or not _FEWEST <= count <= _MOST:
                return None
            expanded += expanded[-1:] * count
            position += 2
        else:
            expanded.append(body[position])
            position += 1
        if len(expanded) > 2 * most:
            return None
    return _unescaped(bytes(expanded), most)


def _unescaped(data: bytes, most: int) -> bytes | None:
    pieces = data.split(b"}")
    plain = bytearray(pieces[0])
    for piece in pieces[1:]:
        if not piece:  # nothing is behind the escape, or another escape
            return None
        plain.append(piece[0] ^ _ESCAPED_BY)
        plain += piece[1:]
    return bytes(plain) if len(plain) <= most else None
