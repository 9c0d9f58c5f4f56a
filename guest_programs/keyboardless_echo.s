; /// machine
; title = "echo a line from the serial port, by interrupt"
; mode = "long"
; devices = ["pic", { type = "serial", input = "hello, interrupts\n" }]
; ///

; A guest without a keyboard: what somebody types comes over the serial line. The guest
; sleeps, and for each byte the UART wakes it; the handler sends the byte back in upper case.
;
; Unlike the timer, the UART is QEMU's: its main loop, another thread, reads a byte from the
; host when the port has room, and the device raises its line. QEMU tells KVM by
; ioctl(KVM_IRQ_LINE), KVM the 8259, and from there it is as with the timer. The handler's
; IN and OUT go all the way to QEMU.
;
; The bytes are those of `input` above, or yours: `toyvisor run keyboardless_echo --input -`.
; It halts at the end of the first line.

.include "machine.inc"
.include "serial.inc"
.include "idt.inc"

_start:
        idt_gate64 PIC_MASTER_VECTORS + COM1_IRQ, serial
        lidt    [idtr]
        call    pic_init
        mov     al, COM1_IRQ
        call    pic_unmask

        ; the UART: interrupt when a byte has come. One may be there already; then its line
        ; goes up at once, and the 8259 remembers it until we let interrupts in.
        mov     dx, COM1 + UART_MCR
        mov     al, UART_MCR_OUT2       ; on a PC this connects the UART to IRQ 4
        out     dx, al                  ; EXIT
        mov     dx, COM1 + UART_IER
        mov     al, UART_IER_RDI
        out     dx, al                  ; EXIT

        ; sleep until a line has been echoed. (Why cli, look, sti, hlt: see sti_hlt.s.)
sleep:
        cli
        cmp     byte ptr [line_done], 0
        jne     done
        sti
        hlt                             ; EXIT, lightweight: QEMU's main loop runs meanwhile
        jmp     sleep
done:
        hlt                             ; EXIT, the last: IF is 0

; IRQ 4: the UART has a byte for us, or several.
serial:
        push    rax
        push    rdx

        ; take all there are. The 8259 notices when the line goes *up*: if a byte stayed behind,
        ; the line would stay up, and there would never be another interrupt.
next:
        mov     dx, COM1 + UART_LSR
        in      al, dx                  ; EXIT: is there a byte?
        test    al, UART_LSR_DR
        jz      taken
        mov     dx, COM1 + UART_RBR
        in      al, dx                  ; EXIT: this takes it; the UART lowers its line

        cmp     al, 'a'
        jb      echo
        cmp     al, 'z'
        ja      echo
        sub     al, 'a' - 'A'
echo:
        mov     dx, COM1 + UART_THR     ; (a virtual UART always has room; see hello_serial.s)
        out     dx, al                  ; EXIT
        cmp     al, '\n'
        jne     next
        mov     byte ptr [line_done], 1
        jmp     next

        ; first the device, then the 8259: now IRQ 4 may come again.
taken:
        mov     al, PIC_OCW2_EOI
        out     PIC_MASTER_CMD, al      ; EXIT, lightweight
        pop     rdx
        pop     rax
        iretq

idtr:
        idt_pointer64
line_done:
        .byte   0

.include "pic.inc"
