; /// machine
; title = "the same timer in real mode, by a vector at 0000:0020"
; mode = "real"
; memory = "64K"
; devices = ["pic", "pit", "debugcon"]
; ///

; As programs for DOS had it: the processor finds a handler by its vector in a table at
; address 0, four bytes for each, IP and CS. No gates, no privileges: whoever wants an
; interrupt, writes his address there (and keeps the old one, to put it back).
;
; IRQ 0 is vector 8. The PC's makers chose that when the 8088 had five exceptions; then the
; 80286 came, with a double fault as number 8. In real mode one can live with it.

.include "machine.inc"
.include "idt.inc"

.set TIMER_VECTOR, 8
.set TICKS, 65536                       ; 18.2 a second: the longest period, and the PC's

_start:
        ; what the BIOS would have done at power-on. The master alone: the slave stays silent.
        mov     al, PIC_ICW1 | PIC_ICW1_IC4     ; ICW1: three more bytes follow
        out     PIC_MASTER_CMD, al              ; EXIT, lightweight
        mov     al, TIMER_VECTOR                ; ICW2: the vector of IRQ 0
        out     PIC_MASTER_IMR, al              ; EXIT, lightweight
        mov     al, 1 << PIC_CASCADE_IR         ; ICW3: the slave is at input 2
        out     PIC_MASTER_IMR, al              ; EXIT, lightweight
        mov     al, PIC_ICW4_UPM                ; ICW4: an 8086 will ask, and say EOI
        out     PIC_MASTER_IMR, al              ; EXIT, lightweight
        mov     al, 0xff ^ 1 << 0               ; OCW1: only IRQ 0 gets through
        out     PIC_MASTER_IMR, al              ; EXIT, lightweight

        ; our part: the vector, and the timer.
        ivt_entry TIMER_VECTOR, timer
        mov     ax, TICKS & 0xffff              ; 65536 is written as 0
        call    pit_set_period

        xor     bx, bx                          ; bx: ticks that we have printed
sleep:
        cli
        cmp     bx, [ticks]
        jne     awake
        sti
        hlt                                     ; EXIT, lightweight: asleep until the next tick
        jmp     sleep
awake:
        sti
        inc     bx
        mov     al, bl
        add     al, '0'
        mov     [number], al
        mov     si, offset text
        call    print
        cmp     bl, 5
        jb      sleep
        cli
        hlt                                     ; EXIT, the last: IF is 0

; IRQ 0. The processor has pushed flags, CS and IP, and cleared IF.
timer:
        inc     word ptr [ticks]
        push    ax
        mov     al, PIC_OCW2_EOI
        out     PIC_MASTER_CMD, al              ; EXIT, lightweight
        pop     ax
        iret

; Print the text at si.
print:
        lodsb
        test    al, al
        jz      .end
        out     DEBUGCON, al                    ; EXIT
        jmp     print
.end:
        ret

ticks:
        .word   0
text:
        .ascii  "tick "
number: .asciz  "0\n"

.include "pic.inc"
.include "pit.inc"
