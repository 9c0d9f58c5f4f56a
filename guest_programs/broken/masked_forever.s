; /// machine
; title = "waits for an interrupt that is masked"
; mode = "long"
; devices = ["pic", "pit"]
; ///

; The timer ticks, the handler is there, interrupts are on. But pic_init masks all of them, and
; nobody has unmasked IRQ 0.

.include "machine.inc"
.include "idt.inc"

_start:
        idt_gate64 PIC_MASTER_VECTORS + 0, timer
        lidt    [idtr]
        call    pic_init
        ; here pic_unmask is missing
        mov     ecx, 100
        call    pit_set_rate
sleep:
        sti
        hlt
        jmp     sleep

timer:
        push    rax
        mov     al, PIC_OCW2_EOI
        out     PIC_MASTER_CMD, al
        pop     rax
        iretq

idtr:
        idt_pointer64

.include "pic.inc"
.include "pit.inc"
