"""Frames for the ping responders, and what they should answer, worked out in Python."""

from __future__ import annotations

from pathlib import Path
from struct import pack, unpack_from

from dpkt import arp, ethernet, icmp, ip

from toyvisor.guest.library import guest_programs_dir
from toyvisor.host.captures import read_frames
from toyvisor.host.frames import DEFAULT_MAC

GUEST_MAC, NEIGHBOUR_MAC = DEFAULT_MAC, bytes.fromhex("525400000001")
OTHER_MAC, BROADCAST = bytes.fromhex("525400000003"), b"\xff" * 6
NEIGHBOUR, GUEST, OTHER = bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2]), bytes([10, 0, 0, 3])
CAPTURE: Path = guest_programs_dir() / "captures" / "pings.pcap"


def captured() -> list[bytes]:
    """The frames of the shipped capture."""
    return read_frames(str(CAPTURE))


def ethernet_frame(kind: int, payload: bytes, to: bytes = GUEST_MAC, pad: int = 0) -> bytes:
    header = ethernet.Ethernet(src=NEIGHBOUR_MAC, dst=to, type=kind, data=payload)
    return bytes(header).ljust(pad, b"\0")


def who_has(
    address: bytes = GUEST,
    sender: bytes = NEIGHBOUR,
    to: bytes = BROADCAST,
    op: int = 1,
    pad: int = 60,
) -> bytes:
    question = arp.ARP(op=op, sha=NEIGHBOUR_MAC, spa=sender, tha=bytes(6), tpa=address)
    return ethernet_frame(ethernet.ETH_TYPE_ARP, bytes(question), to, pad)


def ping(
    data: bytes = b"abcdefgh",
    number: int = 1,
    to: bytes = GUEST_MAC,
    pad: int = 60,
    code: int = 0,
    kind: int = icmp.ICMP_ECHO,
    **header: object,
) -> bytes:
    """An echo request; `header` are fields of the IP header."""
    echo = icmp.ICMP.Echo(id=0x1234, seq=number, data=data)
    message = icmp.ICMP(type=kind, code=code, data=echo)
    fields = {"src": NEIGHBOUR, "dst": GUEST, "p": ip.IP_PROTO_ICMP, "ttl": 64, "id": 77}
    packet = ip.IP(**{**fields, **header}, data=message)
    return ethernet_frame(ethernet.ETH_TYPE_IP, bytes(packet), to, pad)


def checksum(data: bytes) -> int:
    """RFC 1071; of data with its checksum in it: 0."""
    words = unpack_from(f">{len(data) // 2}H", data) + ((data[-1] << 8,) if len(data) % 2 else ())
    total = sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def answer(frame: bytes) -> bytes | None:
    """What the guest should send for a frame; None for nothing."""
    if len(frame) < 14 or frame[:6] not in (GUEST_MAC, BROADCAST):
        return None
    kind = int.from_bytes(frame[12:14], "big")
    if kind == ethernet.ETH_TYPE_ARP:
        return _arp_reply(frame[14:])
    if kind == ethernet.ETH_TYPE_IP:
        return _echo_reply(frame)
    return None


def _arp_reply(packet: bytes) -> bytes | None:
    if len(packet) < 28 or packet[:8] != bytes.fromhex("0001080006040001"):
        return None
    sender_mac, sender, target = packet[8:14], packet[14:18], packet[24:28]
    if target != GUEST or sender == GUEST:
        return None
    reply = pack(">HHBBH6s4s6s4s", 1, 0x800, 6, 4, 2, GUEST_MAC, GUEST, sender_mac, sender)
    return sender_mac + GUEST_MAC + b"\x08\x06" + reply


def _echo_reply(frame: bytes) -> bytes | None:
    packet = frame[14:]
    if len(packet) < 28 or packet[0] != 0x45:
        return None
    length = int.from_bytes(packet[2:4], "big")
    header, message = packet[:20], packet[20:length]
    if not 28 <= length <= len(packet) or int.from_bytes(header[6:8], "big") & 0x3FFF:
        return None
    source, target = header[12:16], header[16:20]
    if target != GUEST or source == GUEST or source[0] in (0, 127) or source[0] >= 224:
        return None
    if header[9] != 1 or message[:2] != b"\x08\x00" or checksum(header) or checksum(message):
        return None
    reply = b"\0\0\0\0" + message[4:]
    reply = b"\0\0" + checksum(reply).to_bytes(2, "big") + message[4:]
    start = header[:4] + b"\0\0\x40\0" + b"\x40\x01"
    total = checksum(start + b"\0\0" + GUEST + source)
    packet = start + total.to_bytes(2, "big") + GUEST + source + reply
    return frame[6:12] + GUEST_MAC + b"\x08\x00" + packet


def answers(frames: list[bytes]) -> list[bytes]:
    """What the guest should send for all of them, in order."""
    return [reply for reply in map(answer, frames) if reply is not None]
