"""What all virtio devices have in common (QEMU: hw/virtio/virtio.c, struct VirtIODevice).

Status, features, configuration space, queues, and the two directions of notification:
`notify()` when the driver has kicked a queue, `notify_driver()` when buffers were used. No
register is known here; the transport translates.

A device type subclasses `VirtioDevice` and says what to do with a queue that was kicked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from toyvisor.errors import GuestError, UsageError
from toyvisor.qemu.device import DeviceContext
from toyvisor.qemu.virtio import rules
from toyvisor.trace.events import DEVICE, VIRTIO_NOTIFY, VIRTIO_SET_STATUS
from toyvisor.virtio.constants import DeviceId, Feature, Interrupt, Status
from toyvisor.virtio.layout import QueueConfig
from toyvisor.virtio.split_queue import SplitQueue

if TYPE_CHECKING:
    from toyvisor.qemu.virtio.queue_service import QueueService

#: what the queues can do for every device type
QUEUE_FEATURES = Feature.VERSION_1 | Feature.INDIRECT_DESC | Feature.EVENT_IDX
# Plain ints: with the guest's words in them, `~` and `|` must not know what a flag is.
_DRIVER_OK = int(Status.DRIVER_OK)
_FEATURES_OK = int(Status.FEATURES_OK)
_NEEDS_RESET = int(Status.DEVICE_NEEDS_RESET)
_FAILED = int(Status.FAILED)
_BEGINNING = int(Status.ACKNOWLEDGE | Status.DRIVER)
#: bits of a status the driver may write
_DRIVER_BITS = _BEGINNING | _FEATURES_OK | _DRIVER_OK | _FAILED
_FEATURE_PAGES = 4  # feature bits 0 to 127 exist (2.2)


class VirtioTransport(Protocol):
    """How a device's notifications reach the driver: each transport has its own way."""

    def interrupt(self, event: Interrupt) -> None:
        """Tell the driver of an event."""
        ...


class QueueSlot:
    """One of a device's queues: fixed size limit, the driver's settings, the live ring."""

    __slots__ = ("config", "index", "max_size", "name", "ready", "ring")

    config: QueueConfig
    ready: bool
    ring: SplitQueue | None

    def __init__(self, index: int, name: str, max_size: int) -> None:
        self.index = index
        self.name = name
        self.max_size = max_size
        self.reset()

    def reset(self) -> None:
        """Back to the state after power-on (4.2.2.1: QueueReady 0)."""
        self.config = QueueConfig()
        self.ready = False
        self.ring = None

    def stop(self) -> None:
        """Make the device touch the ring no more; whoever holds it finds it dead."""
        if self.ring is not None:
            self.ring.stop()
            self.ring = None


