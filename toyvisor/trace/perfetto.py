"""The event stream as Chrome trace JSON: tracks, slices, counters, and an arrow for each packet.

A track for each layer and thread. Slices show what is under way between two events: the guest
between kvm_entry and kvm_exit, KVM's handling of an exit, QEMU's ioctl(KVM_RUN) and what it does
when that has returned, a turn of the main loop or of vhost's worker. What is an event only
is a slice of one step (guest_time.py: STEP), or, for interrupts and errors, an instant.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from toyvisor.exit_reasons import ExitReason, KvmExit
from toyvisor.trace.chrome_trace import ChromeTrace, Track
from toyvisor.trace.events import Layer, Thread
from toyvisor.trace.flow import Mark
from toyvisor.trace.guest_time import HERTZ, STEP, timed
from toyvisor.trace.packet_flows import PacketFlows
from toyvisor.trace.tasks import thread_of
from toyvisor.trace.text import describe

Event = dict[str, Any]

_GUEST = Track(Layer.GUEST.name, Thread.VCPU.name)
_KVM = Track(Layer.KVM.name, Thread.VCPU.name)
_QEMU = Track(Layer.QEMU.name, Thread.VCPU.name)
_MAIN_LOOP = Track(Layer.QEMU.name, Thread.MAIN_LOOP.name)
_VHOST = Track(Layer.HOST.name, Thread.VHOST.name)
_TURNS = {
    _MAIN_LOOP.thread: (_MAIN_LOOP, "main_loop_wait"),
    _VHOST.thread: (_VHOST, "vhost_worker"),
}

_VMX_REASONS = {int(reason): reason.name for reason in ExitReason}
_KVM_EXITS = {int(reason): f"KVM_EXIT_{reason.name}" for reason in KvmExit}
_FIXED = ("seq", "clock", "layer", "thread", "event")
_INSTANTS = frozenset(
    ("kvm_inj_virq", "kvm_inj_nmi", "kvm_set_irq", "kvm_pic_set_irq", "kvm_vcpu_wakeup", "irqfd",
     "irq_line", "guest_error", "vq_err", "vhost_discard", "trace_full", "sched_switch")
)  # fmt: skip


def to_perfetto(events: Iterable[Event]) -> Iterator[str]:
    """The stream as one JSON object, in pieces of a line each.

    All objects are in the order of time but the arrows' ends, which come when they are known.
    """
    clock = f"guest instructions, {HERTZ} a second, and sleep in HLT; {STEP} ns for each step"
    about = json.dumps({"clock": clock})
    yield f'{{"displayTimeUnit": "ns", "otherData": {about}, "traceEvents": [\n'
    separator = ""
    for item in _objects(events):
        yield f"{separator}{json.dumps(item)}"
        separator = ",\n"
    yield "\n]}\n"


def _objects(events: Iterable[Event]) -> Iterator[dict[str, Any]]:
    story = _Story()
    for time, event in timed(events):
        story.tell(time, event)
        yield from story.trace.take()
    story.end()
    yield from story.trace.take()


class _Story:
    """What is under way, from event to event."""

    def __init__(self) -> None:
        self.trace = ChromeTrace()
        self._flows = PacketFlows(self._arrow)
        self._time = 0
        self._exits = self._userspace = self._copied = 0
        self._handlers: dict[str, Callable[[Event, int], None]] = {
            "vm_entry": self._vm_entry,
            "vm_exit": self._vm_exit,
            "kvm_userspace_exit": self._userspace_exit,
            "ioctl": self._ioctl,
            "memory_region_ops_write": self._region_write,
            "sched_switch": self._sched_switch,
            "vhost_work": self._vhost_work,
            "copy": self._copy,
        }

    def tell(self, time: int, event: Event) -> None:
        """The next event. One that somebody else wrote, and wrote otherwise, is a step as any."""
        self._time = time
        handler = self._handlers.get(event["event"], self._plain)
        try:
            handler(event, time)
        except (KeyError, TypeError, ValueError):
            self._plain(event, time)
        # In the middle of the event's own slice, so that the arrow ends there.
        self._flows.see(event, Mark(time + STEP // 2, _track(event)))

    def end(self) -> None:
        """No more events: what is under way ends."""
        self._flows.finish()
        self.trace.end_all(self._time + STEP)

    def _arrow(self, phase: str, number: int, mark: Mark) -> None:
        self.trace.flow(phase, number, mark.track, mark.time)

    def _plain(self, event: Event, time: int) -> None:
        """Something that happens and is over."""
        kind = event["event"]
        add = self.trace.instant if kind in _INSTANTS else self.trace.step
        add(_track(event), _name(event), time, _args(event))

    # Slices -----------------------------------------------------------------------------

    def _vm_entry(self, _event: Event, time: int) -> None:
        self.trace.end(_KVM, time)
        self.trace.end(_GUEST, time)
        self.trace.begin(_GUEST, "guest", time, {})

    def _vm_exit(self, event: Event, time: int) -> None:
        args = {**_args(event), "rip": hex(event["rip"]), "address": hex(event["address"])}
        reason = _VMX_REASONS.get(event["reason"]) or f"exit {event['reason']}"
        self.trace.end(_GUEST, time)
        self.trace.end(_KVM, time)
        self.trace.begin(_KVM, reason, time, args)
        self._exits += 1
        self._count_exits(time)

    def _userspace_exit(self, event: Event, time: int) -> None:
        reason = _KVM_EXITS.get(event["reason"]) or f"KVM_EXIT {event['reason']}"
        self.trace.end(_KVM, time)
        self.trace.end(_QEMU, time)
        self.trace.begin(_QEMU, reason, time, {})
        self._userspace += 1
        self._count_exits(time)

    def _ioctl(self, event: Event, time: int) -> None:
        if event["request"] != "KVM_RUN":
            self._plain(event, time)
            return
        self.trace.end(_QEMU, time)
        self.trace.begin(_QEMU, "ioctl(KVM_RUN)", time, {})
        self.trace.end(_KVM, time)
        self.trace.begin(_KVM, "KVM_RUN", time, {})

    def _region_write(self, event: Event, time: int) -> None:
        """The device's part lasts until QEMU calls KVM_RUN again."""
        name = _name(event)
        self.trace.end(_QEMU, time, leave=1)
        self.trace.begin(_QEMU, name, time, _args(event))

    def _sched_switch(self, event: Event, time: int) -> None:
        """The turn of a thread beside the vCPU's ends, or begins."""
        leaving = _TURNS.get(event["thread"])
        coming = _TURNS.get(thread_of(event["next_comm"]) or "")
        if leaving is not None:
            self.trace.end(leaving[0], time)
        self._plain(event, time)
        if coming is not None:
            self.trace.begin(coming[0], coming[1], time, {})

    def _vhost_work(self, event: Event, time: int) -> None:
        name = str(event["function"])
        self.trace.end(_VHOST, time, leave=1)
        self.trace.begin(_VHOST, name, time, {})

    # Counters ---------------------------------------------------------------------------

    def _count_exits(self, time: int) -> None:
        values = {"vmexits": self._exits, "to QEMU": self._userspace}
        self.trace.counter(Layer.KVM, "exits", time, values)

    def _copy(self, event: Event, time: int) -> None:
        name = f"copy {event['hop']}"
        self._copied += event["bytes"]
        self.trace.step(_track(event), name, time, _args(event))
        self.trace.counter(Layer.HOST, "copied", time, {"bytes": self._copied})


def _track(event: Event) -> Track:
    return Track(event["layer"], event["thread"])


def _args(event: Event) -> dict[str, Any]:
    """The event's own fields, and its place in the stream."""
    fields = {name: value for name, value in event.items() if name not in _FIXED}
    return {"seq": event["seq"], "instructions": event["clock"], **fields}


def _name(event: Event) -> str:
    """What the slice is called: short, and alike for what is alike."""
    match event:
        case {"event": "syscall", "name": str(name), "file": file}:
            return f"{name} {file}"
        case {"event": "ioctl", "request": request}:
            return f"ioctl({request})"
        case {"event": "memory_region_ops_write", "region": region, "offset": int(offset)}:
            return f"write {region}+{offset:#x}"
        case {"event": "memory_region_ops_read", "region": region, "offset": int(offset)}:
            return f"read {region}+{offset:#x}"
        case {"event": "device"}:
            return describe(event)
        case {"event": kind}:
            return str(kind)
    raise AssertionError("every event has a kind")
