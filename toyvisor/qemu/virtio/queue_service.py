"""Who works on a device's queues, if it is not the vCPU's thread in the middle of its exit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from toyvisor.qemu.virtio.device import QueueSlot


class QueueService(Protocol):
    """QEMU's main loop (`ioeventfd`), or the host's kernel (`vhost`)."""

    def start(self) -> None:
        """The device is live (DRIVER_OK): serve its ready queues, beginning with a look."""
        ...

    def stop(self) -> None:
        """Touch no queue any more: a reset, or the device has given up. Twice is once."""
        ...

    def start_queue(self, slot: QueueSlot) -> None:
        """A queue of a live device has become ready."""
        ...

    def stop_queue(self, slot: QueueSlot) -> None:
        """A queue is to be ready no longer; it still is."""
        ...

    def kick(self, index: int) -> bool:
        """A kick has come to QEMU's vCPU thread after all: pass it on. False: serve it there."""
        ...

    def update(self) -> None:
        """Something that decides who serves has changed: the cable."""
        ...