class VirtioDevice:
    """A virtio device, seen from its transport."""

    __slots__ = (
        "_unknown_features",
        "accepted",
        "config",
        "config_generation",
        "context",
        "name",
        "offered",
        "queue_service",
        "queues",
        "status",
        "transport",
    )

    device_id = DeviceId.PLACEHOLDER
    #: everything the model can do; what it offers is a subset
    supported = int(QUEUE_FEATURES)
    #: feature -> features of which one must come with it (2.2.1); see the device types
    requires: Mapping[int, Sequence[int]] = {}

    def __init__(
        self,
        context: DeviceContext,
        *,
        features: int,
        config: bytes = b"",
        queues: Sequence[tuple[str, int]] = (),
    ) -> None:
        _check_offer(features, self.supported, self.requires)
        self.context = context
        self.name = context.irq.device
        self.offered = int(features)
        self.config = bytearray(config)
        self.config_generation = 0
        self.queues = [QueueSlot(index, name, size) for index, (name, size) in enumerate(queues)]
        self.transport: VirtioTransport | None = None
        #: who works on the queues beside the vCPU's thread; None: that thread itself
        self.queue_service: QueueService | None = None
        self.status = 0
        self.accepted = 0  # what the driver wrote; binding from FEATURES_OK on
        self._unknown_features = False  # the driver wrote bits beyond all pages

    # For device types -----------------------------------------------------------------

    def handle_queue(self, slot: QueueSlot, ring: SplitQueue) -> None:
        """Work off a queue that was kicked. May raise GuestError: the device gives up then."""

    def handle_reset(self) -> None:
        """Forget what belongs to the driver that is gone."""

    # Status (2.1, 3.1) -----------------------------------------------------------------

    @property
    def live(self) -> bool:
        """Whether buffers may be consumed (2.1.2): DRIVER_OK, and nothing broken since."""
        return self.status & (_DRIVER_OK | _NEEDS_RESET | _FAILED) == _DRIVER_OK

    def set_status(self, value: int) -> None:
        """The driver writes Status, not 0. Raises GuestError when done, if it broke a rule.

        (0 is a reset, which begins in the transport.) Tolerated, since real drivers do it:
        several bits in one write; SeaBIOS goes from 0 to ACKNOWLEDGE|DRIVER.
        """
        old = self.status
        if old & _FAILED:
            if value != old:
                raise rules.STATUS_FAILED.broken(f"status {value:#x} written after FAILED")
            return
        breach = self._status_breach(old, value)
        new = value & _DRIVER_BITS & ~old
        self.status |= new & (_BEGINNING | _FAILED)
        if new & _FAILED:
            self._stop_queues()
        else:
            breach = self._advance(new) or breach
        if self.context.trace.enabled:
            self.context.trace.emit(VIRTIO_SET_STATUS, self.name, self.status)
        if new & self.status & _DRIVER_OK:
            self._begin_service()
        if breach is not None:
            raise breach

    def _begin_service(self) -> None:
        """DRIVER_OK. Buffers may be there: a driver fills its queues in step 7 (3.1.1)."""
        if self.queue_service is None:
            for slot in self.queues:
                self._serve(slot)
        elif self.live:
            self.queue_service.start()

    def _status_breach(self, old: int, value: int) -> GuestError | None:
        """What is wrong with a status, apart from its time; the rest of it still counts."""
        undefined = value & ~(_DRIVER_BITS | _NEEDS_RESET)
        if undefined:
            return rules.STATUS_UNDEFINED.broken(f"status {value:#x} written")
        if value & ~old & _NEEDS_RESET:
            return rules.STATUS_NEEDS_RESET.broken(f"status {value:#x} written")
        # Whoever does not write back the device's own bit has not cleared anything.
        cleared = old & ~value & _DRIVER_BITS
        if cleared:
            return rules.STATUS_CLEARED.broken(
                f"status {value:#x} written over {old:#x}: it lacks {cleared:#x}"
            )
        return None

    def _advance(self, new: int) -> GuestError | None:
        """Take the steps 5 and 8 of 3.1.1, in their order, as far as they are allowed."""
        if new & _FEATURES_OK:
            breach = self._features_breach()
            if breach is not None:
                return breach
            self.status |= _FEATURES_OK
        if new & _DRIVER_OK:
            if not self.status & _FEATURES_OK:
                return rules.STATUS_DRIVER_OK.broken("DRIVER_OK written without FEATURES_OK")
            self.status |= _DRIVER_OK
        return None

    def reset(self) -> None:
        """Device reset (2.4): done when this returns, so Status reads 0 at once."""
        self._stop_queues()
        for slot in self.queues:
            slot.reset()
        self.status = 0
        self.accepted = 0
        self._unknown_features = False
        self.handle_reset()
        if self.context.trace.enabled:
            self.context.trace.emit(VIRTIO_SET_STATUS, self.name, 0)

    def needs_reset(self, error: GuestError) -> None:
        """Give up until the driver resets the device (2.1.2), and tell it if it listens."""
        self.context.errors.report(self.name, error)
        if self.status & _NEEDS_RESET:
            return
        self.status |= _NEEDS_RESET
        self._stop_queues()
        if self.context.trace.enabled:
            self.context.trace.emit(DEVICE, self.name, "needs reset: " + error.message)
        self.notify_config()

    def _stop_queues(self) -> None:
        if self.queue_service is not None:
            self.queue_service.stop()
        for slot in self.queues:
            slot.stop()

    # Features (2.2) --------------------------------------------------------------------

    @property
    def features(self) -> int:
        """The negotiated features; none before FEATURES_OK."""
        return self.accepted if self.status & _FEATURES_OK else 0

    def device_features(self, page: int) -> int:
        """32 of the offered feature bits; pages beyond the last read 0."""
        return self.offered >> 32 * page & 0xFFFFFFFF if page < _FEATURE_PAGES else 0

    def set_driver_features(self, page: int, bits: int) -> None:
        """The driver accepts 32 feature bits. They are checked at FEATURES_OK."""
        if self.status & _FEATURES_OK:
            raise rules.FEATURE_LATE.broken(
                f"feature bits {bits:#x} of page {page} written after FEATURES_OK"
            )
        if page >= _FEATURE_PAGES:  # no such bits: remember that, not where
            self._unknown_features |= bits != 0
            return
        self.accepted &= ~(0xFFFFFFFF << 32 * page)
        self.accepted |= bits << 32 * page

    def _features_breach(self) -> GuestError | None:
        """FEATURES_OK: why the driver's choice can't be accepted (2.2.2); None if it can."""
        extra = self.accepted & ~self.offered
        if extra or self._unknown_features:
            which = f"{extra:#x} of {self.accepted:#x}" if extra else "bits above 127"
            return rules.FEATURE_NOT_OFFERED.broken(
                f"the driver accepts {which}, the device offers {self.offered:#x}"
            )
        if not self.accepted & Feature.VERSION_1:
            return rules.FEATURE_VERSION_1.broken(
                f"the driver accepts {self.accepted:#x}, which lacks VERSION_1"
            )
        missing = _missing_dependency(self.accepted, self.requires)
        if missing is not None:
            return rules.FEATURE_DEPENDENCY.broken(
                f"the driver accepts bit {missing.bit_length() - 1} without what it requires"
            )
        return None

    # Configuration space (2.5) -----------------------------------------------------------

    def read_config(self, offset: int, size: int) -> int:
        """Configuration bytes; those beyond the end are 0."""
        return int.from_bytes(self.config[offset : offset + size], "little")

    def write_config(self, offset: int, size: int, value: int) -> None:
        """The driver writes configuration: nothing is writable unless a device type says so."""
        raise rules.CONFIG_READ_ONLY.broken(f"{value:#x} ({size} bytes) written to +{offset:#x}")

    def change_config(self, offset: int, data: bytes) -> None:
        """The device changes its configuration and tells the driver (3.2.1)."""
        self.config[offset : offset + len(data)] = data
        self.config_generation = (self.config_generation + 1) & 0xFFFFFFFF
        self.notify_config()

    # Queues ------------------------------------------------------------------------------

    def start_queue(self, slot: QueueSlot) -> None:
        """QueueReady becomes 1: check the configuration and map the ring, or need a reset."""
        if self.status & (_NEEDS_RESET | _FAILED):
            return  # dead until reset
        try:
            self.map_ring(slot)
        except GuestError as error:
            self.needs_reset(error)
            return
        slot.ready = True
        if self.queue_service is not None and self.live:
            self.queue_service.start_queue(slot)

    def map_ring(self, slot: QueueSlot, base: int = 0) -> None:
        """Give a queue its ring, which goes on at `base`, as its registers say. May raise."""
        slot.ring = SplitQueue(
            slot.name,
            slot.config,
            self.context.memory,
            self.context.ledger,
            features=self.accepted,
            max_size=slot.max_size,
            base=base,
        )

    def stop_queue(self, slot: QueueSlot) -> None:
        """QueueReady becomes 0."""
        if self.queue_service is not None:
            self.queue_service.stop_queue(slot)
        slot.stop()
        slot.ready = False

    # Notifications (2.3) -------------------------------------------------------------------

    def notify(self, index: int, *, has_come: bool = False) -> None:
        """The driver kicked a queue: an available buffer notification.

        The transport calls this from the vCPU's thread; `has_come` to the thread of the queue
        service, if there is one. Kicks for nothing are fine (2.7.10.2); a kick that breaks a
        rule is reported, what is wrong in the queue ends in needs_reset(). Nothing is raised.
        """
        if self.queue_service is not None and not has_come and self.queue_service.kick(index):
            return
        breach = self._kick_breach(index)
        if breach is not None:
            self.context.errors.report(self.name, breach)
        else:
            self._serve(self.queues[index])

    def _kick_breach(self, index: int) -> GuestError | None:
        if not 0 <= index < len(self.queues):
            return rules.NOTIFY_QUEUE.broken(
                f"queue {index:#x} kicked, there are {len(self.queues)}"
            )
        slot = self.queues[index]
        if self.status & (_NEEDS_RESET | _FAILED):
            return None  # stopped; a driver that does not know yet has done nothing wrong
        if not self.status & _DRIVER_OK:
            return rules.NOTIFY_EARLY.broken(
                f"queue {slot.name} kicked with status {self.status:#x}"
            )
        if slot.ring is None:
            return rules.NOTIFY_NOT_READY.broken(f"queue {slot.name} kicked, its QueueReady is 0")
        return None

    def _serve(self, slot: QueueSlot) -> None:
        """Have the device type look at a queue, if it may be touched (2.1.2, 4.2.2.1)."""
        if slot.ring is None or not self.live:
            return
        try:
            self.handle_queue(slot, slot.ring)
        except GuestError as error:
            self.needs_reset(error)

    def notify_driver(self, ring: SplitQueue) -> None:
        """A used buffer notification, unless the driver does not want it (2.7.7)."""
        if not ring.has_unsignalled:
            return
        wanted = ring.should_notify()
        if self.context.trace.enabled:
            self.context.trace.emit(VIRTIO_NOTIFY, self.name, ring.name, not wanted)
        if wanted and self.transport is not None:
            self.transport.interrupt(Interrupt.USED_BUFFER)

    def notify_config(self) -> None:
        """A configuration change notification; to a driver that is there to hear it."""
        if self.status & _DRIVER_OK and self.transport is not None:
            self.transport.interrupt(Interrupt.CONFIG_CHANGE)


def _missing_dependency(features: int, requires: Mapping[int, Sequence[int]]) -> int | None:
    """The first feature whose prerequisites are all absent."""
    for feature, alternatives in requires.items():
        if features & feature and not any(features & needed for needed in alternatives):
            return feature
    return None


def _check_offer(features: int, supported: int, requires: Mapping[int, Sequence[int]]) -> None:
    """A device offers only what it can do (2.2.2), and always VERSION_1 (6.2)."""
    if features & ~supported:
        raise UsageError(f"this virtio device can't do the features {features & ~supported:#x}")
    if not features & Feature.VERSION_1:
        raise UsageError("a virtio device offers VIRTIO_F_VERSION_1 (VIRTIO 1.2, 6.2)")
    if _missing_dependency(features, requires) is not None:
        raise UsageError(f"the features {features:#x} lack one that another of them requires")
