"""An interrupt or exception reaches its handler: through the IVT, or through the IDT.

What a processor does between two instructions: find the gate, check it, switch to an inner
stack if the handler is more privileged, push the frame, load CS and RIP. What goes wrong on
the way is an exception itself, and is delivered instead (Intel SDM vol. 3, 7.12 to 7.15;
vol. 2A, INT n, whose pseudocode this follows).

Not there: task gates, virtual-8086 mode, shadow stacks.
"""

from __future__ import annotations

from typing import NamedTuple

from toyvisor.cpu.descriptors import (
    ACCESSED,
    GATES,
    TASK_GATE,
    TSS_16,
    Descriptor,
    Gate,
    stack_bounds,
)
from toyvisor.cpu.events import (
    GP,
    IDT,
    NP,
    SS,
    TS,
    Event,
    EventType,
    OutsideRamError,
    ProcessorFault,
    TripleFault,
    UnsupportedDelivery,
    combine,
    vector_number,
)
from toyvisor.cpu.guest_view import GuestView
from toyvisor.cpu.paging import PagingRegisters, is_canonical
from toyvisor.cpu.processor_state import (
    CS,
    DESC_B,
    DESC_DPL_SHIFT,
    HF2_NMI,
    HF_INHIBIT_IRQ,
    HF_LMA,
    ProcessorState,
    SegmentCache,
)
from toyvisor.cpu.processor_state import SS as STACK_SEGMENT
from toyvisor.cpu.registers import CONTROL, Registers
from toyvisor.cpu.system_memory import SystemMemory
from toyvisor.memory import GuestMemory
from toyvisor.modes import CR0_PE
from toyvisor.modes import RFLAGS_IF as IF
from toyvisor.modes import RFLAGS_RF as RF
from toyvisor.modes import RFLAGS_TF as TF

NT, VM, AC = (1 << n for n in (14, 17, 18))
_RSP = 4  # its number among the general registers


class Stack(NamedTuple):
    """Where a frame goes."""

    pointer: int
    mask: int  # of the pointer's bits that move
    base: int
    bounds: range | None  # offsets that lie in the segment; None: no limit is checked
    ss_error: int  # the error code, should it not fit
    #: What SS becomes, and the descriptor it is loaded from; None: it stays, or is null.
    selector: int | None = None
    descriptor: Descriptor | None = None


