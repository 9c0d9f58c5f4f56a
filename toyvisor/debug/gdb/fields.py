"""Numbers and bytes in a packet: always hexadecimal, without prefix or sign."""

from __future__ import annotations

import re

_NUMBER = re.compile(rb"[0-9a-fA-F]{1,16}")


class MalformedPacket(ValueError):  # noqa: N818 (named for what it is)
    """A packet that is not as the protocol has it."""


def number(text: bytes) -> int:
    """A number of at most 64 bits. Raises MalformedPacket."""
    if _NUMBER.fullmatch(text) is None:
        raise MalformedPacket(text)
    return int(text, 16)


def numbers(text: bytes, count: int) -> list[int]:
    """`count` numbers with commas between. Raises MalformedPacket."""
    found = [number(part) for part in text.split(b",")]
    if len(found) != count:
        raise MalformedPacket(text)
    return found


def data(text: bytes) -> bytes:
    """Two digits a byte. Raises MalformedPacket."""
    try:
        return bytes.fromhex(text.decode("ascii"))
    except ValueError:
        raise MalformedPacket(text) from None


def hexadecimal(plain: bytes) -> bytes:
    """Two digits a byte."""
    return plain.hex().encode("ascii")
