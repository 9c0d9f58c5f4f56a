"""Exceptions in words: for explanations, not for the guest."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from toyvisor.cpu.events import Event, EventType, vector_number

_PAGE_FAULT, _GENERAL_PROTECTION = 14, 13
_IRET, _WIDTHS = b"\xcf", (b"\x48", b"\x66")
#: 64-bit mode: six elements, and up to 15 bytes to align them (Intel SDM vol. 3, 7.14.2).
_LARGEST_FRAME = 6 * 8 + 15

#: Exceptions by vector (Intel SDM vol. 3, table 7-1).
_NAMES: dict[int, str] = {
    0: "divide error (#DE)",
    1: "debug exception (#DB)",
    3: "breakpoint (#BP, int3)",
    4: "overflow (#OF)",
    5: "bound range exceeded (#BR)",
    6: "invalid opcode (#UD)",
    7: "device not available (#NM)",
    8: "double fault (#DF)",
    10: "invalid TSS (#TS)",
    11: "segment not present (#NP)",
    12: "stack fault (#SS)",
    13: "general protection fault (#GP)",
    14: "page fault (#PF)",
    16: "x87 error (#MF)",
    17: "alignment check (#AC)",
    19: "SIMD exception (#XM)",
}


def exception_name(vector: int) -> str:
    """Like "divide error (#DE)", or "interrupt 0x80" for a vector that is no exception."""
    return _NAMES.get(vector, f"interrupt {vector:#x}")


def explain_triple_fault(
    vector: int,
    code: bytes,
    idt: tuple[int, int],
    cr2: int,
    failures: Sequence[tuple[Event, str]] = (),
    irq: int | None = None,
) -> str:
    """Why the processor gave up.

    `code` is the beginning of the instruction, `idt` (base, limit), `cr2` a page fault's
    address, `failures` the events that could not be delivered, and why; `irq` the line that an
    interrupt came from.
    """
    first = failures[0][0] if failures else None
    what = exception_name(vector)
    if first is not None and first.type is EventType.EXTERNAL_INTERRUPT:
        what = f"interrupt {vector:#x}" + ("" if irq is None else f" (IRQ {irq})")
    elif first is not None and first.type is EventType.SOFTWARE_INTERRUPT:
        what = f"software interrupt {vector:#x}"
    elif vector == _PAGE_FAULT:
        address = first.address if first is not None and first.address is not None else cr2
        what += f" at {address:#x}"
    elif first is not None and vector == _GENERAL_PROTECTION and _is_iret(code):
        what += (
            f" at an IRET that found {first.error_code or 0:#x} on the stack for CS (an error "
            "code that its handler has not taken off?)"
        )
    base, limit = idt
    if not failures or "has no gate" in failures[0][1]:
        table = f"the IDT (base {base:#x}, limit {limit:#x})"
        return (
            f"{what}, but {table} has no gate {vector_number(vector)}{_remedy(first)}: "
            "a processor makes that a double fault, then a triple fault, and resets"
        )
    text = f"{what}, but {failures[0][1]}"
    if "is empty" in text:
        text += _remedy(first)
    for (_, before), (event, why) in pairwise(failures):
        again = "the same again" if why == before else f"but {why}"
        text += f"; so {exception_name(event.vector)}, {again}"
    return f"{text}; that is a triple fault, and the processor resets"


def _remedy(event: Event | None) -> str:
    """For an event that nobody handles."""
    match event.type if event is not None else None:
        case EventType.EXTERNAL_INTERRUPT:
            return " (a handler has to be there before STI)"
        case EventType.SOFTWARE_INTERRUPT:
            return " (there is no BIOS and no system here to call)"
        case _:
            return ""


def _is_iret(code: bytes) -> bool:
    """IRET, or IRETD or IRETQ with its prefix."""
    return code[:1] == _IRET or (code[:1] in _WIDTHS and code[1:2] == _IRET)


def explain_delivery_outside_ram(
    gpa: int, idt: tuple[int, int], gdt: tuple[int, int], rsp: int
) -> str:
    """An event could not be delivered: a table or stack it takes has no RAM behind it.

    `idt` and `gdt` are (base, limit); which of them it was, their linear addresses tell.
    """
    where = "the IDT, the GDT, the TSS or the stack lies there"
    for name, (base, limit) in (("IDT", idt), ("GDT", gdt)):
        if 0 <= gpa - base <= limit:
            where = f"the {name} is at {base:#x}"
    if 0 <= rsp - gpa <= _LARGEST_FRAME:
        where = f"the stack is at {rsp:#x}"
    return (
        f"while an interrupt or exception was delivered, the processor needed {gpa:#x}, where "
        f"there is no RAM ({where}); KVM can't emulate a delivery"
    )


def explain_emulation_failure(gpa: int, why: str, *, ran_on: bool) -> str:
    """An access that KVM can't emulate: `why` is "fetch" or "straddle"."""
    if why == "fetch":
        came = "ran on" if ran_on else "jumped"
        return (
            f"the guest {came} to {gpa:#x}, where there is no RAM to execute from; "
            "KVM can't emulate code that it can't read"
        )
    return (
        f"one access that begins in RAM and ends in a device (at {gpa:#x}); "
        "this KVM does not emulate that"
    )


def explain_sleep(*, interrupts_are_on: bool, came_too_early: bool) -> str:
    """Why a guest in HLT will never go on.

    `came_too_early`: the last interrupt came right before the HLT.
    """
    if not interrupts_are_on:
        return "the guest executed HLT with interrupts off: only an NMI could wake it"
    text = "the guest waits in HLT, and no interrupt is to come"
    if came_too_early:
        text += "; the last one came right before this HLT: was it what the guest waits for?"
    return text
