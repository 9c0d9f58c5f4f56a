; /// machine
; title = "lets interrupts in before it can take them"
; mode = "long"
; devices = ["pic", "pit"]
; expect = "shutdown"
; ///

; Everything is there, only the order is wrong. For a while between STI and LIDT an interrupt
; finds no handler, and whether one comes just then is a matter of luck: such a kernel boots on
; most days.

.include "machine.inc"
.include "idt.inc"

_start:
        call    pic_init
        mov     al, 0
        call    pic_unmask
        mov     ecx, 5000
        call    pit_set_rate
        sti                             ; here is the mistake: this belongs behind LIDT

        ; much to do: clear the memory of the kernel's tables.
        mov     edi, 0x20000
        mov     ecx, 0x1000
        xor     eax, eax
        rep stosb

        idt_gate64 PIC_MASTER_VECTORS + 0, timer
        lidt    [idtr]
sleep:
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
