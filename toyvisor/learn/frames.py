"""Ethernet frames of a wanted size, each one different, so that a lost one is missed."""

from __future__ import annotations

from toyvisor.host.frames import DEFAULT_MAC, ETH_HLEN

_LOCAL_EXPERIMENTAL = b"\x88\xb5"  # EtherType of IEEE 802: for lessons like this one
_PATTERN = bytes(range(251)) * 7  # 251 is prime: no two copies of it line up with a page


def numbered_frame(number: int, size: int) -> bytes:
    """A frame of exactly `size` bytes (14 or more, no FCS).

    The destination is a locally administered unicast address that ends in the frame's
    number, so that even frames of 14 bytes, which are all header, differ.
    """
    header = b"\x02\x00" + number.to_bytes(4, "big") + DEFAULT_MAC + _LOCAL_EXPERIMENTAL
    start = number % 251
    return header + _PATTERN[start : start + size - ETH_HLEN]


def numbered_frames(count: int, size: int) -> list[bytes]:
    """`count` frames of `size` bytes."""
    return [numbered_frame(number, size) for number in range(count)]


def turned_round(frame: bytes) -> bytes:
    """The frame on its way back: source and destination exchanged."""
    return frame[6:12] + frame[:6] + frame[12:]
