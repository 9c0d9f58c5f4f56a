"""The records of an exit's way to QEMU and back, and the events that each stands for.

An MMIO exit alone is eight events. They always come together, so the exit path records
three tuples, and this module spells them out when somebody reads the stream.
"""

from __future__ import annotations

from collections.abc import Iterator

from toyvisor.trace.events import (
    COPY,
    IOCTL,
    KVM_MMIO,
    KVM_PIO,
    KVM_USERSPACE_EXIT,
    MEMORY_REGION_READ,
    MEMORY_REGION_WRITE,
    VM_ENTRY,
    VM_EXIT,
    Event,
    EventKind,
    Layer,
    Thread,
)

_KVM_EXIT_IO, _KVM_EXIT_MMIO = 2, 6

MMIO_EXIT = EventKind(
    "mmio_exit", Layer.KVM, "reason", "rip", "gpa", "size", "is_write", "value", "hop"
)
PIO_EXIT = EventKind(
    "pio_exit", Layer.KVM, "reason", "rip", "port", "size", "is_write", "value", "count", "hop"
)
KVM_RUN = EventKind("kvm_run", Layer.QEMU)
KVM_RUN_MMIO_READ = EventKind("kvm_run_mmio_read", Layer.QEMU, "gpa", "size", "value", "hop")
KVM_RUN_PIO_READ = EventKind(
    "kvm_run_pio_read", Layer.QEMU, "port", "size", "count", "value", "hop"
)
REGION_WRITE = EventKind("region_write", Layer.QEMU, "region", "offset", "value", "size", "hop")
REGION_READ = EventKind("region_read", Layer.QEMU, "region", "offset", "value", "size", "hop")


def _mmio_exit(
    now: int, thread: Thread, _kind: EventKind, reason: int, rip: int, gpa: int, size: int,
    is_write: bool, value: int, hop: str,
) -> Iterator[Event]:  # fmt: skip
    yield (now, thread, VM_EXIT, reason, rip, gpa, size)
    if is_write:
        yield (now, thread, KVM_MMIO, "write", size, gpa, value)
        yield (now, thread, COPY, hop, size)
    else:
        yield (now, thread, KVM_MMIO, "unsatisfied-read", size, gpa, 0)
    yield (now, thread, KVM_USERSPACE_EXIT, _KVM_EXIT_MMIO)


def _pio_exit(
    now: int, thread: Thread, _kind: EventKind, reason: int, rip: int, port: int, size: int,
    is_write: bool, value: int, count: int, hop: str,
) -> Iterator[Event]:  # fmt: skip
    yield (now, thread, VM_EXIT, reason, rip, port, size)
    if is_write:
        yield (now, thread, KVM_PIO, "write", port, size, count, value)
        yield (now, thread, COPY, hop, size * count)
    yield (now, thread, KVM_USERSPACE_EXIT, _KVM_EXIT_IO)


def _kvm_run(now: int, thread: Thread, _kind: EventKind) -> Iterator[Event]:
    yield (now, thread, IOCTL, "KVM_RUN")
    yield (now, thread, VM_ENTRY)


def _kvm_run_mmio_read(
    now: int, thread: Thread, _kind: EventKind, gpa: int, size: int, value: int, hop: str
) -> Iterator[Event]:
    yield (now, thread, IOCTL, "KVM_RUN")
    yield (now, thread, KVM_MMIO, "read", size, gpa, value)
    yield (now, thread, COPY, hop, size)
    yield (now, thread, VM_ENTRY)


def _kvm_run_pio_read(
    now: int, thread: Thread, _kind: EventKind, port: int, size: int, count: int, value: int,
    hop: str,
) -> Iterator[Event]:  # fmt: skip
    yield (now, thread, IOCTL, "KVM_RUN")
    yield (now, thread, KVM_PIO, "read", port, size, count, value)
    yield (now, thread, COPY, hop, size * count)
    yield (now, thread, VM_ENTRY)


def _region_write(
    now: int, thread: Thread, _kind: EventKind, region: str, offset: int, value: int, size: int,
    hop: str,
) -> Iterator[Event]:  # fmt: skip
    yield (now, thread, COPY, hop, size)
    yield (now, thread, MEMORY_REGION_WRITE, region, offset, value, size)


def _region_read(
    now: int, thread: Thread, _kind: EventKind, region: str, offset: int, value: int, size: int,
    hop: str,
) -> Iterator[Event]:  # fmt: skip
    yield (now, thread, MEMORY_REGION_READ, region, offset, value, size)
    yield (now, thread, COPY, hop, size)


MMIO_EXIT.expand = _mmio_exit
PIO_EXIT.expand = _pio_exit
KVM_RUN.expand = _kvm_run
KVM_RUN_MMIO_READ.expand = _kvm_run_mmio_read
KVM_RUN_PIO_READ.expand = _kvm_run_pio_read
REGION_WRITE.expand = _region_write
REGION_READ.expand = _region_read

#: How many events a record stands for, where its kind says it alone.
_EVENTS_IN = {
    KVM_RUN.name: 2,
    KVM_RUN_MMIO_READ.name: 4,
    KVM_RUN_PIO_READ.name: 4,
    REGION_WRITE.name: 2,
    REGION_READ.name: 2,
}
_IS_WRITE = 3 + MMIO_EXIT.fields.index("is_write")


def events_in(record: Event) -> int:
    """How many events a record stands for; without spelling them out."""
    name = record[2]
    if name == MMIO_EXIT.name:
        return 4 if record[_IS_WRITE] else 3
    if name == PIO_EXIT.name:
        return 4 if record[_IS_WRITE] else 2
    return _EVENTS_IN.get(name, 1)
