"""Guest memory as rows of bytes, by guest-physical or by linear address."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from toyvisor.cpu.registers import GENERAL
from toyvisor.debug.register_names import PARTS
from toyvisor.debug.views.labels import label_of as label_of
from toyvisor.debug.views.labels import labels_of
from toyvisor.debug.views.registers import processor
from toyvisor.errors import UsageError
from toyvisor.guest.program import Program
from toyvisor.memory import PAGE_SIZE
from toyvisor.qemu.machine import Machine

_GAP = "·"


class MemoryRow(NamedTuple):
    """Some bytes in a row; None where nothing is mapped. `label` is what the program calls it."""

    address: int
    data: tuple[int | None, ...]
    label: str = ""

    @property
    def hex(self) -> str:
        """`48 65 6c 6c ?? ??`."""
        return " ".join("??" if byte is None else f"{byte:02x}" for byte in self.data)

    @property
    def ascii(self) -> str:
        """The bytes that are characters; a dot for others, a raised one where nothing is."""
        return "".join(
            _GAP if byte is None else chr(byte) if 0x20 <= byte < 0x7F else "."
            for byte in self.data
        )


class PointerView(NamedTuple):
    """The memory that a register points to: its address lies in rows[row]."""

    register: str
    address: int
    rows: tuple[MemoryRow, ...]
    row: int
    segment_base: int


def memory_rows(
    machine: Machine,
    address: int,
    rows: int,
    *,
    linear: bool = False,
    width: int = 16,
    program: Program | None = None,
) -> tuple[MemoryRow, ...]:
    """`rows` rows of `width` bytes (a power of two), from the one that `address` lies in."""
    start = max(address, 0) & -width
    data = peek_memory(machine, start, rows * width, linear=linear)
    labels = labels_of(program) if program is not None else None
    found = []
    for first in range(start, start + rows * width, width):
        label = ""
        if labels is not None:
            exact = [(at, name) for at in range(first, first + width) for name in labels.at(at)]
            if exact and exact[0][0] != first:
                label = f"{exact[0][1]} at +{exact[0][0] - first:#x}"
            else:
                label = labels.near(first) or labels.area(first, first + width)
        found.append(MemoryRow(first, data[first - start : first - start + width], label))
    return tuple(found)


def pointer_rows(
    machine: Machine,
    register: str,
    rows: int,
    *,
    width: int = 16,
    program: Program | None = None,
) -> PointerView:
    """The memory around where a register points, by linear address; with the base of its segment.

    Any part of a general register will do (`rsp`, `esi`, `bx`), and the instruction pointer.
    Raises UsageError for a name that is none.
    """
    vcpu = processor(machine)
    part = PARTS.get(register.lower())
    if part is None or part.register not in GENERAL or part.register == "rflags":
        raise UsageError(
            f"{register} is no register that can point to memory", hint="rsp, esi, bx, rip can"
        )
    value = part.of(int(getattr(vcpu.get_regs(), part.register)))
    base = segment_base(machine, _segment_of(part.register))
    mask = (1 << 64) - 1 if vcpu.cpu.view.code_bits() == 64 else (1 << 32) - 1
    address = value + base & mask
    first = max(0, (address & -width) - rows // 2 * width)
    shown = memory_rows(machine, first, rows, linear=True, width=width, program=program)
    return PointerView(register, address, shown, (address - first) // width, base)


def changed_bytes(before: Iterable[MemoryRow] | None, now: Iterable[MemoryRow]) -> frozenset[int]:
    """The addresses of bytes that are shown in both, and are not as they were."""
    old = {row.address + n: byte for row in before or () for n, byte in enumerate(row.data)}
    return frozenset(
        row.address + n
        for row in now
        for n, byte in enumerate(row.data)
        if row.address + n in old and old[row.address + n] != byte
    )


def peek_memory(
    machine: Machine, address: int, length: int, *, linear: bool = False
) -> tuple[int | None, ...]:
    """Bytes of RAM; None for each that is not there. For `linear` the page tables are walked."""
    memory = machine.vm.memory
    view = processor(machine).cpu.view
    found: list[int | None] = []
    while len(found) < length:
        at = address + len(found)
        size = min(length - len(found), PAGE_SIZE - (at & PAGE_SIZE - 1))
        physical = view.translate(at & (1 << 64) - 1) if linear else at
        if physical is not None and memory.contains(physical, size):
            found += memory.view(physical, size)
        else:
            found += [None] * size
    return tuple(found)


def segment_base(machine: Machine, segment: str) -> int:
    """Where a segment begins; in 64-bit code 0 for all but FS and GS."""
    cpu = processor(machine).cpu
    if cpu.view.code_bits() == 64 and segment not in ("fs", "gs"):
        return 0
    cpu.state.load()
    order = ("es", "cs", "ss", "ds", "fs", "gs")
    return int(cpu.state.front.segs[order.index(segment)].base)


def _segment_of(register: str) -> str:
    """The segment that an address in this register is in, unless an instruction says otherwise."""
    return {"rsp": "ss", "rbp": "ss", "rip": "cs"}.get(register, "ds")
