; /// machine
; title = "print a line in protected mode with one instruction"
; mode = "protected"
; devices = ["serial"]
; ///

; 32-bit protected mode with flat segments: every address is a physical address.
;
; REP OUTSB sends ecx bytes from esi to the port in dx: one instruction, many bytes. The
; processor counts esi and ecx as it goes, so the instruction can be left and taken up again
; in the middle: every byte is an exit, at which esi and ecx show how far it has come.
;
; It asks nobody for room (hello_serial.s does). A real UART takes at most 16 bytes that
; way, the size of its FIFO.

.include "machine.inc"
.include "serial.inc"

_start:
        cld                             ; upwards: esi grows
        mov     esi, offset text
        mov     ecx, offset text_end - text
        mov     edx, COM1 + UART_THR
        rep outsb                       ; EXIT for each byte
        hlt

text:
        .ascii  "Hello from protected mode\n"
text_end:
