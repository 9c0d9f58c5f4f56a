; /// machine
; title = "the smallest program: one byte through a port"
; mode = "long"
; devices = ["debugcon"]
; ///

; Three instructions, two vmexits.
;
; OUT is an instruction that a guest may not finish by itself: the processor stops before it,
; leaves the guest and wakes KVM (exit reason 30, IO_INSTRUCTION). KVM has no device at port
; 0xe9, so it writes port, size and the byte into the page it shares with QEMU, and
; ioctl(KVM_RUN) returns there with KVM_EXIT_IO. QEMU's debug console write()s the byte.
; Only then is the guest entered again, behind the OUT.

.include "machine.inc"

_start:
        mov     al, '!'
        out     DEBUGCON, al            ; EXIT 1: KVM_EXIT_IO
        hlt                             ; EXIT 2: KVM_EXIT_HLT; QEMU ends the machine
