"""Which steps of a run belong to one packet: from who gives it to who gets it, and back.

A stream names no packets. But bytes move in order: what a thread has in its hands it passes on
before it takes the next. Out of the guest, a packet begins with the first store of its data
to a card, or with the buffer that a device takes from a queue; into the guest, with the read()
that brings it. It goes on through the copies to the system call or the ring, and with the
interrupt that tells of it back to the guest.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any

from toyvisor.trace.flow import Emit, Flow, Mark

Event = dict[str, Any]

#: Loads of a frame from a card are told from those of registers by their number: this many bytes
#: at rising addresses are an Ethernet header.
_HEADER = 14
_RUNS_KEPT = 32


class _Run:
    """Accesses to a device at rising addresses, each where the one before it ended."""

    def __init__(self) -> None:
        self.size = 0
        self.first: list[Mark] = []
        self._next: tuple[str, int] | None = None

    def goes_on_with(self, region: str, offset: int) -> bool:
        """Whether an access there is the next."""
        return self._next == (region, offset)

    def add(self, event: Event, marks: list[Mark]) -> None:
        """One access more."""
        self._next = event["region"], event["offset"] + event["size"]
        self.size += event["size"]
        self.first = self.first or marks


class PacketFlows:
    """Sees the events of a stream in order and emits the arrows."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._flows: list[Flow] = []
        #: by thread: the packet that it has in its hands
        self._held: dict[str, Flow] = {}
        # Full virtualization: the store or load under way, and those before it.
        self._store: list[Mark] = []
        self._load: list[Mark] = []
        self._loaded: Event | None = None
        self._stores: deque[_Run] = deque(maxlen=_RUNS_KEPT)
        self._loads = _Run()
        self._in_card: deque[Flow] = deque()
        # Virtqueues: by queue and head, what the device has; by queue, what it gave back.
        self._popped: dict[tuple[str, int], Flow] = {}
        self._returned: defaultdict[str, list[Flow]] = defaultdict(list)
        # Interrupts: raised on a line; by the line's lowest bits, which are the vector's.
        self._raised: list[Flow] = []
        self._awaited: defaultdict[int, list[Flow]] = defaultdict(list)
        self._injected: list[Flow] = []
        self._handlers: dict[str, Callable[[Event, Mark], object]] = {
            "copy": self._copy,
            "memory_region_ops_write": self._region_write,
            "memory_region_ops_read": self._region_read,
            "syscall": self._syscall,
            "ioctl": self._ioctl,
            "sched_switch": lambda e, _: self._let_go(e["thread"]),
            "tun_sendmsg": lambda e, mark: self._pass(e["thread"], mark),
            "tun_recvmsg": lambda e, mark: self._take(e["thread"], mark),
            "virtqueue_pop": self._pop,
            "virtqueue_fill": self._fill,
            "virtio_notify": self._notify,
            "vhost_signal": self._notify,
            "irq_line": self._irq_line,
            "kvm_set_irq": self._set_irq,
            "kvm_inj_virq": self._inject,
            "vm_entry": self._enter,
        }

    def see(self, event: Event, mark: Mark) -> None:
        """The next event, and where an arrow to it would end."""
        handler = self._handlers.get(event["event"])
        if handler is not None:
            try:
                handler(event, mark)
            except (KeyError, TypeError, ValueError):  # a stream that somebody else wrote
                return

    def finish(self) -> None:
        """No more events."""
        for flow in self._flows:
            flow.finish()

    def _new(self) -> Flow:
        flow = Flow(len(self._flows) + 1, self._emit)
        self._flows.append(flow)
        return flow

    def _take(self, thread: str, mark: Mark) -> Flow:
        """A thread gets hold of a new packet."""
        flow = self._held[thread] = self._new()
        flow.step(mark)
        return flow

    def _pass(self, thread: str, mark: Mark) -> None:
        """What a thread holds goes a step on."""
        flow = self._held.get(thread)
        if flow is not None:
            flow.step(mark)

    def _let_go(self, thread: str) -> None:
        self._held.pop(thread, None)

    # Bytes ------------------------------------------------------------------------------

    def _copy(self, event: Event, mark: Mark) -> None:
        hop, thread = event["hop"], event["thread"]
        if hop == "guest->kvm":
            self._store = [mark]
        elif hop == "kvm->qemu":
            self._store.append(mark)
        elif hop == "qemu->kvm":
            self._load.append(mark)
        elif hop == "kvm->guest":
            self._load.append(mark)
            self._load_done()
        elif hop == "host->qemu":
            self._take(thread, mark)
        elif hop == "qemu->host" and thread not in self._held:
            self._send(thread, event["bytes"])
            self._pass(thread, mark)
        else:
            self._pass(thread, mark)
            if hop == "qemu->qemu" and thread in self._held:
                self._in_card.append(self._held[thread])

    def _region_write(self, event: Event, mark: Mark) -> None:
        run = self._stores[-1] if self._stores else _Run()
        if not run.goes_on_with(event["region"], event["offset"]):
            run = _Run()
            self._stores.append(run)
        run.add(event, [*self._store, mark])

    def _send(self, thread: str, size: int) -> None:
        """A device sends what was stored into it: the last run of so many bytes, or the longest."""
        if not self._stores:
            return
        fitting = [run for run in self._stores if run.size == size]
        run = fitting[-1] if fitting else max(self._stores, key=lambda run: run.size)
        self._stores.clear()
        flow = self._held[thread] = self._new()
        for mark in run.first:
            flow.step(mark)

    def _region_read(self, event: Event, mark: Mark) -> None:
        self._load = [mark]
        self._loaded = event

    def _load_done(self) -> None:
        """A load is back in the guest; enough of them in a row bring a frame."""
        event, self._loaded = self._loaded, None
        if event is None or not self._in_card:
            return
        if not self._loads.goes_on_with(event["region"], event["offset"]):
            self._loads = _Run()
        self._loads.add(event, self._load)
        if self._loads.size >= _HEADER:
            flow = self._in_card.popleft()
            for mark in self._loads.first:
                flow.step(mark)
            self._loads = _Run()

    def _syscall(self, event: Event, mark: Mark) -> None:
        if event["name"] in ("read", "write", "writev") and event["bytes"] > 0:
            self._pass(event["thread"], mark)

    def _ioctl(self, event: Event, _mark: Mark) -> None:
        if event["request"] == "KVM_RUN":
            self._let_go(event["thread"])

    # Virtqueues -------------------------------------------------------------------------

    def _pop(self, event: Event, mark: Mark) -> None:
        """A buffer with data is a new packet; an empty one is for what the thread holds."""
        flow = self._held.get(event["thread"])
        if flow is None or event["out_num"]:
            flow = self._take(event["thread"], mark)
        else:
            flow.step(mark)
        self._popped[event["queue"], event["head"]] = flow

    def _fill(self, event: Event, mark: Mark) -> None:
        flow = self._popped.pop((event["queue"], event["head"]), None)
        if flow is not None:
            flow.step(mark)
            self._returned[event["queue"]].append(flow)
        self._let_go(event["thread"])

    def _notify(self, event: Event, mark: Mark) -> None:
        flows = self._returned.pop(event["queue"], [])
        if not event["suppressed"]:
            for flow in flows:
                flow.step(mark)
            self._raised += flows

    # Interrupts -------------------------------------------------------------------------

    def _irq_line(self, event: Event, mark: Mark) -> None:
        flow = self._held.get(event["thread"])
        if event["level"] and flow is not None:
            flow.step(mark)
            self._raised.append(flow)

    def _set_irq(self, event: Event, _mark: Mark) -> None:
        if event["level"]:
            self._awaited[event["gsi"] & 7] += self._raised
            self._raised = []

    def _inject(self, event: Event, mark: Mark) -> None:
        self._injected = self._awaited.pop(event["irq"] & 7, [])
        for flow in self._injected:
            flow.step(mark)

    def _enter(self, _event: Event, mark: Mark) -> None:
        """The guest's handler begins."""
        for flow in self._injected:
            flow.step(mark)
        self._injected = []
