"""Captures made by hand, byte by byte, so that no library vouches for itself."""

from __future__ import annotations

import struct

FRAMES = [
    bytes.fromhex("ffffffffffff 525400123456 88b5") + bytes(range(46)),
    bytes(range(14)),
    bytes(n & 0xFF for n in range(1514)),
    bytes(n * 3 & 0xFF for n in range(65535)),
]

PCAP_MAGICS = {"us": 0xA1B2C3D4, "ns": 0xA1B23C4D}


def pcap(frames, *, order="<", magic=0xA1B2C3D4, link_type=1, snaplen=262144):
    data = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, snaplen, link_type)
    for number, frame in enumerate(frames):
        data += struct.pack(order + "IIII", 1, number, len(frame), len(frame)) + frame
    return data


class Pcapng:
    """One pcapng file, block by block."""

    def __init__(self, order="<"):
        self.order = order
        self.data = b""

    def block(self, kind, body):
        body += bytes(-len(body) % 4)
        length = len(body) + 12
        self.data += struct.pack(self.order + "II", kind, length) + body
        self.data += struct.pack(self.order + "I", length)
        return self

    def section(self, major=1, options=b""):
        return self.block(
            0x0A0D0D0A,
            struct.pack(self.order + "IHHq", 0x1A2B3C4D, major, 0, -1) + options,
        )

    def interface(self, link_type=1, snaplen=0, options=b""):
        return self.block(1, struct.pack(self.order + "HHI", link_type, 0, snaplen) + options)

    def enhanced(self, frame, interface=0, original=None, options=b""):
        original = len(frame) if original is None else original
        head = struct.pack(self.order + "IIIII", interface, 0, 7, len(frame), original)
        return self.block(6, head + frame + bytes(-len(frame) % 4) + options)

    def simple(self, frame, original=None):
        original = len(frame) if original is None else original
        return self.block(3, struct.pack(self.order + "I", original) + frame)

    def obsolete(self, frame, interface=0):
        head = struct.pack(self.order + "HHIIII", interface, 0, 0, 7, len(frame), len(frame))
        return self.block(2, head + frame)
