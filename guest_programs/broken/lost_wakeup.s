; /// machine
; title = "goes to sleep just after it was woken"
; mode = "long"
; devices = ["pic", "pit"]
; ///

; The driver looks whether the work is done, with interrupts off, as it should. It is not, so it
; goes to sleep until the interrupt. But between STI and HLT is an instruction, and there the
; interrupt comes: the work is done, the handler has been, and HLT waits for a second one.
; (sti_hlt.s shows how it is done right.)

.include "machine.inc"
.include "idt.inc"

_start:
        idt_gate64 PIC_MASTER_VECTORS + 0, timer
        lidt    [idtr]
        call    pic_init
        mov     al, 0
        call    pic_unmask
        mov     eax, 10                 ; ticks: 40 instructions
        call    pit_set_once
wait_done:
        cli
        mov     ecx, 50                 ; the look takes its time
look:
        dec     ecx
        jnz     look
        cmp     byte ptr [work_done], 1
        je      finished
        sti
        nop                             ; here is the mistake
        hlt                             ; for ever
        jmp     wait_done
finished:
        hlt

timer:
        push    rax
        mov     byte ptr [work_done], 1
        mov     al, PIC_OCW2_EOI
        out     PIC_MASTER_CMD, al
        pop     rax
        iretq

idtr:
        idt_pointer64
work_done:
        .byte   0

.include "pic.inc"
.include "pit.inc"
