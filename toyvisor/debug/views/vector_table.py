"""The interrupt descriptor table of the guest, or its interrupt vector table in real mode.

Intel SDM vol. 3, 7.10 and 7.11 (IDT), 7.14.1 (IDT in 64-bit mode), 21.1.4 (real mode).
"""

from __future__ import annotations

import re
from functools import cached_property

from toyvisor.cpu.descriptors import GATES, TASK_GATE, Gate
from toyvisor.cpu.paging import is_canonical
from toyvisor.debug.views.interrupt_rows import VectorRow
from toyvisor.debug.views.kernel_devices import controllers
from toyvisor.debug.views.labels import labels_of
from toyvisor.debug.views.registers import mode_of, processor
from toyvisor.guest.program import Program
from toyvisor.kvm.exceptions import exception_name
from toyvisor.modes import CpuMode
from toyvisor.qemu.machine import Machine

#: So many vectors are shown; a table of garbage can have 256.
_MOST = 64
_VECTORS = 256
_SHORT = re.compile(r"\((#\w+)")
_WIDTHS = {0x6: "16-bit ", 0x7: "16-bit "}


class VectorTable:
    """The table as it lies in guest memory now."""

    def __init__(self, machine: Machine, program: Program | None = None) -> None:
        self._machine = machine
        self._cpu = processor(machine).cpu
        self._labels = labels_of(program) if program is not None else None
        paging = self._cpu.view.paging()
        self.mode = mode_of(paging.cr0, paging.efer)
        self.base, self.limit = self._cpu.registers.idt()
        self._size = {CpuMode.REAL: 4, CpuMode.PROTECTED: 8, CpuMode.LONG: 16}[self.mode]
        if self.mode is CpuMode.REAL:
            self.base, self.limit = (self.base, self.limit) if self.limit else (0, 0x3FF)

    @property
    def name(self) -> str:
        """IDT, or IVT in real mode."""
        return "IVT" if self.mode is CpuMode.REAL else "IDT"

    @cached_property
    def _bytes(self) -> bytes:
        """The table, as far as it is mapped."""
        return self._cpu.view.read(self.base, min(self.limit + 1, _VECTORS * self._size))

    def rows(self) -> tuple[VectorRow, ...]:
        """All vectors that have an entry, up to 64."""
        found = []
        for vector in range(_VECTORS):
            row = self.row(vector)
            if row is not None:
                found.append(row)
                if len(found) == _MOST:
                    break
        return tuple(found)

    def row(self, vector: int) -> VectorRow | None:
        """The entry of a vector; None if it is all zero, or there is none."""
        place = self._size * vector
        raw = self._bytes[place : place + self._size]
        if len(raw) < self._size or not any(raw):
            return None
        if self.mode is CpuMode.REAL:
            return self._real(vector, raw)
        gate = Gate.decode(raw)
        return VectorRow(
            vector,
            self.name_of(vector),
            gate.offset,
            self._label(gate.offset),
            _kind(gate.type),
            gate.dpl,
            gate.selector,
            gate.ist if self.mode is CpuMode.LONG else 0,
            self._problem(gate),
        )

    def name_of(self, vector: int) -> str:
        """`#PF`, `IRQ 5 (virtio-net)`; nothing for a vector that is neither."""
        chips = controllers(self._machine)
        irq = chips.irq_of(vector) if chips is not None else None
        if chips is not None and irq is not None and chips.pics[irq >> 3].initialized:
            device = self._machine.board.lines.get(irq)
            return f"IRQ {irq} ({device})" if device else f"IRQ {irq}"
        short = _SHORT.search(exception_name(vector))
        if short:
            return short[1]
        return "NMI" if vector == 2 else ""

    def _real(self, vector: int, raw: bytes) -> VectorRow:
        offset, segment = int.from_bytes(raw[:2], "little"), int.from_bytes(raw[2:], "little")
        handler = (segment << 4) + offset
        return VectorRow(
            vector, self.name_of(vector), handler, self._label(handler), "real-mode vector", 0,
            segment, 0, "" if self._is_there(handler) else "no RAM is at its handler",
        )  # fmt: skip

    def _problem(self, gate: Gate) -> str:
        if gate.type == TASK_GATE:
            return "a task gate, which this processor does not have"
        if gate.type not in GATES:
            return f"type {gate.type:#x} is no gate"
        if not gate.present:
            return "its P bit is 0: not present"
        if not gate.selector & ~3:
            return "its selector is null"
        if not is_canonical(gate.offset):
            return "its handler's address is not canonical"
        return "" if self._is_there(gate.offset) else "no RAM is mapped at its handler"

    def _is_there(self, address: int) -> bool:
        return bool(self._cpu.view.read(address, 1))

    def _label(self, address: int) -> str:
        return self._labels.near(address) if self._labels is not None else ""


def _kind(number: int) -> str:
    if number == TASK_GATE:
        return "task gate"
    if number not in GATES:
        return f"type {number:#x}"
    clears_if = GATES[number][1]
    return _WIDTHS.get(number, "") + ("interrupt gate" if clears_if else "trap gate")
