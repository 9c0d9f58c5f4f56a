"""One gdb at the other end of a socket or of two pipes: packets in, packets out."""

from __future__ import annotations

import os
import select
from collections import deque

from toyvisor.debug.gdb.packets import PACKET_SIZE, ArrivalKind, PacketReader, frame

_CHUNK = 1 << 16
#: Half a packet: each byte of a console text takes two digits.
_TEXT_SIZE = PACKET_SIZE // 2 - 1


class Disconnected(Exception):  # noqa: N818 (not an error)
    """gdb is gone."""


class Connection:
    """Reads from one file descriptor and writes to another, or the same."""

    def __init__(self, source: int, sink: int) -> None:
        self._source, self._sink = source, sink
        self._reader = PacketReader()
        self._packets: deque[bytes] = deque()
        self._last_sent = b""
        self._is_gone = False
        self._was_interrupted = False
        #: Each packet is acknowledged, until gdb says that this is not needed.
        self.acknowledges = True

    def receive(self) -> bytes:
        """The next packet; waits for it. Raises Disconnected."""
        while not self._packets:
            self._read()
        return self._packets.popleft()

    def send(self, data: bytes) -> None:
        """Send a packet. Raises Disconnected."""
        self._last_sent = frame(data)
        self._write(self._last_sent)

    def say(self, text: bytes) -> None:
        """Print a text on gdb's side, which has to be waiting for an answer."""
        for start in range(0, len(text), _TEXT_SIZE):
            self.send(b"O" + text[start : start + _TEXT_SIZE].hex().encode("ascii"))

    def wants_to_interrupt(self) -> bool:
        """Whether Ctrl-C has come in since the last packet, or gdb is gone. Does not wait."""
        try:
            while not self._is_gone and select.select([self._source], [], [], 0)[0]:
                self._read()
        except Disconnected:
            pass
        return self._is_gone or self._was_interrupted

    def _read(self) -> None:
        try:
            data = os.read(self._source, _CHUNK)
        except OSError:  # reset by the other side
            data = b""
        if not data:
            self._is_gone = True
            raise Disconnected
        for arrival in self._reader.feed(data):
            if arrival.kind is ArrivalKind.PACKET:
                self._was_interrupted = False  # what was to be interrupted has ended
                self._acknowledge(b"+")
                self._packets.append(arrival.data)
            elif arrival.kind is ArrivalKind.DAMAGED:
                self._acknowledge(b"-")
            elif arrival.kind is ArrivalKind.INTERRUPT:
                self._was_interrupted = True
            elif arrival.kind is ArrivalKind.NAK and self._last_sent:
                self._write(self._last_sent)

    def _acknowledge(self, sign: bytes) -> None:
        if self.acknowledges:
            self._write(sign)

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._sink, rest) :]
        except OSError as error:
            self._is_gone = True
            raise Disconnected from error
