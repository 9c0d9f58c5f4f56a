"""The processor's hidden state: what no register shows, and an event's delivery needs.

A real processor keeps it in the guest-state area of the VMCS (Intel SDM vol. 3, 25.4):
segment caches, privilege level, interrupt shadow, the exception in hand. Unicorn has no
functions for it, but it can save its whole processor into a buffer and restore it. That
buffer is our VMCS: `load()`, look or change, `store()`.

Where things lie in the buffer is Unicorn's own affair (QEMU 5.0: target/i386/cpu.h, struct
CPUX86State). The front part has not changed in years; the exception's place is found by the
debug registers beside it. Both are proved when a processor first needs them.

General registers, RIP and RFLAGS are not taken from here: flags are kept in a lazy form.
"""

from __future__ import annotations

import ctypes
from ctypes import c_int32, c_uint32, c_uint64, c_void_p
from struct import Struct

from toyvisor.cpu.registers import DEBUG, Registers
from toyvisor.cpu.unicorn_abi import check, library
from toyvisor.errors import MachineError

#: struct uc_context begins with sizes, modes and two pointers; then comes the processor.
_CONTEXT_HEADER = 40

# hflags and hflags2 (target/i386/cpu.h): what QEMU needs to know when it translates.
HF_CPL = 3
HF_INHIBIT_IRQ = 1 << 3
HF_CS32 = 1 << 4
HF_SS32 = 1 << 5
HF_ADDSEG = 1 << 6
HF_LMA = 1 << 14
HF_CS64 = 1 << 15
HF_IOBPT = 1 << 24
HF2_NMI = 1 << 2

# A segment's attributes, where a descriptor's upper half has them (SDM vol. 3, 3.4.5).
DESC_B = 1 << 22
DESC_L = 1 << 21
DESC_DPL_SHIFT = 13

ES, CS, SS, DS = range(4)  # the order of QEMU's segs[]

_MARKS = (0x0BAD_F00D, 0x1BAD_F00D, 0x2BAD_F00D, 0x3BAD_F00D)


class SegmentCache(ctypes.Structure):
    """A segment register with what the processor loaded from its descriptor."""

    _fields_ = (
        ("selector", c_uint32),
        ("base", c_uint64),
        ("limit", c_uint32),
        ("flags", c_uint32),
    )


class _Front(ctypes.Structure):
    """The first members of CPUX86State."""

    _fields_ = (
        ("regs", c_uint64 * 16),
        ("eip", c_uint64),
        ("eflags", c_uint64),
        ("cc", c_uint64 * 3),
        ("cc_op", c_uint32),
        ("df", c_int32),
        ("hflags", c_uint32),
        ("hflags2", c_uint32),
        ("segs", SegmentCache * 6),
        ("ldt", SegmentCache),
        ("tr", SegmentCache),
        ("gdt", SegmentCache),
        ("idt", SegmentCache),
    )


class _Exception(ctypes.Structure):
    """The exception in hand, with the debug registers in its middle."""

    _fields_ = (
        ("error_code", c_int32),
        ("is_int", c_int32),
        ("next_eip", c_uint64),
        ("dr", c_uint64 * 8),
        ("breakpoints", c_void_p * 4),
        ("old_exception", c_int32),
    )


class ProcessorState:
    """The saved processor of one engine, mapped as structures.

    After `load()`, `front` and `exception` are what they were at that moment. What is changed
    in them becomes true at `store()`, which is possible between two runs only.
    Raises MachineError if this Unicorn keeps its processor in another way.
    """

    __slots__ = ("_context", "_engine", "_size", "exception", "front")

    def __init__(self, engine: c_void_p, registers: Registers) -> None:
        self._engine = engine
        self._context = c_void_p()
        check(library.uc_context_alloc(engine, ctypes.byref(self._context)), "saving")
        data = (self._context.value or 0) + _CONTEXT_HEADER
        self.front = _Front.from_address(data)
        self._size = int(library.uc_context_size(engine))
        size = self._size - _CONTEXT_HEADER
        self.exception = _Exception.from_address(data + self._find_exception(registers, data, size))
        gdt = self.front.gdt
        if (gdt.base, gdt.limit) != registers.gdt() or self.front.regs[0] != registers.read("rax"):
            raise _unknown_layout()

    def _find_exception(self, registers: Registers, data: int, size: int) -> int:
        """Put marks into DR0 to DR3, and look where they lie."""
        numbers = [DEBUG[f"dr{n}"] for n in range(4)]
        before = [registers.read_special(number) for number in numbers]
        for number, mark in zip(numbers, _MARKS, strict=True):
            registers.write_special(number, mark)
        self.load()
        place = ctypes.string_at(data, size).find(Struct("<4Q").pack(*_MARKS))
        for number, value in zip(numbers, before, strict=True):
            registers.write_special(number, value)
        if place < 0:
            raise _unknown_layout()
        return place - int(_Exception.dr.offset)

    def load(self) -> None:
        """Save the processor into the buffer. Possible at any time."""
        library.uc_context_save(self._engine, self._context)

    def store(self) -> None:
        """Make what the buffer says true."""
        library.uc_context_restore(self._engine, self._context)

    def saved(self) -> bytes:
        """The whole processor as it is now, for put_back()."""
        self.load()
        return ctypes.string_at(self._context, self._size)

    def put_back(self, processor: bytes) -> None:
        """Make the processor what it was at saved(). Between two runs only."""
        self.load()  # what the engine keeps there besides the processor stays its own
        ctypes.memmove(self._context, processor, self._size)
        self.store()

    def close(self) -> None:
        """Free the buffer."""
        library.uc_context_free(self._context)

    @property
    def cpl(self) -> int:
        """Current privilege level, 0 to 3."""
        return int(self.front.hflags & HF_CPL)

    @property
    def in_shadow(self) -> bool:
        """Whether STI or a load of SS just before holds interrupts off (SDM vol. 3, 7.8.3)."""
        return bool(self.front.hflags & HF_INHIBIT_IRQ)

    def load_segment(self, index: int, selector: int, base: int, limit: int, flags: int) -> None:
        """A segment register with its cache, and the hidden flags that follow from it.

        `flags` as in a descriptor's upper half. QEMU: cpu_x86_load_seg_cache().
        """
        front = self.front
        front.segs[index] = SegmentCache(selector, base, limit, flags)
        hflags = front.hflags
        if index == CS:
            hflags &= ~(HF_CS32 | HF_CS64)
            if hflags & HF_LMA and flags & DESC_L:
                hflags |= HF_CS32 | HF_CS64
            elif flags & DESC_B:
                hflags |= HF_CS32
        elif index == SS:
            hflags = hflags & ~HF_CPL | flags >> DESC_DPL_SHIFT & HF_CPL
        hflags &= ~(HF_SS32 | HF_ADDSEG)
        if front.segs[SS].flags & DESC_B:
            hflags |= HF_SS32
        if not hflags & HF_CS64 and (
            not hflags & HF_CS32 or any(front.segs[n].base for n in (DS, ES, SS))
        ):
            hflags |= HF_ADDSEG
        front.hflags = hflags


def _unknown_layout() -> MachineError:
    return MachineError(
        "this build of Unicorn keeps its processor in a way we do not know, so exceptions and "
        "interrupts can't be delivered",
        hint="Unicorn 2.1.4 is known to work",
    )
