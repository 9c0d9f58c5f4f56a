; /// machine
; title = "an interrupt, and a stack pointer that leads nowhere"
; mode = "long"
; devices = ["pic", "pit"]
; expect = "shutdown"
; ///

; The driver uses RSP as one more register for a while. It pushes nothing, so what can happen? An
; interrupt. The processor pushes the frame, where no page is: a page fault. Its frame can't be
; pushed either: a double fault. (A handler on a stack from the IST would be safe: see
; double_fault.s. The kernel's way is to leave RSP alone, or interrupts off.)

.include "machine.inc"
.include "idt.inc"

_start:
        idt_gate64 PIC_MASTER_VECTORS + 0, timer
        idt_gate64 X86_TRAP_PF, fault
        idt_gate64 X86_TRAP_DF, fault
        lidt    [idtr]
        call    pic_init
        mov     al, 0
        call    pic_unmask
        mov     ecx, 5000
        call    pit_set_rate
        sti
        mov     rsp, 1 << 40            ; here is the mistake
count:
        add     rsp, 8
        jmp     count

timer:
        push    rax
        mov     al, PIC_OCW2_EOI
        out     PIC_MASTER_CMD, al
        pop     rax
        iretq

fault:
        hlt                             ; never reached

idtr:
        idt_pointer64

.include "pic.inc"
.include "pit.inc"
