"""Reading captures: what tcpdump and Wireshark write.

Classic pcap (both byte orders, micro- and nanoseconds) and pcapng (all sections and
interfaces). The layouts are dpkt's; the walk over the file is our own, because dpkt's
readers pass over a truncated packet in silence and know a pcapng's first interface only,
and a guest must never be given a frame that is not the one captured.

Formats: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Any, BinaryIO, Literal

from toyvisor.errors import InputError
from toyvisor.host.frames import ETH_HLEN, MAX_FRAME

LINKTYPE_ETHERNET = 1
#: a workload, not an archive: everything is kept in memory
MAX_FRAMES = 1 << 16
MAX_BYTES = 1 << 26

_SECTION_HEADER = b"\x0a\x0d\x0d\x0a"  # a palindrome: the same in both byte orders
_SIMPLE_PACKET = 3  # dpkt has no class for it
_MAX_BLOCK = 1 << 24  # the same bound as Wireshark's (wiretap/pcapng.c)
_GZIP = b"\x1f\x8b"
_BIG_U32 = Struct(">I")


def read_frames(path: str) -> list[bytes]:
    """All Ethernet frames of a capture, in order. Raises InputError."""
    try:
        with open(path, "rb") as file:
            frames = _collect(_Source(file, path))
    except FileNotFoundError:
        raise InputError(f"{path}: no such capture") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a directory, not a capture") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    except ValueError as error:  # open() of a name with a NUL in it
        raise InputError(f"{path!r}: {error}") from None
    if not frames:
        raise InputError(f"{path}: a capture without a single frame")
    return frames


class _Source:
    """The file, read strictly: what is asked for is there, or the capture is truncated."""

    __slots__ = ("file", "number", "path")

    def __init__(self, file: BinaryIO, path: str) -> None:
        self.file = file
        self.path = path
        #: the frame being read, for messages; frames count from 1 as in Wireshark
        self.number = 1

    def read(self, length: int) -> bytes:
        data = self.file.read(length)
        if len(data) < length:
            raise self.error(f"truncated in frame {self.number}")
        return data

    def read_or_end(self, length: int) -> bytes:
        """The next `length` bytes, or none at the end of the file."""
        first = self.file.read(1)
        return first + self.read(length - 1) if first else b""

    def error(self, what: str, hint: str | None = None) -> InputError:
        return InputError(f"{self.path}: {what}", hint=hint)


def _collect(source: _Source) -> list[bytes]:
    frames: list[bytes] = []
    total = 0
    for frame in _walk(source):
        frames.append(frame)
        total += len(frame)
        if len(frames) > MAX_FRAMES or total > MAX_BYTES:
            raise source.error(
                f"more than {MAX_FRAMES} frames or {MAX_BYTES >> 20} MiB",
                hint=f"take a part of it: editcap -r {source.path} part.pcap 1-1000",
            )
        source.number += 1
    return frames


def _walk(source: _Source) -> Iterator[bytes]:
    magic = source.file.read(4)
    if magic == _SECTION_HEADER:
        return _walk_pcapng(source)
    from dpkt import pcap  # imported late: it costs more than a whole small run

    if len(magic) == 4 and _BIG_U32.unpack(magic)[0] in pcap.MAGIC_TO_PKT_HDR:
        return _walk_pcap(source, magic, pcap)
    hint = "toyvisor reads pcap and pcapng, as tcpdump -w and Wireshark write them"
    if magic.startswith(_GZIP):
        hint = f"it is compressed: gunzip {source.path}"
    raise source.error("not a capture", hint=hint)


def _walk_pcap(source: _Source, magic: bytes, pcap: Any) -> Iterator[bytes]:
    """Record after record of a classic capture."""
    packet_header = pcap.MAGIC_TO_PKT_HDR[_BIG_U32.unpack(magic)[0]]
    little = packet_header in (pcap.LEPktHdr, pcap.LEPktModHdr)
    file_header = pcap.LEFileHdr if little else pcap.FileHdr
    header = file_header(magic + source.read(file_header.__hdr_len__ - len(magic)))
    link_type = header.linktype & 0xFFFF  # the upper half is about an FCS
    while start := source.read_or_end(packet_header.__hdr_len__):
        packet = packet_header(start)
        _check(source, link_type, packet.caplen, packet.len)
        yield source.read(packet.caplen)


def _walk_pcapng(source: _Source) -> Iterator[bytes]:
    """Block after block of a pcapng capture, whose first four bytes have been read."""
    from dpkt import pcapng

    little = True
    interfaces: list[Any] = []
    start = _SECTION_HEADER
    while start:
        if start == _SECTION_HEADER:
            little = _read_section_header(source)
            interfaces = []
        else:
            kind, block = _read_block(source, start, little)
            if kind == pcapng.PCAPNG_BT_IDB:
                form = (
                    pcapng.InterfaceDescriptionBlockLE
                    if little
                    else pcapng.InterfaceDescriptionBlock
                )
                interfaces.append(_unpack(source, form, block))
            elif kind == pcapng.PCAPNG_BT_EPB:
                form = pcapng.EnhancedPacketBlockLE if little else pcapng.EnhancedPacketBlock
                yield _packet(source, _unpack(source, form, block), block, interfaces)
            elif kind == pcapng.PCAPNG_BT_PB:
                form = pcapng.PacketBlockLE if little else pcapng.PacketBlock
                yield _packet(source, _unpack(source, form, block), block, interfaces)
            elif kind == _SIMPLE_PACKET:
                yield _simple_packet(source, block, interfaces, little)
        start = source.read_or_end(4)


def _read_section_header(source: _Source) -> bool:
    """Read a section header after its type; says whether the section is little-endian."""
    from dpkt import pcapng

    length_and_order = source.read(8)
    order = _BIG_U32.unpack(length_and_order[4:])[0]
    if order not in (pcapng.BYTE_ORDER_MAGIC, pcapng.BYTE_ORDER_MAGIC_LE):
        raise source.error("not a capture: a pcapng section without a byte order")
    little = bool(order == pcapng.BYTE_ORDER_MAGIC_LE)
    length = int.from_bytes(length_and_order[:4], "little" if little else "big")
    _check_block_length(source, length, 28)
    body = source.read(length - 12)
    major = int.from_bytes(body[:2], "little" if little else "big")
    if major != pcapng.PCAPNG_VERSION_MAJOR:
        raise source.error(f"pcapng version {major} is not known")
    return little


def _read_block(source: _Source, start: bytes, little: bool) -> tuple[int, bytes]:
    """The block whose four type bytes have been read: its type, and all its bytes."""
    order: Literal["little", "big"] = "little" if little else "big"
    length_bytes = source.read(4)
    length = int.from_bytes(length_bytes, order)
    _check_block_length(source, length, 12)
    block = start + length_bytes + source.read(length - 8)
    if block[-4:] != length_bytes:  # the length stands at both ends
        raise source.error(f"damaged before frame {source.number}: a block without an end")
    return int.from_bytes(start, order), block


def _check_block_length(source: _Source, length: int, least: int) -> None:
    if not least <= length <= _MAX_BLOCK or length % 4:
        raise source.error(f"damaged before frame {source.number}: a block of {length} bytes")


def _unpack(source: _Source, form: Any, block: bytes) -> Any:
    """A block's fixed fields; its options (comments, names) do not matter here."""
    header = form()
    if len(block) < header.__hdr_len__:
        raise source.error(f"damaged before frame {source.number}: a block is too short")
    header.unpack_hdr(block)
    return header


