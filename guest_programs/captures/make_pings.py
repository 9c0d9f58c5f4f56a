"""Make pings.pcap: what comes in when somebody pings the guest, for guests to answer.

    python make_pings.py [OUT]

A neighbour asks who has the guest's address (ARP), pings it with little and with much data, asks
again, and pings on. In between is what a network carries besides: a question about somebody
else's address, a ping to somebody else, a datagram to no one in particular. 10.0.0.2 is the
guest, 10.0.0.1 the neighbour (RFC 1918). Every byte is fixed, so that running this again gives
the same file.
"""

from __future__ import annotations

import sys
from pathlib import Path

from dpkt import arp, ethernet, icmp, ip, pcap, udp

GUEST_MAC, NEIGHBOUR_MAC = bytes.fromhex("525400123456"), bytes.fromhex("525400000001")
OTHER_MAC, BROADCAST = bytes.fromhex("525400000003"), b"\xff" * 6
NEIGHBOUR, GUEST, OTHER = bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2]), bytes([10, 0, 0, 3])
EVERYBODY = bytes([10, 0, 0, 255])
ETH_ZLEN = 60  # the least Ethernet frame, without FCS
MOST = 1472  # bytes of data in a ping of 1500 bytes


def frame(destination: bytes, kind: int, payload: bytes) -> bytes:
    """One Ethernet frame from the neighbour, padded to its least length."""
    header = ethernet.Ethernet(src=NEIGHBOUR_MAC, dst=destination, type=kind, data=payload)
    return bytes(header).ljust(ETH_ZLEN, b"\0")


def who_has(address: bytes) -> bytes:
    """An ARP request (RFC 826)."""
    question = arp.ARP(
        op=arp.ARP_OP_REQUEST, sha=NEIGHBOUR_MAC, spa=NEIGHBOUR, tha=bytes(6), tpa=address
    )
    return frame(BROADCAST, ethernet.ETH_TYPE_ARP, bytes(question))


def packet(destination: bytes, protocol: int, number: int, payload: object) -> bytes:
    """One IPv4 packet; dpkt fills in lengths and checksums."""
    header = ip.IP(
        src=NEIGHBOUR, dst=destination, p=protocol, ttl=64, id=number, df=1, data=payload
    )
    return bytes(header)


def ping(mac: bytes, address: bytes, number: int, length: int) -> bytes:
    """An echo request with `length` bytes of data (RFC 792)."""
    echo = icmp.ICMP.Echo(id=0x2015, seq=number, data=bytes(n & 0xFF for n in range(length)))
    message = icmp.ICMP(type=icmp.ICMP_ECHO, data=echo)
    data = packet(address, ip.IP_PROTO_ICMP, 0x1000 + number, message)
    return frame(mac, ethernet.ETH_TYPE_IP, data)


def shout() -> bytes:
    """A datagram to everybody, to a port where nobody listens (RFC 863)."""
    datagram = udp.UDP(sport=49152, dport=9, ulen=8 + 5, data=b"hello")
    return frame(
        BROADCAST, ethernet.ETH_TYPE_IP, packet(EVERYBODY, ip.IP_PROTO_UDP, 0x2000, datagram)
    )


def main() -> None:
    """Write the capture, ten packets a second from the first of January 2025."""
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("pings.pcap")
    frames = [
        who_has(GUEST),
        *(ping(GUEST_MAC, GUEST, number, 56) for number in (1, 2, 3)),
        who_has(OTHER),
        ping(OTHER_MAC, OTHER, 1, 56),
        *(
            ping(GUEST_MAC, GUEST, number, length)
            for number, length in ((4, 0), (5, 1), (6, 1000), (7, MOST))
        ),
        shout(),
        who_has(GUEST),
        *(ping(GUEST_MAC, GUEST, number, 56) for number in (8, 9, 10)),
    ]
    with out.open("wb") as file:
        writer = pcap.Writer(file, snaplen=65535, linktype=pcap.DLT_EN10MB)
        for number, data in enumerate(frames):
            writer.writepkt_time(data, 1735689600 + number / 10)


if __name__ == "__main__":
    main()
