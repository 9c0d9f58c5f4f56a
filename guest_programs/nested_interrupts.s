; /// machine
; title = "interrupts in interrupts: who may disturb whom"
; mode = "long"
; devices = ["pic", "pit", { type = "serial", input = "ab" }, "debugcon"]
; ///

; Two things keep an interrupt waiting while a handler runs: IF in the processor, and the
; priorities of the 8259, which holds back everything that is not more important than what is
; in service. IRQ 0, the timer, is the most important; the serial port is IRQ 4.
;
; Here the handler of IRQ 4 takes its time, and in the middle of it the timer's time comes.
; Twice:
;
;     byte 'a'   IF stays 0, as the interrupt gate has left it: the timer waits for the end
;     byte 'b'   the handler executes STI: the timer comes in between, and the handler, too, is
;                only somebody who is interrupted. Another byte would have to wait: IRQ 4 is in
;                service until its EOI, and keeps back 4 to 7
;
; Who executes STI in a handler has to count on it: the stack must be deep enough.

.include "machine.inc"
.include "serial.inc"
.include "idt.inc"

.set TICKS, 20                          ; the timer's time: 80 instructions
.set TURNS, 100                         ; the handler's: 200 and more

_start:
        idt_gate64 PIC_MASTER_VECTORS + 0, timer
        idt_gate64 PIC_MASTER_VECTORS + COM1_IRQ, serial
        lidt    [idtr]
        call    pic_init
        mov     al, 0
        call    pic_unmask
        mov     al, COM1_IRQ
        call    pic_unmask
        mov     dx, COM1 + UART_IER
        mov     al, UART_IER_RDI
        out     dx, al                  ; EXIT: from now on the UART may interrupt

        ; wait until both have been here twice.
sleep:
        cli
        cmp     byte ptr [handled], 4
        je      done
        sti
        hlt                             ; EXIT, lightweight
        jmp     sleep
done:
        hlt                             ; EXIT, the last

; IRQ 4. In bl: the byte.
serial:
        push    rax
        push    rbx
        push    rcx
        push    rdx
        push    rsi
        mov     dx, COM1 + UART_RBR
        in      al, dx                  ; EXIT: take the byte; the line goes down
        mov     ebx, eax
        lea     rsi, [rip + begin_text]
        call    tell

        ; the timer is to interrupt, soon.
        mov     eax, TICKS
        call    pit_set_once
        cmp     bl, 'b'
        jne     work
        sti

        ; the slow part.
work:
        mov     ecx, TURNS
.turn:
        dec     ecx
        jnz     .turn

        cli                             ; the rest as others have it
        lea     rsi, [rip + end_text]
        call    tell
        inc     byte ptr [handled]
        mov     al, PIC_OCW2_EOI
        out     PIC_MASTER_CMD, al      ; EXIT, lightweight: it ends IRQ 4
        pop     rsi
        pop     rdx
        pop     rcx
        pop     rbx
        pop     rax
        iretq

; IRQ 0.
timer:
        push    rax
        push    rcx
        push    rdx
        push    rsi
        lea     rsi, [rip + timer_text]
        call    print_text
        inc     byte ptr [handled]

        ; both may be in service: this EOI is for the more important one, us.
        mov     al, PIC_OCW2_EOI
        out     PIC_MASTER_CMD, al      ; EXIT, lightweight
        pop     rsi
        pop     rdx
        pop     rcx
        pop     rax
        iretq

; Print the byte bl and the text at rsi.
tell:
        mov     eax, ebx
        call    print_char
        jmp     print_text

idtr:
        idt_pointer64
handled:
        .byte   0
begin_text:
        .asciz  ": serial handler begins\n"
end_text:
        .asciz  ": serial handler ends\n"
timer_text:
        .asciz  "   timer\n"

.include "pic.inc"
.include "pit.inc"
.set PRINT_ON_DEBUGCON, 1
.include "print.inc"