def _packet(source: _Source, header: Any, block: bytes, interfaces: list[Any]) -> bytes:
    if header.iface_id >= len(interfaces):
        raise source.error(f"frame {source.number} is from interface {header.iface_id}: unknown")
    _check(source, interfaces[header.iface_id].linktype, header.caplen, header.pkt_len)
    start = header.__hdr_len__ - 4  # the block ends with its length once more
    if start + header.caplen + 4 > len(block):
        raise source.error(f"damaged in frame {source.number}: it is longer than its block")
    return block[start : start + header.caplen]


def _simple_packet(source: _Source, block: bytes, interfaces: list[Any], little: bool) -> bytes:
    """A Simple Packet Block: of the first interface, as long as its snap length allows."""
    if not interfaces or len(block) < 16:
        raise source.error(f"damaged in frame {source.number}")
    original = int.from_bytes(block[8:12], "little" if little else "big")
    first = interfaces[0]
    captured = min(original, first.snaplen) if first.snaplen else original
    _check(source, first.linktype, captured, original)
    if captured > len(block) - 16:
        raise source.error(f"damaged in frame {source.number}: it is longer than its block")
    return block[12 : 12 + captured]


def _check(source: _Source, link_type: int, captured: int, original: int) -> None:
    """Only whole Ethernet frames of a size that a tap takes."""
    if link_type != LINKTYPE_ETHERNET:
        raise source.error(
            f"frame {source.number} has link type {link_type}, not Ethernet (1)",
            hint="capture on one interface, not on 'any'",
        )
    what = f"frame {source.number} has {original} bytes"
    if original < ETH_HLEN:
        raise source.error(f"{what}; an Ethernet header alone has {ETH_HLEN}")
    if original > MAX_FRAME or captured > MAX_FRAME:
        raise source.error(f"{what}, more than the {MAX_FRAME} a tap takes")
    if captured > original:
        raise source.error(f"damaged: {what}, and yet {captured} were captured")
    if captured < original:
        raise source.error(
            f"{what}, of which only {captured} were captured",
            hint="capture whole frames: tcpdump -s 0",
        )
