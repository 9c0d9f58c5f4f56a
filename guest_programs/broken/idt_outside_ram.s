; /// machine
; title = "an IDT where there is no RAM"
; mode = "long"
; devices = []
; expect = "internal-error"
; ///

; LIDT believes everything. The table is looked at only when something happens, and then it is
; the processor that reads it, not an instruction: KVM has nothing to decode and no way to ask
; QEMU. (A table that is not mapped in the guest's own page tables is another matter: that is a
; page fault.)

_start:
        lidt    [idtr]
        int3
        hlt                             ; never reached

idtr:
        .word   0xfff
        .quad   0xe0000000
