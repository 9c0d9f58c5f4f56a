"""vhost: virtqueues served by a thread of the host's kernel, without QEMU.

QEMU sets it up with ioctls on /dev/vhost-net: where the rings lie, an eventfd for kicks, one
for calls. From then on kick, ring and interrupt pass it by. The worker sleeps until a file
it waits for can be read, which queues a piece of work; a turn does what is queued.

Linux: drivers/vhost/vhost.c. What a certain device does with its queues is a subclass.
"""

from __future__ import annotations

from collections.abc import Callable

from toyvisor.errors import GuestError
from toyvisor.host.eventfd import EventFd
from toyvisor.host.scheduler import Scheduler
from toyvisor.host.waiters import PolledFile
from toyvisor.memory import GuestMemory
from toyvisor.trace.events import VHOST_SIGNAL, VHOST_WORK, VQ_ERR, Thread
from toyvisor.trace.ledger import Ledger
from toyvisor.virtio.layout import QueueConfig
from toyvisor.virtio.split_queue import SplitQueue


class VhostWork:
    """struct vhost_work: something the worker is to do; queued once until it is done."""

    __slots__ = ("function", "name")

    def __init__(self, name: str, function: Callable[[], None]) -> None:
        self.name = name
        self.function = function


class VhostPoll:
    """struct vhost_poll: have work done whenever a file can be read."""

    __slots__ = ("_device", "_file", "work")

    def __init__(self, device: VhostDevice, work: VhostWork) -> None:
        self._device = device
        self._file: PolledFile | None = None
        self.work = work

    def start(self, file: PolledFile) -> None:
        """Wait for `file`; if it can be read already, there is work (vhost_poll_start)."""
        if self._file is not None:
            return
        self._file = file
        file.add_waiter(self._wake_up)
        if file.readable:
            self._wake_up()

    def stop(self) -> None:
        """Wait no longer (vhost_poll_stop). Work that is queued stays."""
        if self._file is not None:
            self._file.remove_waiter(self._wake_up)
            self._file = None

    def _wake_up(self) -> None:
        self._device.queue_work(self.work)


class VhostQueue:
    """struct vhost_virtqueue: one ring and what belongs to it, as QEMU set it up."""

    __slots__ = ("call", "index", "name", "poll", "ring")

    def __init__(self, index: int, name: str, poll: VhostPoll) -> None:
        self.index = index
        self.name = name
        #: waits for the kick eventfd. Its counter is never read: a kick is the wake-up.
        self.poll = poll
        self.call: EventFd | None = None
        #: None: not set up, or stopped
        self.ring: SplitQueue | None = None


class VhostDevice:
    """struct vhost_dev with its worker: a `HostThread` of the scheduler."""

    thread = Thread.VHOST

    __slots__ = (
        "_scheduler",
        "_work",
        "features",
        "ledger",
        "memory",
        "name",
        "on_error",
        "queues",
    )

    def __init__(
        self,
        ledger: Ledger,
        memory: GuestMemory,
        scheduler: Scheduler,
        handlers: tuple[tuple[str, VhostWork], ...],
        *,
        name: str = "vhost-1",
    ) -> None:
        #: as `ps` shows it: "vhost-" and the process id of QEMU
        self.name = name
        self.ledger = ledger
        #: what VHOST_SET_MEM_TABLE gives: the same bytes that QEMU and the guest have
        self.memory = memory
        self.features = 0
        #: a queue was broken and has stopped: the eventfd of VHOST_SET_VRING_ERR, with a reason
        self.on_error: Callable[[int, GuestError], None] | None = None
        self.queues = [
            VhostQueue(index, name, VhostPoll(self, work))
            for index, (name, work) in enumerate(handlers)
        ]
        self._work: dict[VhostWork, None] = {}
        self._scheduler = scheduler
        scheduler.add(self)

    # The worker -----------------------------------------------------------------------

    @property
    def runnable(self) -> bool:
        """Whether there is work."""
        return bool(self._work)

    def run(self) -> None:
        """Do all that was queued when the turn began (vhost_run_work_list)."""
        works, self._work = self._work, {}
        trace = self.ledger.trace
        for work in works:
            if trace.enabled:
                trace.emit(VHOST_WORK, work.name)
            work.function()

    def queue_work(self, work: VhostWork) -> None:
        """Have something done in the next turn (vhost_work_queue). Twice is once."""
        if work not in self._work:
            self._work[work] = None
            self._scheduler.wake(self)

    # What QEMU's ioctls do ----------------------------------------------------------------

    def set_features(self, features: int) -> None:
        """VHOST_SET_FEATURES: what the driver accepted."""
        self.features = features

    def set_vring(
        self, index: int, config: QueueConfig, base: int, kick: EventFd, call: EventFd
    ) -> None:
        """VHOST_SET_VRING_NUM, _ADDR, _BASE, _KICK and _CALL: all there is to a ring.

        `base` is the next entry of the available ring to take; so used.idx stands there,
        too, as vhost-net leaves nothing in flight. Raises GuestError for a ring that is not
        all in RAM (vhost_vq_access_ok).
        """
        queue = self.queues[index]
        self.stop(index)
        queue.ring = SplitQueue(
            queue.name, config, self.memory, self.ledger, features=self.features, base=base
        )
        queue.call = call
        queue.poll.start(kick)

    def stop(self, index: int) -> int:
        """Touch the ring no more; returns the next entry to take (VHOST_GET_VRING_BASE)."""
        queue = self.queues[index]
        queue.poll.stop()
        ring, queue.ring, queue.call = queue.ring, None, None
        if ring is None:
            return 0
        ring.stop()
        return ring.last_avail

    # For device types ----------------------------------------------------------------------

    def signal(self, queue: VhostQueue) -> None:
        """Publish the used entries, and call the guest if it wants to hear of them.

        vhost_add_used_and_signal_n(). The call is an eventfd_signal(): it ends in KVM, if the
        eventfd is an irqfd.
        """
        ring = queue.ring
        if ring is None:
            return
        ring.flush()
        if not ring.has_unsignalled:
            return
        wanted = ring.should_notify()
        if self.ledger.trace.enabled:
            self.ledger.trace.emit(VHOST_SIGNAL, queue.name, not wanted)
        if wanted and queue.call is not None:
            queue.call.signal()

    def fail(self, queue: VhostQueue, error: GuestError) -> None:
        """A driver broke a rule: the queue stops, and QEMU is told (vq_err).

        Linux stops until the next kick, finds the same fault again, and tells QEMU only that
        there was one. What it was, Linux keeps for its debug log; here QEMU gets that, too.
        """
        if self.ledger.trace.enabled:
            self.ledger.trace.emit(VQ_ERR, queue.name, error.rule, error.message)
        queue.poll.stop()
        if queue.ring is not None:
            queue.ring.stop()
        if self.on_error is not None:
            self.on_error(queue.index, error)
