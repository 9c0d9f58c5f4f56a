"""One exit's way through the four layers: from the guest down, and back into it.

An exit's events are those from a vm_exit to the vm_entry behind it. What other threads do meanwhile
belongs to it, too: they have the processor because the guest has left it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import NamedTuple

from toyvisor.debug.event_log import EventLog
from toyvisor.debug.views.hop_labels import hop_label
from toyvisor.debug.views.reasons import vmx_reason_name
from toyvisor.trace.events import (
    COPY,
    KVM_MMIO,
    KVM_PIO,
    MEMORY_REGION_READ,
    SYSCALL,
    TUN_RECVMSG,
    TUN_SENDMSG,
    VIRTQUEUE_POP,
    VM_ENTRY,
    VM_EXIT,
    EventView,
    Layer,
    Thread,
)

#: An exit with more events than these is cut off: a guest asleep while other threads work.
_MOST = 4096
_CHUNK = 64


class Place(StrEnum):
    """Where bytes are."""

    GUEST = "guest registers"
    RAM = "guest RAM"
    KVM_RUN = "kvm_run"
    DEVICE = "QEMU device"
    TAP = "host tap"
    SENT = "sent"
    NONE = ""


_LAYERS = {
    Place.GUEST: Layer.GUEST, Place.RAM: Layer.GUEST, Place.KVM_RUN: Layer.KVM,
    Place.DEVICE: Layer.QEMU, Place.TAP: Layer.HOST, Place.SENT: Layer.HOST,
    Place.NONE: Layer.GUEST,
}  # fmt: skip
#: From where to where a hop moves bytes (trace/ledger.py).
_HOPS = {
    "guest->kvm": (Place.GUEST, Place.KVM_RUN),
    "kvm->qemu": (Place.KVM_RUN, Place.DEVICE),
    "qemu->host": (Place.DEVICE, Place.TAP),
    "host->qemu": (Place.TAP, Place.DEVICE),
    "qemu->kvm": (Place.DEVICE, Place.KVM_RUN),
    "kvm->guest": (Place.KVM_RUN, Place.GUEST),
    "qemu->qemu": (Place.DEVICE, Place.DEVICE),
    "qemu->guest": (Place.DEVICE, Place.RAM),
    "guest->host": (Place.RAM, Place.TAP),
    "host->guest": (Place.TAP, Place.RAM),
}


class BytesPlace(NamedTuple):
    """Where the bytes are that moved last, or are about to move."""

    place: Place
    layer: Layer
    count: int  # type: ignore[assignment]  # the name of tuple's method, too
    words: str


NOWHERE = BytesPlace(Place.NONE, Layer.GUEST, 0, "")


class Hop(NamedTuple):
    """One event of the way. `is_done`: it has happened."""

    event: int
    layer: Layer
    thread: Thread
    kind: str
    label: str
    is_done: bool


class Move(NamedTuple):
    """A copy: `count` bytes from one place to another."""

    event: int
    source: Place
    target: Place
    count: int  # type: ignore[assignment]  # the name of tuple's method, too


class ExitPath(NamedTuple):
    """The way of one exit. `last` is the entry; None: it is not recorded yet.

    `current` is the hop where control is. `is_over`: the guest runs again.
    """

    first: int
    last: int | None
    hops: tuple[Hop, ...]
    current: int
    is_over: bool
    title: str
    bytes: BytesPlace
    moves: tuple[Move, ...]


def path_of_exit(events: Sequence[EventView], now: int) -> ExitPath | None:
    """The exit that event `now` belongs to, or the last one before; None before any event.

    Before the first exit it is the way to the first entry.
    """
    now = min(now, len(events) - 1)
    if now < 0:
        return None
    first = _exit_before(events, now)
    path = list(_until_entry(events, first))
    last = path[-1].seq if path[-1].kind is VM_ENTRY else None
    hops = tuple(
        Hop(e.seq, e.layer, e.thread, e.kind.name, hop_label(e), e.seq <= now) for e in path
    )
    done = [event for event in path if event.seq <= now]
    return ExitPath(
        first,
        last,
        hops,
        len(done) - 1,
        last is not None and now >= last,
        _title(path),
        _bytes(path, len(done)),
        tuple(_moves(path)),
    )


def bytes_at(events: Sequence[EventView], now: int) -> BytesPlace:
    """Where the bytes are once event `now` has happened."""
    path = path_of_exit(events, now)
    return path.bytes if path is not None else NOWHERE


def _exit_before(events: Sequence[EventView], now: int) -> int:
    """The number of the last vm_exit up to event `now`; 0 if there is none."""
    if isinstance(events, EventLog):
        exits: Sequence[int] = events.exits
        position = bisect_right(exits, now) - 1
        return exits[position] if position >= 0 else 0
    for number in range(now, -1, -1):
        if events[number].kind is VM_EXIT:
            return number
    return 0


def _until_entry(events: Sequence[EventView], first: int) -> Iterator[EventView]:
    """From an event to the entry behind it; at most to the next exit, or what is recorded."""
    start, end = first, min(len(events), first + _MOST)
    while start < end:
        for event in events[start : min(start + _CHUNK, end)]:
            if event.kind is VM_EXIT and event.seq != first:
                return
            yield event
            if event.kind is VM_ENTRY:
                return
        start += _CHUNK


def _title(path: Sequence[EventView]) -> str:
    """What the guest did to leave."""
    if path[0].kind is not VM_EXIT:
        return "the first entry"
    fields = path[0].fields
    for event in path[:3]:
        f = event.fields
        if event.kind is KVM_MMIO:
            what = "store to" if f["type"] == "write" else "load from"
            return f"{what} {f['gpa']:#x}, {_plural(f['len'])}"
        if event.kind is KVM_PIO:
            what = "OUT to" if f["rw"] == "write" else "IN from"
            return f"{what} port {f['port']:#x}, {_plural(f['size'] * f['count'])}"
    name = vmx_reason_name(fields["reason"])
    if name == "IO_INSTRUCTION":
        return f"IN from port {fields['address']:#x}, {_plural(fields['size'])}"
    return {"PREEMPTION_TIMER": "a timer of the host"}.get(name, name)


def _plural(count: int) -> str:
    return f"{count} byte" if count == 1 else f"{count} bytes"


def _moves(path: Sequence[EventView]) -> Iterator[Move]:
    for event in path:
        if event.kind is COPY:
            source, target = _HOPS[event.fields["hop"]]
            yield Move(event.seq, source, target, event.fields["bytes"])


def _bytes(path: Sequence[EventView], done: int) -> BytesPlace:
    """Where they are behind the first `done` events of the path."""
    here = NOWHERE
    in_skb = 0
    for number, event in enumerate(path[:done]):
        f = event.fields
        if event.kind is COPY:
            _, target = _HOPS[f["hop"]]
            in_skb = in_skb + f["bytes"] if target is Place.TAP else 0
            here = _at(target, in_skb or f["bytes"], path)
        elif event.kind is VM_EXIT and _is_store(path, number + 1):
            here = _at(Place.GUEST, f["size"], path)
        elif event.kind is KVM_MMIO and f["type"] == "write":
            here = _at(Place.GUEST, f["len"], path)
        elif event.kind is KVM_PIO and f["rw"] == "write":
            here = _at(Place.GUEST, f["size"] * f["count"], path)
        elif event.kind is MEMORY_REGION_READ:
            here = _at(Place.DEVICE, f["size"], path)
        elif event.kind is TUN_RECVMSG:
            here = _at(Place.TAP, f["bytes"], path)
        elif event.kind is VIRTQUEUE_POP:
            here, in_skb = _popped(path, number), 0
        elif _is_sending(event):
            here, in_skb = _sent(event), 0
    return here


def _is_store(path: Sequence[EventView], number: int) -> bool:
    """Whether event `number` of the path is what KVM makes of a store or an OUT."""
    if number >= len(path):
        return False
    f = path[number].fields
    return "write" in (f.get("type"), f.get("rw"))


def _at(place: Place, count: int, path: Sequence[EventView]) -> BytesPlace:
    is_port = any(event.kind is KVM_PIO for event in path)
    where = {
        Place.GUEST: "in the guest's register",
        Place.RAM: "in guest RAM",
        Place.KVM_RUN: "behind kvm_run, in its page for ports" if is_port
        else "in kvm_run.mmio.data",
        Place.DEVICE: "in QEMU's memory",
        Place.TAP: "in a buffer of the host's kernel",
    }[place]  # fmt: skip
    return BytesPlace(place, _LAYERS[place], count, f"{_plural(count)} {where}")


def _popped(path: Sequence[EventView], number: int) -> BytesPlace:
    """A chain was taken. Its bytes lie in guest RAM, or are to come there: no copy so far."""
    count = 0
    for event in path[number + 1 :]:
        if event.kind is COPY:
            count += event.fields["bytes"]
        elif count and not _is_sending(event):
            break
        if event.kind is VIRTQUEUE_POP:
            break
    fields = path[number].fields
    if fields["in_num"] and not fields["out_num"]:
        place = Place.TAP if path[number].thread is Thread.VHOST else Place.DEVICE
        words = f"{_plural(count)} on the way into the buffer that was just taken"
        return BytesPlace(place, _LAYERS[place], count, words)
    what = _plural(count) if count else "the packet"
    return BytesPlace(
        Place.RAM, Layer.GUEST, count, f"{what} in guest RAM, where the driver put it"
    )


def _is_sending(event: EventView) -> bool:
    if event.kind is TUN_SENDMSG:
        return True
    is_write = event.kind is SYSCALL and event.fields["name"] in ("write", "writev")
    return is_write and event.fields["bytes"] > 0


def _sent(event: EventView) -> BytesPlace:
    count, file = event.fields["bytes"], event.fields["file"]
    return BytesPlace(Place.SENT, Layer.HOST, count, f"{_plural(count)} sent: {file} has them")
