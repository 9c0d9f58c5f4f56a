"""A cable with somebody listening: the far end of a network file, in memory."""

from __future__ import annotations

from typing import Protocol

from toyvisor.host.waiters import WaitQueue


class FarEnd(Protocol):
    """Who is at the other end of a network device's cable."""

    def receive(self, frame: bytes) -> None:
        """A frame arrives, whole and unchanged."""
        ...


class Wire(WaitQueue):
    """An in-memory wire that remembers the frames it carried.

    It is a `FarEnd` for a tap, and a `NetFile` by itself for a test that wants no tap; as that
    it has nobody who sends anything. The first `limit` frames and `byte_limit` bytes are kept,
    all are counted: a guest that never stops sending cannot fill the host's memory.
    """

    LIMIT = 1 << 16
    BYTE_LIMIT = 1 << 26

    __slots__ = ("byte_limit", "bytes_carried", "carried", "frames", "limit", "name")

    def __init__(
        self, name: str = "wire", *, limit: int = LIMIT, byte_limit: int = BYTE_LIMIT
    ) -> None:
        super().__init__()
        self.name = name
        self.limit = limit
        self.byte_limit = byte_limit
        #: the frames kept, oldest first
        self.frames: list[bytes] = []
        #: frames and bytes carried, kept or not
        self.carried = 0
        self.bytes_carried = 0

    def receive(self, frame: bytes) -> None:
        """Carry one frame."""
        self.carried += 1
        self.bytes_carried += len(frame)
        # Once one frame was let go, all later ones are: what is kept is a true beginning.
        if (
            len(self.frames) == self.carried - 1
            and len(self.frames) < self.limit
            and self.bytes_carried <= self.byte_limit
        ):
            self.frames.append(frame)

    def transmit(self, frame: bytearray) -> None:
        """Carry a frame that comes straight from a system call (`NetFile`)."""
        self.receive(bytes(frame))

    def recv(self) -> bytes | None:
        """Nothing (`NetFile`)."""
        return None

    @property
    def readable(self) -> bool:
        """Never (`NetFile`)."""
        return False

    @property
    def dropped(self) -> int:
        """Frames carried but not kept."""
        return self.carried - len(self.frames)
