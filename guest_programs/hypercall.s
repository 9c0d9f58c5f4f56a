; /// machine
; title = "call the hypervisor"
; mode = "long"
; devices = ["serial"]
; ///

; VMCALL is to a guest what SYSCALL is to a program: a way to ask the layer below on purpose.
; KVM's convention: the number in rax, arguments in rbx, rcx, rdx, rsi; the result in rax.
; No device is emulated and nothing is decoded. KVM answers most calls by itself: one
; lightweight exit. (Linux: Documentation/virt/kvm/x86/hypercalls.rst. AMD: VMMCALL.)

.include "machine.inc"
.include "serial.inc"

.set KVM_HC_VAPIC_POLL_IRQ, 1           ; does nothing but exit: "poll for my interrupts"
.set NO_SUCH_HYPERCALL,     99

_start:
        lea     rsi, [rip + known_text]
        mov     eax, KVM_HC_VAPIC_POLL_IRQ
        call    hypercall

        lea     rsi, [rip + unknown_text]
        mov     eax, NO_SUCH_HYPERCALL
        call    hypercall               ; the answer is -KVM_ENOSYS, -1000
        hlt

; Do hypercall eax and print the text at rsi with the result.
hypercall:
        vmcall                          ; EXIT, lightweight: rax is the result when we are back
        mov     rbx, rax
        call    print_text
        mov     rax, rbx
        call    print_signed
        jmp     print_newline

known_text:   .asciz "KVM_HC_VAPIC_POLL_IRQ: "
unknown_text: .asciz "no such hypercall: "

.include "print.inc"
