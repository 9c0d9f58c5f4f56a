; /// machine
; title = "a guest that never gives up the processor"
; mode = "long"
; devices = []
; expect = "budget"
; ///

; Nothing here makes an exit, so neither KVM nor QEMU would ever run on this processor again.
; A hypervisor needs a way to get it back that doesn't depend on the guest: the host's timer
; interrupt, or the VMX preemption timer (exit reason 52). Here it is the budget of guest
; instructions: when it is spent, KVM_RUN returns with KVM_EXIT_INTR.

_start:
        jmp     _start
