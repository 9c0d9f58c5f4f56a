"""The device's end of a split virtqueue (VIRTIO 1.2, 2.7).

A split virtqueue is three tables in guest RAM. Each has one writer:

    descriptor table   driver writes, device reads    where the buffers are
    available ring     driver writes, device reads    which buffers the device may use
    used ring          device writes, driver reads    which buffers the driver has back

The trip of one buffer, and who takes each step:

     1  driver   fills descriptors: addr, len, flags, next                        2.7.13.1
     2  driver   puts the chain's head into avail.ring[avail.idx mod N]           2.7.13.2
     3  driver   increments avail.idx: from here on the buffer is the device's    2.7.13.3
     4  driver   kicks (QueueNotify), unless the device said it need not          2.7.13.4
     5  device   reads avail.idx, then avail.ring[last_avail mod N]               pop()
     6  device   reads each descriptor of the chain, once, and checks it          pop()
     7  device   does its work, straight on guest RAM: no copy                    net.py, ...
     8  device   writes used.ring[used.idx mod N] = {head, bytes written}         push()
     9  device   increments used.idx: from here on the buffer is the driver's     flush()
    10  device   interrupts, unless the driver said it need not                   should_notify()
    11  driver   reads used.idx, takes the buffer back                            2.7.14

Indices run free from 0 to 65535 and round again; they are masked to a slot only where a
slot is looked up. So idx - last is always the number of new entries, and a full ring never
looks like an empty one.

Whom to trust: nobody. Everything the driver wrote is loaded once and checked before use;
our own `last_avail` and `used_idx` are kept here, never read back from guest RAM. All work
is bounded by the queue size, which was checked when the queue was made ready.
"""

from __future__ import annotations

from toyvisor.memory import GuestMemory, GuestMemoryError
from toyvisor.trace.events import VIRTQUEUE_FILL, VIRTQUEUE_FLUSH, VIRTQUEUE_POP
from toyvisor.trace.ledger import Ledger
from toyvisor.virtio import errors
from toyvisor.virtio.constants import (
    QUEUE_SIZE_LIMIT,
    AvailFlag,
    DescriptorFlag,
    Feature,
    UsedFlag,
)
from toyvisor.virtio.descriptor_chain import DescriptorChain as DescriptorChain
from toyvisor.virtio.layout import QueueConfig, area_sizes, map_area
from toyvisor.virtio.queue_state import QueueState
from toyvisor.virtio.ring_memory import DESCRIPTOR, LE16, USED_ELEMENT, RingMemory

# Plain ints: an `IntFlag` operation costs as much as the rest of a pop.
_NEXT = int(DescriptorFlag.NEXT)
_WRITE = int(DescriptorFlag.WRITE)
_INDIRECT = int(DescriptorFlag.INDIRECT)
_NO_INTERRUPT = int(AvailFlag.NO_INTERRUPT)
_NO_NOTIFY = int(UsedFlag.NO_NOTIFY)

# Offsets in struct virtq_avail (2.7.6) and struct virtq_used (2.7.8), which begin alike.
_FLAGS, _IDX, _RING = 0, 2, 4
_CHAIN_BYTES_LIMIT = 1 << 32


