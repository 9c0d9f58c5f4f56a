"""Checkpoints: a whole machine as it was between two of its guest's instructions.

Three parts: RAM, by pages (one that did not change since the checkpoint before is shared with
it); the processor, as Unicorn saves it; and what the Python objects around them hold (heap.py).

What QEMU does by savevm and VMStateDescription, for the same reason: its record and replay
(docs/replay.rst) goes back by loading a snapshot and running forward from there.
"""

from __future__ import annotations

import mmap
from typing import NamedTuple

from toyvisor.cpu.world_switch import Cpu
from toyvisor.debug.counters import Counters
from toyvisor.debug.heap import Heap, HeapState
from toyvisor.debug.moment import Moment
from toyvisor.memory import PAGE_SIZE
from toyvisor.qemu.machine import Machine


class Checkpoint(NamedTuple):
    """A machine at one moment. `records` of its trace had been made."""

    moment: Moment
    records: int
    pages: tuple[bytes, ...]
    processor: bytes
    heap: HeapState
    counters: Counters


class Checkpoints:
    """Takes checkpoints of one machine, and puts them back."""

    __slots__ = ("_cpu", "_heap", "_last", "_ledger", "_ram")

    def __init__(self, machine: Machine, cpu: Cpu) -> None:
        self._cpu = cpu
        self._ledger = machine.ledger
        self._ram: mmap.mmap = machine.ram.obj  # type: ignore[assignment] # compares fast
        trace = machine.trace
        stays = (machine.program, trace.records, trace.append, machine.ram, *cpu.held_by_unicorn)
        self._heap = Heap(machine, (*stays, cpu.on_boundary))
        self._last: Checkpoint | None = None

    def take(self, moment: Moment, records: int) -> Checkpoint:
        """The machine as it is. The guest has to stand between two instructions."""
        last = self._last
        pages = self._pages(last.pages if last is not None else ())
        heap = self._heap.take_down(last.heap if last is not None else None)
        counters = Counters.of(self._ledger)
        self._last = Checkpoint(moment, records, pages, self._cpu.saved(), heap, counters)
        return self._last

    def put_back(self, checkpoint: Checkpoint) -> None:
        """Make the machine what it was. The guest has to stand between two instructions."""
        ram = self._ram
        for number, page in enumerate(checkpoint.pages):
            place = slice(number * PAGE_SIZE, (number + 1) * PAGE_SIZE)
            if ram[place] != page:
                ram[place] = page
        self._heap.put_back(checkpoint.heap)
        self._cpu.put_back(checkpoint.processor)

    def _pages(self, before: tuple[bytes, ...]) -> tuple[bytes, ...]:
        ram, size = self._ram, len(self._ram)
        now = [ram[start : start + PAGE_SIZE] for start in range(0, size, PAGE_SIZE)]
        if not before:
            return tuple(_ZEROES if page == _ZEROES else page for page in now)
        return tuple(old if page == old else page for page, old in zip(now, before, strict=True))


_ZEROES = bytes(PAGE_SIZE)
