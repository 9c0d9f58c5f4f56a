; /// machine
; title = "an interrupt, and no table to find its handler in"
; mode = "long"
; devices = ["pic", "pit"]
; expect = "shutdown"
; ///

; The chips are set up, interrupts are let in, and the first tick comes. But nobody has loaded an
; IDT: no gate for vector 0x20, none for the #GP that this makes, none for the double fault.

.include "machine.inc"

_start:
        call    pic_init
        mov     al, 0
        call    pic_unmask
        mov     ecx, 100
        call    pit_set_rate
        ; here LIDT is missing
sleep:
        sti
        hlt
        jmp     sleep

.include "pic.inc"
.include "pit.inc"
