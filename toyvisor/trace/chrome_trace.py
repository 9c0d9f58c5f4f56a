"""Objects of the trace event format, which ui.perfetto.dev and chrome://tracing open.

"Trace Event Format", the Chromium project's document: phases M (names), B and E (a slice's begin
and end), X (a whole slice), i (instant), C (counter), s, t and f (a flow's start, step, finish).
Times are in microseconds. A track is a thread of a process; here a process is a layer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, NamedTuple

from toyvisor.trace.events import Layer, Thread
from toyvisor.trace.guest_time import STEP
from toyvisor.trace.tasks import TASKS, UNKNOWN

_LAYERS = {
    Layer.GUEST.name: "guest",
    Layer.KVM.name: "KVM",
    Layer.QEMU.name: "QEMU",
    Layer.HOST.name: "host kernel",
}
_GUEST_THREAD = "vCPU 0"
_FLOW = {"name": "data", "cat": "flow"}


class Track(NamedTuple):
    """Where slices lie: the names that the stream has for a layer and a thread."""

    layer: str
    thread: str

    @property
    def pid(self) -> int:
        """The layer's number as a process; those it does not know are one."""
        return list(_LAYERS).index(self.layer) + 1 if self.layer in _LAYERS else 9

    @property
    def tid(self) -> int:
        """The thread's number, unlike any in another process."""
        names = list(Thread.__members__)
        return 10 * self.pid + (names.index(self.thread) + 1 if self.thread in names else 9)


class ChromeTrace:
    """Makes the objects in order; `take` hands over those made since the last time."""

    def __init__(self) -> None:
        self._objects: list[dict[str, Any]] = []
        #: numbers of processes and threads; no two are alike
        self._named: set[int] = set()
        #: the names of the slices that are open, outermost first
        self._open: defaultdict[Track, list[str]] = defaultdict(list)

    def take(self) -> list[dict[str, Any]]:
        """The objects made since the last call."""
        objects, self._objects = self._objects, []
        return objects

    def begin(self, track: Track, name: str, time: int, args: Mapping[str, Any]) -> None:
        """Open a slice, inside of those that are open on its track."""
        self._add("B", track, time, {"name": name, "args": args})
        self._open[track].append(name)

    def end(self, track: Track, time: int, *, leave: int = 0) -> None:
        """Close the open slices of a track, the innermost first, but for the outer `leave`."""
        names = self._open[track]
        while len(names) > leave:
            self._add("E", track, time, {"name": names.pop()})

    def end_all(self, time: int) -> None:
        """Close what is open anywhere."""
        for track in self._open:
            self.end(track, time)

    def step(self, track: Track, name: str, time: int, args: Mapping[str, Any]) -> None:
        """A slice as long as one step of an exit."""
        self._add("X", track, time, {"name": name, "dur": STEP / 1000, "args": args})

    def instant(self, track: Track, name: str, time: int, args: Mapping[str, Any]) -> None:
        """A moment on a track."""
        self._add("i", track, time, {"name": name, "s": "t", "args": args})

    def counter(self, layer: Layer, name: str, time: int, values: Mapping[str, int]) -> None:
        """How much there was of something, from now on."""
        track = Track(layer.name, "")
        self._name_process(track)
        self._objects.append(
            {"ph": "C", "pid": track.pid, "ts": time / 1000, "name": name, "args": values}
        )

    def flow(self, phase: str, number: int, track: Track, time: int) -> None:
        """An arrow's end: on the innermost slice that is open then on that track."""
        binding = {} if phase == "s" else {"bp": "e"}
        self._add(phase, track, time, {**_FLOW, "id": number, **binding})

    def _add(self, phase: str, track: Track, time: int, more: Mapping[str, Any]) -> None:
        self._name_process(track)
        if track.tid not in self._named:
            task = TASKS.get(track.thread, UNKNOWN).comm
            name = _GUEST_THREAD if track.layer == Layer.GUEST.name else task
            self._name("thread", track.tid, track, name)
        place = {"ph": phase, "pid": track.pid, "tid": track.tid, "ts": time / 1000}
        self._objects.append({**place, **more})

    def _name_process(self, track: Track) -> None:
        if track.pid not in self._named:
            self._name("process", track.pid, track, _LAYERS.get(track.layer, track.layer))

    def _name(self, what: str, number: int, track: Track, name: str) -> None:
        """Metadata: what a process or a thread is called, and where it stands."""
        self._named.add(number)
        place = {"ph": "M", "pid": track.pid, "tid": track.tid}
        args = {f"{what}_name": {"name": name}, f"{what}_sort_index": {"sort_index": number}}
        for key, value in args.items():
            self._objects.append({**place, "name": key, "args": value})
