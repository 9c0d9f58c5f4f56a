"""Make ordinary.pcap: a morning's ordinary traffic of one machine, for guests to send.

    python make_ordinary.py [OUT]

A machine comes up (DHCP), finds its router (ARP), asks for a name (DNS), pings, and fetches
a page (TCP, HTTP): short frames padded to 60 bytes as a card pads them, full ones of 1514,
and lengths in between. Addresses are from the ranges kept for documentation (RFC 5737,
RFC 2606). Every byte is fixed, so that running this again gives the same file.
"""

from __future__ import annotations

import sys
from pathlib import Path

from dpkt import arp, dhcp, dns, ethernet, icmp, ip, pcap, tcp, udp

GUEST_MAC, ROUTER_MAC = bytes.fromhex("525400123456"), bytes.fromhex("525400000001")
BROADCAST = b"\xff" * 6
GUEST, ROUTER, SERVER = bytes([192, 0, 2, 15]), bytes([192, 0, 2, 1]), bytes([198, 51, 100, 80])
NOBODY, EVERYBODY, NETMASK = bytes(4), b"\xff" * 4, bytes([255, 255, 255, 0])
TRANSACTION = 0x546F7976
ETH_ZLEN = 60  # the least Ethernet frame, without FCS
MSS = 1460

PAGE = b"".join(
    b"%3d. What leaves a virtual machine has been copied before; the question is how often.\n" % n
    for n in range(1, 61)
)


def frame(source: bytes, destination: bytes, kind: int, payload: bytes) -> bytes:
    """One Ethernet frame, padded to its least length."""
    header = ethernet.Ethernet(src=source, dst=destination, type=kind, data=payload)
    return bytes(header).ljust(ETH_ZLEN, b"\0")


def packet(source: bytes, destination: bytes, protocol: int, payload: object) -> bytes:
    """One IPv4 packet; dpkt fills in lengths and checksums, the transport's as well."""
    return bytes(ip.IP(src=source, dst=destination, p=protocol, ttl=64, df=1, data=payload))


def outward(source: bytes, destination: bytes, protocol: int, payload: object) -> bytes:
    """From the guest to the router, which is the way to everywhere."""
    data = packet(source, destination, protocol, payload)
    return frame(GUEST_MAC, ROUTER_MAC, ethernet.ETH_TYPE_IP, data)


def inward(source: bytes, destination: bytes, protocol: int, payload: object) -> bytes:
    """From the router to the guest."""
    data = packet(source, destination, protocol, payload)
    return frame(ROUTER_MAC, GUEST_MAC, ethernet.ETH_TYPE_IP, data)


def datagram(source_port: int, destination_port: int, payload: bytes) -> udp.UDP:
    """One UDP datagram."""
    return udp.UDP(sport=source_port, dport=destination_port, ulen=8 + len(payload), data=payload)


def dhcp_exchange() -> list[bytes]:
    """DISCOVER, OFFER, REQUEST, ACK (RFC 2131)."""
    lease = (
        (dhcp.DHCP_OPT_SERVER_ID, ROUTER),
        (dhcp.DHCP_OPT_LEASE_SEC, (3600).to_bytes(4, "big")),
        (dhcp.DHCP_OPT_NETMASK, NETMASK),
        (dhcp.DHCP_OPT_ROUTER, ROUTER),
        (dhcp.DHCP_OPT_DNS_SVRS, ROUTER),
    )
    request = ((dhcp.DHCP_OPT_REQ_IP, GUEST), (dhcp.DHCP_OPT_SERVER_ID, ROUTER))
    return [
        dhcp_message(dhcp.DHCPDISCOVER, ()),
        dhcp_message(dhcp.DHCPOFFER, lease),
        dhcp_message(dhcp.DHCPREQUEST, request),
        dhcp_message(dhcp.DHCPACK, lease),
    ]


def dhcp_message(kind: int, options: tuple[tuple[int, bytes], ...]) -> bytes:
    """One DHCP message in its frame; the guest speaks as nobody to everybody."""
    from_guest = kind in (dhcp.DHCPDISCOVER, dhcp.DHCPREQUEST)
    message = dhcp.DHCP(
        op=dhcp.DHCP_OP_REQUEST if from_guest else dhcp.DHCP_OP_REPLY,
        xid=TRANSACTION,
        yiaddr=0 if from_guest else int.from_bytes(GUEST, "big"),
        chaddr=GUEST_MAC.ljust(16, b"\0"),
        sname=bytes(64),
        file=bytes(128),
        opts=((dhcp.DHCP_OPT_MSGTYPE, bytes([kind])), *options),
    )
    data = bytes(message).ljust(300, b"\0")  # BOOTP's least length
    if from_guest:
        data = packet(NOBODY, EVERYBODY, ip.IP_PROTO_UDP, datagram(68, 67, data))
        return frame(GUEST_MAC, BROADCAST, ethernet.ETH_TYPE_IP, data)
    return inward(ROUTER, GUEST, ip.IP_PROTO_UDP, datagram(67, 68, data))


