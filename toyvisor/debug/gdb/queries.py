"""Packets that ask (`q`) or set (`Q`) something general: what the stub can, threads, documents.

Source: the gdb manual, appendix "GDB Remote Serial Protocol", section "General Query Packets".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from toyvisor.debug.gdb.fields import MalformedPacket, data, hexadecimal, numbers
from toyvisor.debug.gdb.monitor import Monitor
from toyvisor.debug.gdb.packets import PACKET_SIZE
from toyvisor.debug.session import Session

_FEATURES = (
    f"PacketSize={PACKET_SIZE:x}",
    "QStartNoAckMode+",
    "swbreak+",
    "hwbreak+",
    "vContSupported+",
    "ReverseStep+",
    "ReverseContinue+",
    "qXfer:features:read+",
    "qXfer:exec-file:read+",
)


class Queries:
    """Answers q and Q packets. `say` prints on gdb's side.

    `documents` are what qXfer transfers, by object and annex.
    """

    def __init__(
        self,
        session: Session,
        documents: Mapping[tuple[bytes, bytes], bytes],
        say: Callable[[bytes], None],
    ) -> None:
        self._session = session
        self._say = say
        self._monitor = Monitor(session)
        self._documents = documents
        self._fixed = {
            b"Supported": ";".join(_FEATURES).encode("ascii"),
            b"StartNoAckMode": b"OK",
            b"C": b"QC1",
            b"fThreadInfo": b"m1",
            b"sThreadInfo": b"l",
            b"Attached": b"1",  # quitting gdb detaches, and does not kill
            b"Symbol": b"OK",
        }

    def answer(self, text: bytes) -> bytes:
        """The answer to what follows the q or Q."""
        name, _, rest = text.partition(b":")
        if name == b"Xfer":
            return self._transfer(rest)
        name, comma, argument = name.partition(b",")
        if name == b"Rcmd" and comma:
            return self._command(data(argument))
        if name == b"ThreadExtraInfo":
            return hexadecimal(self._thread_info().encode("ascii"))
        return self._fixed.get(name, b"")

    def _transfer(self, text: bytes) -> bytes:
        """qXfer:OBJECT:read:ANNEX:OFFSET,LENGTH"""
        parts = text.split(b":")
        if len(parts) != 4 or parts[1] != b"read":
            return b""
        document = self._documents.get((parts[0], parts[2]))
        if document is None:
            return b"E00" if any(parts[0] == kind for kind, _ in self._documents) else b""
        offset, length = numbers(parts[3], 2)
        if offset > len(document):
            raise MalformedPacket(text)
        length = min(length, PACKET_SIZE // 2)
        is_last = offset + length >= len(document)
        return (b"l" if is_last else b"m") + document[offset : offset + length]

    def _command(self, command: bytes) -> bytes:
        """`monitor ...`: its text goes out as console output."""
        self._say(self._monitor.run(command.decode("utf-8", "replace")).encode())
        return b"OK"

    def _thread_info(self) -> str:
        moment = self._session.moment
        return f"vCPU 0: instruction {moment.instructions}, event {moment.events}"
