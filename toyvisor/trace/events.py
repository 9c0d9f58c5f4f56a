"""The event stream: what every layer says it just did.

One stream of small tuples; everything a person sees is a view of it. An event is

    (clock, thread, kind, *fields)

clock   guest instructions executed so far (the only time there is: it makes runs repeatable)
thread  which of the host's threads did it
kind    an `EventKind`, which names the layer and the fields that follow

Its sequence number is its place in the stream. Text is made when it is shown, never when it
is recorded. The names follow Linux's and QEMU's own trace events where they have one
(include/trace/events/kvm.h, hw/virtio/trace-events).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import Any, NamedTuple


class Layer(IntEnum):
    """Where an event happened, from the guest down to the host kernel."""

    GUEST = 0
    KVM = 1
    QEMU = 2
    HOST = 3


class Thread(IntEnum):
    """The thread of the host that was running."""

    VCPU = 0
    MAIN_LOOP = 1
    VHOST = 2


#: Every kind of event and record by its name.
KINDS: dict[str, EventKind] = {}


class EventKind:
    """One kind of event: its name, its layer, and the names of its fields."""

    __slots__ = ("expand", "fields", "layer", "name")

    def __init__(self, name: str, layer: Layer, *fields: str) -> None:
        self.name = name
        self.layer = layer
        self.fields = fields
        #: For a record that stands for several events: what they are (see Trace).
        self.expand: Callable[..., Iterator[Event]] | None = None
        KINDS[name] = self

    def __repr__(self) -> str:
        return f"<{self.name}>"


Event = tuple[Any, ...]

# The guest leaves and comes back (world switch).
VM_EXIT = EventKind("vm_exit", Layer.GUEST, "reason", "rip", "address", "size")
VM_ENTRY = EventKind("vm_entry", Layer.GUEST)
# What KVM makes of an exit.
KVM_MMIO = EventKind("kvm_mmio", Layer.KVM, "type", "len", "gpa", "val")
KVM_PIO = EventKind("kvm_pio", Layer.KVM, "rw", "port", "size", "count", "val")
KVM_CPUID = EventKind("kvm_cpuid", Layer.KVM, "func", "idx", "rax", "rbx", "rcx", "rdx")
KVM_HYPERCALL = EventKind("kvm_hypercall", Layer.KVM, "nr", "a0", "a1", "a2", "a3", "ret")
KVM_USERSPACE_EXIT = EventKind("kvm_userspace_exit", Layer.KVM, "reason")
# QEMU: the ioctl, the dispatch, the device.
IOCTL = EventKind("ioctl", Layer.QEMU, "request")
MEMORY_REGION_READ = EventKind(
    "memory_region_ops_read", Layer.QEMU, "region", "offset", "value", "size"
)
MEMORY_REGION_WRITE = EventKind(
    "memory_region_ops_write", Layer.QEMU, "region", "offset", "value", "size"
)
DEVICE = EventKind("device", Layer.QEMU, "device", "what")
TRACE_FULL = EventKind("trace_full", Layer.QEMU, "records")
GUEST_ERROR = EventKind("guest_error", Layer.QEMU, "device", "rule", "what")
VIRTIO_SET_STATUS = EventKind("virtio_set_status", Layer.QEMU, "device", "status")
VIRTIO_QUEUE_NOTIFY = EventKind("virtio_queue_notify", Layer.QEMU, "device", "queue")
VIRTQUEUE_POP = EventKind("virtqueue_pop", Layer.QEMU, "queue", "head", "in_num", "out_num")
VIRTQUEUE_FILL = EventKind("virtqueue_fill", Layer.QEMU, "queue", "head", "len", "idx")
VIRTQUEUE_FLUSH = EventKind("virtqueue_flush", Layer.QEMU, "queue", "count")
VIRTIO_NOTIFY = EventKind("virtio_notify", Layer.QEMU, "device", "queue", "suppressed")
IRQ_LINE = EventKind("irq_line", Layer.QEMU, "device", "level")
# The kernel behind QEMU.
SYSCALL = EventKind("syscall", Layer.HOST, "name", "file", "bytes")
# Bytes moved (made by the ledger only).
COPY = EventKind("copy", Layer.KVM, "hop", "bytes")
#: Who moves the bytes of a hop (ledger.py).
HOP_LAYERS = {
    "guest->kvm": Layer.KVM,
    "kvm->qemu": Layer.QEMU,
    "qemu->host": Layer.HOST,
    "host->qemu": Layer.HOST,
    "qemu->kvm": Layer.QEMU,
    "kvm->guest": Layer.KVM,
}


class EventView(NamedTuple):
    """An event with everything spelled out, for exporters and screens."""

    seq: int
    clock: int
    layer: Layer
    thread: Thread
    kind: EventKind
    fields: dict[str, Any]


class Trace:
    """The recording of one run. `enabled` is False unless somebody wants to see it.

    Whoever emits asks `enabled` first, so that a run that nobody watches pays one
    attribute look-up an event. What always happens together on the way of an exit is
    recorded as one tuple of a kind that has `expand`, and read back as the single events.

    Records hold numbers and strings only (kinds and hops by name): Python's garbage
    collector then leaves them alone, which is a tenth of the time of a traced exit.

    A guest can't fill the host's memory with its trace: after `LIMIT` records it ends with
    the event trace_full, and the run goes on without.
    """

    LIMIT = 1_000_000

    __slots__ = ("append", "enabled", "is_full", "now", "records", "thread")

    def __init__(self, *, enabled: bool = False) -> None:
        self.enabled = enabled
        self.is_full = False
        self.records: list[Event] = []
        #: For the exit path: append a whole record, (now, thread, kind's name, *fields).
        self.append = self.records.append
        self.thread = int(Thread.VCPU)
        #: Guest instructions executed; set by KVM at every exit while enabled.
        self.now = 0

    def emit(self, kind: EventKind, *fields: Any) -> None:
        """Append one record at the guest's present time."""
        self.records.append((self.now, self.thread, kind.name, *fields))

    def end(self) -> None:
        """Stop recording: KVM finds at an entry that the limit is reached."""
        self.emit(TRACE_FULL, len(self.records))
        self.enabled = False
        self.is_full = True

    def events(self) -> Iterator[Event]:
        """The stream: (clock, thread, kind, *fields) for every single event."""
        for clock, thread, name, *fields in self.records:
            kind = KINDS[name]
            if kind.expand is None:
                yield (clock, Thread(thread), kind, *fields)
            else:
                yield from kind.expand(clock, Thread(thread), kind, *fields)

    def __iter__(self) -> Iterator[EventView]:
        for seq, (clock, thread, kind, *fields) in enumerate(self.events()):
            named = dict(zip(kind.fields, fields, strict=True))
            layer = HOP_LAYERS[named["hop"]] if kind is COPY else kind.layer
            yield EventView(seq, clock, layer, thread, kind, named)
