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
KVM_INJ_VIRQ = EventKind("kvm_inj_virq", Layer.KVM, "irq")
KVM_INJ_NMI = EventKind("kvm_inj_nmi", Layer.KVM)
KVM_SET_IRQ = EventKind("kvm_set_irq", Layer.KVM, "gsi", "level", "source")
KVM_VCPU_WAKEUP = EventKind("kvm_vcpu_wakeup", Layer.KVM, "waited")
KVM_FAST_MMIO = EventKind("kvm_fast_mmio", Layer.KVM, "gpa")
IOEVENTFD = EventKind("ioeventfd", Layer.KVM, "eventfd", "addr", "len", "val")
IRQFD = EventKind("irqfd", Layer.KVM, "eventfd", "gsi")
KVM_PIC_SET_IRQ = EventKind("kvm_pic_set_irq", Layer.KVM, "chip", "pin", "elcr", "imr", "coalesced")
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
VIRTIO_NOTIFY_IRQFD = EventKind("virtio_notify_irqfd", Layer.QEMU, "device")
VHOST_DEV_START = EventKind("vhost_dev_start", Layer.QEMU, "device")
VHOST_DEV_STOP = EventKind("vhost_dev_stop", Layer.QEMU, "device")
IRQ_LINE = EventKind("irq_line", Layer.QEMU, "device", "level")
# The kernel behind QEMU.
SYSCALL = EventKind("syscall", Layer.HOST, "name", "file", "bytes")
SCHED_SWITCH = EventKind("sched_switch", Layer.HOST, "prev_comm", "next_comm")
# vhost, by the names of the kernel's functions: it has no trace events upstream.
VHOST_WORK = EventKind("vhost_work", Layer.HOST, "function")
VHOST_SIGNAL = EventKind("vhost_signal", Layer.HOST, "queue", "suppressed")
VQ_ERR = EventKind("vq_err", Layer.HOST, "queue", "rule", "what")
VHOST_DISCARD = EventKind("vhost_discard", Layer.HOST, "queue", "bytes", "what")
TUN_SENDMSG = EventKind("tun_sendmsg", Layer.HOST, "file", "bytes")
TUN_RECVMSG = EventKind("tun_recvmsg", Layer.HOST, "file", "bytes")
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
    "qemu->qemu": Layer.QEMU,
    "qemu->guest": Layer.QEMU,
    "guest->host": Layer.HOST,
    "host->guest": Layer.HOST,
}


#: What a ring does: vhost, in the kernel, uses the same rings as QEMU (virtio/split_queue.py).
_RING_EVENTS = frozenset((VIRTQUEUE_POP, VIRTQUEUE_FILL, VIRTQUEUE_FLUSH))


def layer_of(kind: EventKind, thread: Thread, fields: dict[str, Any]) -> Layer:
    """Where an event happened: as its kind says, but for what several layers do alike."""
    if kind is COPY:
        return HOP_LAYERS[fields["hop"]]
    if thread is Thread.VHOST and kind in _RING_EVENTS:
        return Layer.HOST
    return kind.layer


class EventView(NamedTuple):
    """An event with everything spelled out, for exporters and screens."""

    seq: int
    clock: int
    layer: Layer
    thread: Thread
    kind: EventKind
    fields: dict[str, Any]


def spelled_out(record: Event) -> Iterator[Event]:
    """The single events, (clock, thread, kind, *fields), that a record stands for."""
    clock, thread, name, *fields = record
    kind = KINDS[name]
    if kind.expand is None:
        yield (clock, Thread(thread), kind, *fields)
    else:
        yield from kind.expand(clock, Thread(thread), kind, *fields)


def view(seq: int, event: Event) -> EventView:
    """An event with the names of its fields, and its layer."""
    clock, thread, kind, *fields = event
    named = dict(zip(kind.fields, fields, strict=True))
    return EventView(seq, clock, layer_of(kind, thread, named), thread, kind, named)


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
        self.append((self.now, self.thread, kind.name, *fields))

    def end(self) -> None:
        """Stop recording: KVM finds at an entry that the limit is reached."""
        self.emit(TRACE_FULL, len(self.records))
        self.enabled = False
        self.is_full = True

    def events(self) -> Iterator[Event]:
        """The stream: (clock, thread, kind, *fields) for every single event."""
        for record in self.records:
            yield from spelled_out(record)

    def __iter__(self) -> Iterator[EventView]:
        for seq, event in enumerate(self.events()):
            yield view(seq, event)
