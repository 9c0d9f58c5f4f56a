; /// machine
; title = "print a line on the serial port, as a driver does"
; mode = "long"
; devices = ["serial"]
; ///

; A real UART needs a millisecond for a byte at 9600 baud, so a driver asks before each one:
; LSR.THRE (line status register, transmit holding register empty) is 1 when there is room.
; This guest does the same, and pays with two exits a character: one to ask, one to send.
;
; For each byte sent: out of al into kvm_run (KVM), out of kvm_run into the UART (QEMU), and
; by write() into the host's kernel. Three copies of one byte, and a system call.

.include "machine.inc"
.include "serial.inc"

_start:
        lea     rsi, [rip + text]       ; rsi: the next character
next:
        lodsb                           ; al = the byte at rsi, then rsi += 1
        test    al, al
        jz      done
        mov     bl, al                  ; IN wants al: keep the character

        ; wait until the UART has room. The virtual one has always sent its byte when our
        ; OUT is finished, so we ask once; a driver can't know that.
        mov     dx, COM1 + UART_LSR
wait_room:
        in      al, dx                  ; EXIT: QEMU answers; al is set when we come back
        test    al, UART_LSR_THRE
        jz      wait_room

        mov     al, bl
        mov     dx, COM1 + UART_THR
        out     dx, al                  ; EXIT: QEMU write()s the byte
        jmp     next
done:
        hlt

text:
        .asciz  "Hello from long mode\n"
