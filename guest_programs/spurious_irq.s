; /// machine
; title = "an interrupt that nobody sent: spurious IRQ 7"
; mode = "long"
; devices = ["pic", "pit", "debugcon"]
; ///

; The 8259 raises INTR; the processor, as soon as it may, asks which interrupt it is. In the
; meantime the request can have gone: a line that twitched, a device that took it back, a
; driver that masked it a moment too late. The question is asked, and somebody must answer, so
; the 8259 says "7", the least important of all. IRQ 7 may have been at it or not.
;
; A handler of IRQ 7 therefore asks back. A real interrupt has its bit in ISR (in service); a
; spurious one has none, and gets no EOI: it would end another interrupt, whose handler is
; still at work. (With the slave it is IRQ 15; then the master, which has seen a real IRQ 2, does
; get its EOI.) Linux counts them under ERR in /proc/interrupts.
;
; On a PC it is a matter of luck to see one. KVM's 8259 has a way that never fails: ICW1 forgets
; what was requested, but takes back no INTR that is up already.

.include "machine.inc"
.include "idt.inc"

_start:
        idt_gate64 PIC_MASTER_VECTORS + 7, irq7
        lidt    [idtr]
        call    pic_init
        mov     al, 0
        call    pic_unmask

        ; with interrupts off, let the timer ask for one: INTR is up.
        mov     eax, 1                  ; a tick, four instructions
        call    pit_set_once
        nop
        nop
        nop
        nop

        ; somebody initializes the master once more: the request is forgotten.
        mov     al, PIC_ICW1 | PIC_ICW1_IC4
        out     PIC_MASTER_CMD, al      ; EXIT, lightweight
        mov     al, PIC_MASTER_VECTORS
        out     PIC_MASTER_IMR, al      ; EXIT, lightweight
        mov     al, 1 << PIC_CASCADE_IR
        out     PIC_MASTER_IMR, al      ; EXIT, lightweight
        mov     al, PIC_ICW4_UPM
        out     PIC_MASTER_IMR, al      ; EXIT, lightweight

        ; the processor asks now.
        sti
        nop
        cli
        lea     rsi, [rip + end_text]
        call    print_text
        hlt                             ; EXIT, the last

; IRQ 7, or not.
irq7:
        push    rax
        push    rcx
        push    rdx
        push    rsi
        call    pic_read_isr            ; al: what is in service in the master
        lea     rsi, [rip + spurious_text]
        test    al, 1 << 7
        jz      tell

        ; a real one: here the device would be served.
        mov     al, PIC_OCW2_EOI
        out     PIC_MASTER_CMD, al
        lea     rsi, [rip + real_text]
tell:
        call    print_text
        pop     rsi
        pop     rdx
        pop     rcx
        pop     rax
        iretq

idtr:
        idt_pointer64
spurious_text:
        .asciz  "IRQ 7, and bit 7 of ISR is 0: spurious, no EOI\n"
real_text:
        .asciz  "IRQ 7\n"
end_text:
        .asciz  "that was all\n"

.include "pic.inc"
.include "pit.inc"
.set PRINT_ON_DEBUGCON, 1
.include "print.inc"
