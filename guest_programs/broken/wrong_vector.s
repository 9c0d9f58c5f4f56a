; /// machine
; title = "the timer arrives as a double fault: the 8259 was never remapped"
; mode = "long"
; devices = ["pic", "pit", "debugcon"]
; ///

; A kernel's first timer tick, as many have seen it: "double fault", and nothing is wrong. The
; BIOS has set up the 8259 for real mode, with IRQ 0 at vector 8. The kernel unmasks the timer,
; and leaves the vectors as they are; but in protected and long mode 8 is #DF.
;
; (A handler that took #DF's error code off the stack would take the return address.)

.include "machine.inc"
.include "idt.inc"

_start:
        ; the BIOS.
        mov     al, PIC_ICW1 | PIC_ICW1_IC4
        out     PIC_MASTER_CMD, al
        mov     al, 8                           ; the vector of IRQ 0
        out     PIC_MASTER_IMR, al
        mov     al, 1 << PIC_CASCADE_IR
        out     PIC_MASTER_IMR, al
        mov     al, PIC_ICW4_UPM
        out     PIC_MASTER_IMR, al
        mov     al, 0xff
        out     PIC_MASTER_IMR, al

        ; the kernel.
        idt_gate64 PIC_MASTER_VECTORS + 0, timer
        idt_gate64 X86_TRAP_DF, double_fault
        lidt    [idtr]
        ; here pic_init is missing
        mov     al, 0
        call    pic_unmask
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

double_fault:
        lea     rsi, [rip + text]
        call    print_text
        cli
        hlt

idtr:
        idt_pointer64
text:
        .asciz  "double fault!\n"

.include "pic.inc"
.include "pit.inc"
.set PRINT_ON_DEBUGCON, 1
.include "print.inc"
