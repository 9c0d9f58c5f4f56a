"""Real-mode interrupt handlers that note which vector came: for guests of other hypervisors."""

from __future__ import annotations

from toyvisor.guest.assembler import assemble_text

STUBS, STUB_SIZE = 0x2000, 6


def note_vector(mailbox: int) -> str:
    """The label `common`: the vector is in al, the interrupted ax on the stack.

    Notes the vector at `mailbox`, and 1 behind it; goes back with interrupts off, so that one
    comes at a time.
    """
    return f"""
common: mov     [{mailbox:#x}], al
        mov     byte ptr [{mailbox + 1:#x}], 1
        pop     ax
        push    bp
        mov     bp, sp
        and     word ptr [bp + 6], 0xfdff
        pop     bp
        iret
"""


def guest_image(driver: str) -> bytearray:
    """RAM from 0: interrupt vectors, `driver` at 0x1000, a stub for each vector."""
    assembly = assemble_text(f"bits 16\norg 0x1000\n{driver}")
    image = bytearray(0x4000)
    image[0x1000 : 0x1000 + len(assembly.image)] = assembly.image
    for vector in range(256):
        stub = STUBS + STUB_SIZE * vector
        jump = assembly.symbols["common"] - (stub + STUB_SIZE) & 0xFFFF
        code = bytes([0x50, 0xB0, vector, 0xE9]) + jump.to_bytes(2, "little")
        image[stub : stub + STUB_SIZE] = code  # push ax; mov al, vector; jmp common
        image[4 * vector : 4 * vector + 4] = stub.to_bytes(4, "little")
    return image