class EventDelivery:
    """Delivers events to one processor, which stands between two instructions."""

    def __init__(
        self,
        registers: Registers,
        state: ProcessorState,
        view: GuestView,
        memory: GuestMemory,
    ) -> None:
        self._registers = registers
        self._state = state
        self._view = view
        self._memory = memory
        #: Of the last delivery: each event that was tried, and why it could not be delivered.
        self.failures: list[tuple[Event, str]] = []

    def deliver(self, event: Event, *, resume_flag: bool = False) -> None:
        """Make the guest stand at the first instruction of the event's handler.

        `resume_flag`: RF before the event; a fault sets it in its frame anyway (SDM vol. 3,
        18.3.1.1).

        What can't be delivered becomes #GP, #TS, #NP, #SS or #PF, then #DF. Raises
        TripleFault when that can't be either, OutsideRamError where a table or stack has no
        RAM behind it, UnsupportedDelivery.
        """
        self.failures = []
        try:
            self._deliver(event, RF if resume_flag else 0)
        except (TripleFault, OutsideRamError, UnsupportedDelivery):
            self._state.load()
            self._state.exception.old_exception = -1
            self._state.store()
            raise

    def _deliver(self, event: Event, rf: int) -> None:
        while True:
            self._state.load()
            paging = self._view.paging()
            is_long = bool(self._state.front.hflags & HF_LMA)
            memory = SystemMemory(self._memory, self._view, paging, is_long=is_long)
            try:
                self._try(event, memory, paging, rf)
            except ProcessorFault as fault:
                self.failures.append((event, fault.why))
                if memory.cr2 is not None:
                    self._registers.write_special(CONTROL["cr2"], memory.cr2)
                self._go_back_to(event)
                event = combine(event, fault)
            else:
                return

    def _go_back_to(self, event: Event) -> None:
        """An INT n that can't be delivered is a fault: RIP stays on it."""
        if event.length:
            self._registers.write("rip", self._registers.rip() - event.length)

    def _try(self, event: Event, memory: SystemMemory, paging: PagingRegisters, rf: int) -> None:
        rflags = self._registers.read("rflags") & ~RF | rf
        if rflags & VM:
            raise UnsupportedDelivery("virtual-8086 mode")
        if not paging.cr0 & CR0_PE:
            self._through_ivt(event, memory, rflags)
        else:
            self._through_idt(event, memory, rflags)

    # Real mode (SDM vol. 3, 21.1.4) --------------------------------------------------------

    def _through_ivt(self, event: Event, memory: SystemMemory, rflags: int) -> None:
        """Three words on the stack; no gate, no privilege, no error code."""
        front = self._state.front
        place = 4 * event.vector
        if place + 3 > front.idt.limit:
            raise ProcessorFault(GP, 0, self._no_gate(event.vector))
        entry = int.from_bytes(memory.load(front.idt.base + place, 4), "little")
        if entry == 0:
            # A processor would run what lies at 0000:0000. That is never meant.
            self.failures.append(
                (event, f"its entry in the interrupt vector table (at {place:#x}) is empty")
            )
            self._go_back_to(event)
            raise TripleFault
        cs = front.segs[CS]
        stack = self._present_stack(0xFFFF, 0)
        sp = _push(memory, stack, 2, [rflags, cs.selector, front.eip])
        cs.selector = entry >> 16
        cs.base = cs.selector << 4
        self._arrive(event, entry & 0xFFFF, sp, rflags & ~(IF | TF | RF | AC))

    # Protected and IA-32e mode -------------------------------------------------------------

    def _through_idt(self, event: Event, memory: SystemMemory, rflags: int) -> None:
        is_long = bool(self._state.front.hflags & HF_LMA)
        gate = self._gate(event, memory, is_long=is_long)
        code = self._code_segment(gate, event.ext, memory, is_long=is_long)
        level = self._state.cpl
        inner = not code.is_conforming and code.dpl < level
        new_level = code.dpl if inner else level
        find_stack = self._long_stack if is_long else self._protected_stack
        stack = find_stack(gate, event.ext, memory, new_level, inner=inner)
        width, clears_if = (8, gate.type == 0xE) if is_long else GATES[gate.type]
        if not is_long and gate.offset > code.limit:
            why = f"the gate leads to {gate.offset:#x}, beyond the code segment's limit"
            raise ProcessorFault(GP, event.ext, why)
        frame = self._frame(event, rflags, whole=is_long or inner)
        pointer = _push(memory, stack, width, frame, user=new_level == 3)
        selector = gate.selector & ~3 | new_level
        if stack.selector is not None:
            flags = stack.descriptor.flags if stack.descriptor else new_level << DESC_DPL_SHIFT
            limit = stack.descriptor.limit if stack.descriptor else 0
            self._state.load_segment(STACK_SEGMENT, stack.selector, stack.base, limit, flags)
        self._state.load_segment(CS, selector, code.base, code.limit, code.flags)
        rflags &= ~(TF | NT | RF | VM | (IF if clears_if else 0))
        self._arrive(event, gate.offset, pointer, rflags)

    def _gate(self, event: Event, memory: SystemMemory, *, is_long: bool) -> Gate:
        """Find the event's gate and check it (SDM vol. 2A, INT n: PROTECTED-MODE)."""
        idt = self._state.front.idt
        size = 16 if is_long else 8
        place = size * event.vector
        error = 8 * event.vector | IDT | event.ext
        if place + size - 1 > idt.limit:
            raise ProcessorFault(GP, error, self._no_gate(event.vector))
        raw = memory.load(idt.base + place, size)
        gate = Gate.decode(raw)
        where = f"gate {vector_number(event.vector)} of the IDT (at {idt.base + place:#x})"
        if gate.type == TASK_GATE and not is_long:
            raise UnsupportedDelivery(f"{where} is a task gate")
        if gate.type not in ((0xE, 0xF) if is_long else GATES):
            what = "no interrupt or trap gate" if any(raw) else "empty"
            raise ProcessorFault(GP, error, f"{where} is {what}")
        if event.is_software and gate.dpl < self._state.cpl:
            why = f"{where} has DPL {gate.dpl}, the guest runs at level {self._state.cpl}"
            raise ProcessorFault(GP, error, why)
        if not gate.present:
            raise ProcessorFault(NP, error, f"{where} is not present")
        if is_long and not is_canonical(gate.offset):
            raise ProcessorFault(GP, event.ext, f"{where} leads to {gate.offset:#x}")
        return gate

    def _code_segment(
        self, gate: Gate, ext: int, memory: SystemMemory, *, is_long: bool
    ) -> Descriptor:
        selector = gate.selector
        if not selector & ~3:
            raise ProcessorFault(GP, ext, "the gate's code segment is the null selector")
        error = selector & ~3 | ext
        code = self._descriptor(selector, memory, GP, ext)
        where = f"the gate's code segment {selector:#x}"
        if not code.is_code or code.dpl > self._state.cpl:
            raise ProcessorFault(GP, error, f"{where} is no code, or less privileged")
        if is_long and not code.is_64_bit:
            raise ProcessorFault(GP, error, f"{where} is not 64-bit code")
        if not code.present:
            raise ProcessorFault(NP, error, f"{where} is not present")
        self._mark_accessed(selector, code, memory)
        return code

    def _descriptor(self, selector: int, memory: SystemMemory, vector: int, ext: int) -> Descriptor:
        """A descriptor from the GDT or LDT; beyond its end is the fault `vector`."""
        table = self._table(selector)
        if (selector & ~7) + 7 > table.limit:
            why = f"selector {selector:#x} lies beyond the descriptor table's limit"
            raise ProcessorFault(vector, selector & ~3 | ext, why)
        return Descriptor(int.from_bytes(memory.load(table.base + (selector & ~7), 8), "little"))

    def _mark_accessed(self, selector: int, found: Descriptor, memory: SystemMemory) -> None:
        if not found.value & ACCESSED:
            data = (found.value | ACCESSED).to_bytes(8, "little")
            memory.store(self._table(selector).base + (selector & ~7), data)

    def _table(self, selector: int) -> SegmentCache:
        """The table that a selector is of: LDT or GDT."""
        front = self._state.front
        table: SegmentCache = front.ldt if selector & 4 else front.gdt
        return table

    # Stacks --------------------------------------------------------------------------------

    def _long_stack(
        self, gate: Gate, ext: int, memory: SystemMemory, level: int, *, inner: bool
    ) -> Stack:
        """IST, RSPn of the TSS, or the present one; aligned to 16 (SDM vol. 3, 7.14.2)."""
        pointer = self._state.front.regs[_RSP]
        if gate.ist:
            pointer = self._from_tss(0x24 + 8 * (gate.ist - 1), 8, ext, memory)
        elif inner:
            pointer = self._from_tss(4 + 8 * level, 8, ext, memory)
        if not is_canonical(pointer):
            raise ProcessorFault(SS, ext, f"the stack pointer {pointer:#x} is not canonical")
        null = level if inner else None
        return Stack(pointer & ~0xF, (1 << 64) - 1, 0, None, ext, null)

    def _protected_stack(
        self, gate: Gate, ext: int, memory: SystemMemory, level: int, *, inner: bool
    ) -> Stack:
        front = self._state.front
        if not inner:
            big = front.segs[STACK_SEGMENT].flags & DESC_B
            return self._present_stack(0xFFFF_FFFF if big else 0xFFFF, ext)
        if front.tr.flags >> 8 & 0xF in TSS_16:
            pointer = self._from_tss(2 + 4 * level, 2, ext, memory)
            selector = self._from_tss(4 + 4 * level, 2, ext, memory)
        else:
            pointer = self._from_tss(4 + 8 * level, 4, ext, memory)
            selector = self._from_tss(8 + 8 * level, 2, ext, memory)
        if not selector & ~3:
            raise ProcessorFault(TS, ext, f"SS{level} in the TSS is the null selector")
        error = selector & ~3 | ext
        where = f"SS{level} in the TSS ({selector:#x})"
        stack = self._descriptor(selector, memory, TS, ext)
        if selector & 3 != level or stack.dpl != level or not stack.is_writable_data:
            raise ProcessorFault(TS, error, f"{where} is no writable data of level {level}")
        if not stack.present:
            raise ProcessorFault(SS, error, f"{where} is not present")
        self._mark_accessed(selector, stack, memory)
        mask = 0xFFFF_FFFF if stack.is_32_bit else 0xFFFF
        bounds = stack_bounds(stack.limit, stack.flags)
        return Stack(pointer, mask, stack.base, bounds, error, selector, stack)

    def _present_stack(self, mask: int, ss_error: int) -> Stack:
        """Where SS:ESP points now."""
        ss = self._state.front.segs[STACK_SEGMENT]
        pointer = self._state.front.regs[_RSP] & 0xFFFF_FFFF
        return Stack(pointer, mask, ss.base, stack_bounds(ss.limit, ss.flags), ss_error)

    def _from_tss(self, offset: int, size: int, ext: int, memory: SystemMemory) -> int:
        tr = self._state.front.tr
        if offset + size - 1 > tr.limit or not tr.selector & ~3:
            why = f"the TSS ({tr.selector:#x}, limit {tr.limit:#x}) has no stack for the handler"
            raise ProcessorFault(TS, tr.selector & ~3 | ext, why)
        return int.from_bytes(memory.load(tr.base + offset, size), "little")

    def _frame(self, event: Event, rflags: int, *, whole: bool) -> list[int]:
        """What is pushed, in that order; the outer stack first if the frame is `whole`."""
        front = self._state.front
        if event.is_fault:
            rflags |= RF
        values = [rflags, front.segs[CS].selector, front.eip]
        if whole:
            values = [front.segs[STACK_SEGMENT].selector, front.regs[_RSP], *values]
        if event.error_code is not None:
            values.append(event.error_code)
        return values

    def _arrive(self, event: Event, rip: int, rsp: int, rflags: int) -> None:
        state = self._state
        state.front.eip = rip
        state.front.regs[_RSP] = rsp
        state.front.hflags &= ~HF_INHIBIT_IRQ
        if event.type is EventType.NMI:
            state.front.hflags2 |= HF2_NMI  # until IRET (SDM vol. 3, 7.7.1)
        state.exception.old_exception = -1
        state.store()
        self._registers.write("rflags", rflags)  # Unicorn keeps part of them elsewhere

    def _no_gate(self, vector: int) -> str:
        idt = self._state.front.idt
        table = f"the IDT (base {idt.base:#x}, limit {idt.limit:#x})"
        return f"{table} has no gate {vector_number(vector)}"


def _push(
    memory: SystemMemory, stack: Stack, width: int, values: list[int], *, user: bool = False
) -> int:
    """Push a frame of elements of `width` bytes; returns the new pointer."""
    pointer = stack.pointer
    for value in values:
        pointer = pointer & ~stack.mask | pointer - width & stack.mask
        offset = pointer & stack.mask
        if stack.bounds is None:
            fits = is_canonical(offset)
        else:
            fits = offset in stack.bounds and offset + width - 1 in stack.bounds
        if not fits:
            why = f"there is no room on the stack (at {pointer:#x}) for its frame"
            raise ProcessorFault(SS, stack.ss_error, why)
        data = (value & (1 << 8 * width) - 1).to_bytes(width, "little")
        try:
            memory.store(stack.base + offset, data, user=user)
        except ProcessorFault as fault:
            fault.why = f"its frame can't be pushed ({fault.why})"
            raise
    return pointer
