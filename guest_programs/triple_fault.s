; /// machine
; title = "how a guest resets its machine: triple fault"
; mode = "long"
; devices = []
; expect = "shutdown"
; ///

; An exception makes the processor look for a handler in the interrupt descriptor table. The
; table is empty, so delivering the exception is itself an exception: a double fault. Its
; handler can't be found either: a triple fault. There is no fourth; the processor stops.
;
; On a PC the chipset sees that and pulls the reset line: the machine starts again. Some
; kernels reboot that way on purpose. In a guest it is an exit (reason 2), and KVM_RUN
; returns with KVM_EXIT_SHUTDOWN: QEMU decides whether to reset the machine or to end it.

_start:
        lidt    [rip + empty_idt]       ; a table of no entries
        int3                            ; EXIT: #BP, then #DF, then the triple fault
        hlt                             ; never reached

empty_idt:
        .word   0                       ; limit
        .quad   0                       ; base
