; /// machine
; title = "a page-fault handler that leaves the error code on the stack"
; mode = "long"
; devices = []
; expect = "shutdown"
; ///

; #PF pushes an error code on top of the return address, and IRETQ does not know. It takes the
; error code for RIP and the return address for CS, and so on: a general protection fault, with
; the low half of the return address as its error code.

.include "machine.inc"
.include "idt.inc"

.set TABLE,     0x20000
.set PAGE,      1 << 32

_start:
        idt_gate64 X86_TRAP_PF, page_fault
        lidt    [idtr]
        mov     rbx, PAGE
        mov     eax, [rbx]              ; #PF
        hlt                             ; never reached

        ; give it a page: two tables, RAM from 0 on.
page_fault:
        mov     dword ptr [BOOT_PDPT + 8 * (PAGE >> 30)], TABLE | 3
        mov     dword ptr [TABLE], 0x83
        ; here `add rsp, 8` is missing
        iretq

idtr:
        idt_pointer64