class SplitQueue:
    """A split virtqueue that has been made ready, until it is stopped.

    Made when the driver writes 1 to QueueReady, raising `VirtioError` if the configuration
    breaks a rule. Once stopped it is dead for good: whoever still holds it (a request that
    was under way when the driver reset the device) can do no harm through it.
    """

    __slots__ = (
        "_avail",
        "_avail_idx",
        "_desc",
        "_event_idx",
        "_filled",
        "_in_flight",
        "_indirect",
        "_last_avail",
        "_ledger",
        "_mask",
        "_memory",
        "_notification",
        "_unsignalled",
        "_used",
        "_used_idx",
        "name",
        "running",
        "size",
        "trace",
    )

    def __init__(
        self,
        name: str,
        config: QueueConfig,
        memory: GuestMemory,
        ledger: Ledger,
        *,
        features: int = 0,
        max_size: int = QUEUE_SIZE_LIMIT,
        base: int = 0,
    ) -> None:
        size = config.size
        if not 0 < size <= min(max_size, QUEUE_SIZE_LIMIT) or size & (size - 1):
            raise errors.SIZE.broken(f"queue {name} made ready with size {size}, max {max_size}")
        self.name = name
        self.size = size
        self.running = True
        self.trace = ledger.trace
        self._ledger = ledger
        self._mask = size - 1
        self._memory = memory
        self._event_idx = bool(features & Feature.EVENT_IDX)
        self._indirect = bool(features & Feature.INDIRECT_DESC)
        desc_bytes, avail_bytes, used_bytes = area_sizes(size)
        self._desc = map_area(memory, ledger, "descriptor table", config.desc, desc_bytes, 16)
        self._avail = map_area(memory, ledger, "available ring", config.driver, avail_bytes, 2)
        self._used = map_area(memory, ledger, "used ring", config.device, used_bytes, 4)
        # Ours alone. The driver sees copies of some of them, and can't change ours.
        # They start at 0, or at `base` if another device did the entries before (a snapshot,
        # or vhost taking over: VHOST_SET_VRING_BASE).
        self._avail_idx = base  # avail.idx as last read
        self._last_avail = base  # the next entry to take
        self._used_idx = base  # used.idx as last written
        self._filled = 0  # used entries written, not yet published
        self._unsignalled = 0  # buffers published since the last should_notify()
        self._in_flight = 0  # chains popped and not pushed
        self._notification = True  # whether we ask to be kicked

    def stop(self) -> None:
        """Touch guest memory no more (4.2.2.1: QueueReady is zero; 2.4.1: reset)."""
        self.running = False
        self._avail_idx = self._last_avail  # what is known, but not taken, is forgotten

    @property
    def last_avail(self) -> int:
        """The next entry of the available ring to take: a `base` for who goes on with it."""
        return self._last_avail

    @property
    def state(self) -> QueueState:
        """All that the device knows of the queue; to look at."""
        return QueueState(
            self._last_avail, self._avail_idx, self._used_idx, self._filled, self._in_flight,
            self._unsignalled, self._notification, self.running,
        )  # fmt: skip

    # Taking buffers (steps 5 and 6) ----------------------------------------------------

    def pop(self) -> DescriptorChain | None:
        """Take the next available chain; None if there is none.

        avail.idx is read only when all entries known so far are taken, so a batch of
        entries costs one look at it (QEMU: shadow_avail_idx).
        """
        last = self._last_avail
        if last == self._avail_idx and not self.has_available():
            return None
        if self._in_flight >= self.size:
            raise errors.IN_FLIGHT.broken(
                f"queue {self.name}: a buffer more made available while the device holds all "
                f"{self.size}"
            )
        (head,) = self._avail.load(LE16, _RING + 2 * (last & self._mask))
        if head >= self.size:
            raise errors.HEAD_RANGE.broken(
                f"queue {self.name}: avail.ring[{last & self._mask}] is {head}, the descriptor "
                f"table has {self.size} entries"
            )
        chain = self._walk(head)
        # Only now is it taken: a chain that breaks a rule stays where a student can see it.
        self._last_avail = (last + 1) & 0xFFFF
        self._in_flight += 1
        if self._event_idx and self._notification:
            self._ask_for_kick()
        if self.trace.enabled:
            self.trace.emit(
                VIRTQUEUE_POP, self.name, head, len(chain.writable), len(chain.readable)
            )
        return chain

    def unpop(self, count: int = 1) -> None:
        """Put the `count` chains popped last back, as if they had never been taken.

        For a device that finds no use for them now (QEMU: virtqueue_unpop; Linux:
        vhost_discard_vq_desc). They will be read and checked anew.
        """
        if self.running:
            self._last_avail = (self._last_avail - count) & 0xFFFF
            self._in_flight -= count

    def has_available(self) -> bool:
        """Whether the driver has made more buffers available; reads avail.idx if need be."""
        if self._last_avail != self._avail_idx:
            return True
        if not self.running:
            return False
        idx: int = self._avail.load(LE16, _IDX)[0]
        # Free-running indices: the difference mod 2^16 is the number of new entries. An idx
        # that went backwards (2.7.6.1) shows as a difference beyond the queue size, too.
        new = (idx - self._last_avail) & 0xFFFF
        if new > self.size:
            raise errors.AVAIL_JUMP.broken(
                f"queue {self.name}: avail.idx is {idx}, the device stands at {self._last_avail}: "
                f"{new} new entries in a ring of {self.size}"
            )
        self._avail_idx = idx
        return new != 0

    def _walk(self, head: int) -> DescriptorChain:
        """Follow a chain from its head, reading and checking each descriptor once."""
        readable: list[memoryview] = []
        writable: list[memoryview] = []
        table, entries, visited = self._desc, self.size, 0
        index, total = head, 0
        while True:
            addr, length, flags, following = table.load(DESCRIPTOR, 16 * index)
            if flags & _INDIRECT:
                self._check_indirect(table, index, addr, length, flags)
                table, entries, visited = self._open_table(addr, length), length // 16, 0
                index = 0
                continue
            view = self._buffer(addr, length, index, flags)
            total += length
            if total > _CHAIN_BYTES_LIMIT:
                raise errors.CHAIN_BYTES.broken(
                    f"queue {self.name}: the chain from {head} has {total} bytes and goes on"
                )
            if flags & _WRITE:
                writable.append(view)
            elif writable:
                raise errors.BUFFER_ORDER.broken(
                    f"queue {self.name}: descriptor {index} (addr {addr:#x}) is device-readable "
                    f"and follows a device-writable one"
                )
            else:
                readable.append(view.toreadonly())
            if not flags & _NEXT:
                return DescriptorChain(head, readable, writable)
            visited += 1
            self._check_next(head, index, following, entries, visited)
            if len(readable) + len(writable) >= self.size:
                raise errors.CHAIN_LENGTH.broken(
                    f"queue {self.name}: the chain from {head} has more than {self.size} "
                    f"descriptors"
                )
            index = following

    def _buffer(self, addr: int, length: int, index: int, flags: int) -> memoryview:
        """The window on guest RAM that a descriptor names. Nothing is allocated."""
        if length == 0:
            raise errors.BUFFER_EMPTY.broken(
                f"queue {self.name}: descriptor {index} (addr {addr:#x}) has len 0"
            )
        try:
            if flags & _WRITE:
                return self._memory.dma_view(addr, length)
            return self._memory.view(addr, length)
        except GuestMemoryError as fault:
            raise errors.BUFFER_RANGE.broken(
                f"queue {self.name}: descriptor {index} names {length} bytes at {addr:#x}, "
                f"which are not all RAM"
            ) from fault

    def _check_next(
        self, head: int, index: int, following: int, entries: int, visited: int
    ) -> None:
        """Whether the chain may go on at `following`, `visited` entries into its table."""
        if following >= entries:
            raise errors.NEXT_RANGE.broken(
                f"queue {self.name}: descriptor {index} has next {following}, its table has "
                f"{entries} entries"
            )
        if visited >= entries:
            raise errors.CHAIN_LOOP.broken(
                f"queue {self.name}: the chain from {head} took {visited} descriptors of a table "
                f"of {entries} and goes on at {following}"
            )

    def _check_indirect(
        self, table: RingMemory, index: int, addr: int, length: int, flags: int
    ) -> None:
        """Whether a descriptor with INDIRECT may stand where it does (2.7.5.3).

        Its WRITE flag means nothing (2.7.5.3.2), and plain descriptors may come before it.
        """
        where = f"queue {self.name}: descriptor {index} (table at {addr:#x}, {length} bytes)"
        if not self._indirect:
            raise errors.INDIRECT_REFUSED.broken(f"{where} has INDIRECT")
        if table is not self._desc:
            raise errors.INDIRECT_NESTED.broken(f"{where} is itself in an indirect table")
        if flags & _NEXT:
            raise errors.INDIRECT_NEXT.broken(f"{where} has both INDIRECT and NEXT")
        if length == 0 or length % 16:
            raise errors.INDIRECT_LENGTH.broken(f"{where}: no whole number of descriptors")

    def _open_table(self, addr: int, length: int) -> RingMemory:
        """Map an indirect table. No alignment is asked of it."""
        try:
            return RingMemory(addr, self._memory.view(addr, length), self._desc.ledger)
        except GuestMemoryError as fault:
            raise errors.INDIRECT_RANGE.broken(
                f"queue {self.name}: an indirect table of {length} bytes at {addr:#x}, which "
                f"are not all RAM"
            ) from fault

    # Giving buffers back (steps 8 to 10) -------------------------------------------------

    def push(self, chain: DescriptorChain, written: int) -> None:
        """Write a used entry: the chain is done, `written` bytes from its first writable one.

        The driver does not see it before flush() (QEMU: virtqueue_fill). `written` must not
        exceed what was really written (2.7.8.2): the driver trusts those bytes.
        """
        if not self.running:
            return
        if self._in_flight == 0:
            raise ValueError(f"queue {self.name}: chain {chain.head} was not popped")
        slot = (self._used_idx + self._filled) & self._mask
        self._used.store(USED_ELEMENT, _RING + 8 * slot, chain.head, written)
        if self.trace.enabled:
            self.trace.emit(VIRTQUEUE_FILL, self.name, chain.head, written, self._filled)
        self._filled += 1
        self._in_flight -= 1

    def flush(self) -> None:
        """Publish the used entries written so far: one store of used.idx for all of them."""
        count = self._filled
        if count == 0 or not self.running:
            return
        self._used_idx = (self._used_idx + count) & 0xFFFF
        self._used.store(LE16, _IDX, self._used_idx)
        self._filled = 0
        self._unsignalled += count
        if self.trace.enabled:
            self.trace.emit(VIRTQUEUE_FLUSH, self.name, count)

    @property
    def has_unsignalled(self) -> bool:
        """Whether buffers were published that should_notify() was not yet asked about."""
        return self._unsignalled != 0 and self.running

    def should_notify(self) -> bool:
        """Whether the driver wants to hear of the buffers published since it was last asked.

        Counts those it does not want, whoever serves the queue.
        Without EVENT_IDX the driver's flag decides (2.7.7.2). With it, the driver named an
        index: it hears of it when used.idx passes that one. The entries since the last time
        are those from used_idx - n to used_idx - 1, so that is the case exactly if
        (u16)(used_idx - 1 - used_event) < n (Linux: vring_need_event).
        """
        count, self._unsignalled = self._unsignalled, 0
        if count == 0 or not self.running:
            return False
        if self._event_idx:
            (used_event,) = self._avail.load(LE16, _RING + 2 * self.size)
            wanted = (self._used_idx - 1 - used_event) & 0xFFFF < count
        else:
            (flags,) = self._avail.load(LE16, _FLAGS)
            wanted = not flags & _NO_INTERRUPT
        if not wanted:
            self._ledger.suppressed += 1
        return bool(wanted)

    # Being kicked, or not (step 4) --------------------------------------------------------

    def set_notification(self, enabled: bool) -> bool:
        """Ask the driver to kick, or not to. Returns whether buffers are there already.

        Between our last look at avail.idx and this store the driver may have added a buffer
        and, being told not to, not kicked. So whoever enables must look once more (2.7.10).
        """
        if not self.running or (not enabled and not self._notification):
            return False
        self._notification = enabled
        if self._event_idx:
            # To ask for no kick is to leave avail_event behind: it is not met again before
            # idx has gone round 65536 entries. flags stays 0 (2.7.10.2).
            if enabled:
                self._ask_for_kick()
        else:
            self._used.store(LE16, _FLAGS, 0 if enabled else _NO_NOTIFY)
        return enabled and self.has_available()

    def _ask_for_kick(self) -> None:
        """avail_event: kick when you have written the entry we'll read next (2.7.10.2)."""
        self._used.store(LE16, _RING + 8 * self.size, self._last_avail)
