"""Exceptions in words: for explanations, not for the guest."""

from __future__ import annotations

_PAGE_FAULT = 14
_INT = b"\xcd"

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
    """Like "divide error (#DE)", or "interrupt 128" for a vector that is no exception."""
    return _NAMES.get(vector, f"interrupt {vector}")


def explain_triple_fault(vector: int, code: bytes, idt: tuple[int, int], cr2: int) -> str:
    """Why the processor gave up.

    `code` is the first byte of the instruction, `idt` (base, limit), `cr2` a page fault's
    address.
    """
    what = exception_name(vector)
    if code == _INT:
        what = f"software interrupt {vector:#x} (there is no BIOS and no system call here)"
    if vector == _PAGE_FAULT:
        what += f" at {cr2:#x}"
    base, limit = idt
    return (
        f"{what}, but the IDT (base {base:#x}, limit {limit:#x}) has no gate {vector}: "
        "a processor makes that a double fault, then a triple fault, and resets"
    )
