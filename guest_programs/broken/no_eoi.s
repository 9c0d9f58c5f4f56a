; /// machine
; title = "a handler that never says it is done: no EOI"
; mode = "long"
; devices = ["pic", "pit", "debugcon"]
; ///

; The first tick comes, and no other. For the 8259 the handler is still at work, and nothing of
; its priority or below may disturb it; of IRQ 0 that is everything.

.include "machine.inc"
.include "idt.inc"

_start:
        idt_gate64 PIC_MASTER_VECTORS + 0, timer
        lidt    [idtr]
        call    pic_init
        mov     al, 0
        call    pic_unmask
        mov     ecx, 100
        call    pit_set_rate
        mov     ebx, 5
sleep:
        sti
        hlt
        cli
        dec     ebx
        jnz     sleep
        hlt

timer:
        push    rax
        mov     al, '.'
        out     DEBUGCON, al
        pop     rax
        ; here the EOI is missing
        iretq

idtr:
        idt_pointer64

.include "pic.inc"
.include "pit.inc"