def arp_exchange() -> list[bytes]:
    """Who has the router's address? (RFC 826)"""
    question = arp.ARP(op=arp.ARP_OP_REQUEST, sha=GUEST_MAC, spa=GUEST, tha=bytes(6), tpa=ROUTER)
    answer = arp.ARP(op=arp.ARP_OP_REPLY, sha=ROUTER_MAC, spa=ROUTER, tha=GUEST_MAC, tpa=GUEST)
    return [
        frame(GUEST_MAC, BROADCAST, ethernet.ETH_TYPE_ARP, bytes(question)),
        frame(ROUTER_MAC, GUEST_MAC, ethernet.ETH_TYPE_ARP, bytes(answer)),
    ]


def dns_exchange() -> list[bytes]:
    """The address of www.example.com? (RFC 1035)"""
    name = b"\3www\7example\3com\0"
    question = name + dns.DNS_A.to_bytes(2, "big") + dns.DNS_IN.to_bytes(2, "big")
    record = b"\xc0\x0c" + question[len(name) :] + (300).to_bytes(4, "big") + b"\0\4" + SERVER
    ask = bytes.fromhex("2015 0100 0001 0000 0000 0000") + question
    tell = bytes.fromhex("2015 8180 0001 0001 0000 0000") + question + record
    return [
        outward(GUEST, ROUTER, ip.IP_PROTO_UDP, datagram(49152, 53, ask)),
        inward(ROUTER, GUEST, ip.IP_PROTO_UDP, datagram(53, 49152, tell)),
    ]


def ping(number: int, length: int) -> list[bytes]:
    """An echo request and its reply with `length` bytes of data (RFC 792)."""
    echo = icmp.ICMP.Echo(id=0x1515, seq=number, data=bytes(n & 0xFF for n in range(length)))
    return [
        outward(GUEST, SERVER, ip.IP_PROTO_ICMP, icmp.ICMP(type=icmp.ICMP_ECHO, data=echo)),
        inward(SERVER, GUEST, ip.IP_PROTO_ICMP, icmp.ICMP(type=icmp.ICMP_ECHOREPLY, data=echo)),
    ]


class Connection:
    """One TCP connection from the guest to the server's port 80 (RFC 9293)."""

    def __init__(self) -> None:
        self.sequence = {GUEST: 1000, SERVER: 5000}
        self.frames: list[bytes] = []

    def segment(self, source: bytes, flags: int, data: bytes = b"", options: bytes = b"") -> None:
        """One segment; its acknowledgement is of all the other side has sent."""
        from_guest = source == GUEST
        destination = SERVER if from_guest else GUEST
        segment = tcp.TCP(
            sport=49153 if from_guest else 80,
            dport=80 if from_guest else 49153,
            seq=self.sequence[source],
            ack=self.sequence[destination] if flags & tcp.TH_ACK else 0,
            off=(20 + len(options)) // 4,
            flags=flags,
            win=65535,
            opts=options,
            data=data,
        )
        send = outward if from_guest else inward
        self.frames.append(send(source, destination, ip.IP_PROTO_TCP, segment))
        self.sequence[source] += len(data) + bool(flags & (tcp.TH_SYN | tcp.TH_FIN))


def web_page() -> list[bytes]:
    """Handshake, GET, the page in full segments, and both ends closing."""
    connection = Connection()
    mss = bytes([tcp.TCP_OPT_MSS, 4]) + MSS.to_bytes(2, "big")
    connection.segment(GUEST, tcp.TH_SYN, options=mss)
    connection.segment(SERVER, tcp.TH_SYN | tcp.TH_ACK, options=mss)
    connection.segment(GUEST, tcp.TH_ACK)
    request = b"GET / HTTP/1.1\r\nHost: www.example.com\r\nConnection: close\r\n\r\n"
    connection.segment(GUEST, tcp.TH_PUSH | tcp.TH_ACK, request)
    connection.segment(SERVER, tcp.TH_ACK)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(PAGE)
    response = head + PAGE
    for start in range(0, len(response), MSS):
        last = start + MSS >= len(response)
        flags = tcp.TH_ACK | tcp.TH_PUSH if last else tcp.TH_ACK
        connection.segment(SERVER, flags, response[start : start + MSS])
        connection.segment(GUEST, tcp.TH_ACK)
    connection.segment(SERVER, tcp.TH_FIN | tcp.TH_ACK)
    connection.segment(GUEST, tcp.TH_ACK)
    connection.segment(GUEST, tcp.TH_FIN | tcp.TH_ACK)
    connection.segment(SERVER, tcp.TH_ACK)
    return connection.frames


def main() -> None:
    """Write the capture, one packet a millisecond from the first of January 2025."""
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("ordinary.pcap")
    frames = [
        *dhcp_exchange(),
        *arp_exchange(),
        *dns_exchange(),
        *ping(1, 56),
        *ping(2, 1472),
        *web_page(),
    ]
    with out.open("wb") as file:
        writer = pcap.Writer(file, snaplen=65535, linktype=pcap.DLT_EN10MB)
        for number, data in enumerate(frames):
            writer.writepkt_time(data, 1735689600 + number / 1000)


if __name__ == "__main__":
    main()
