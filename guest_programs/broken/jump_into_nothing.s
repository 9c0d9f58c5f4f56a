; /// machine
; title = "jumps to an address where nothing is"
; mode = "long"
; devices = []
; expect = "internal-error"
; ///

; A load or store without memory is a question to a device: KVM decodes the instruction and
; asks QEMU. An instruction without memory can't even be decoded. KVM gives up:
; KVM_EXIT_INTERNAL_ERROR, emulation failure.

_start:
        mov     eax, 0xe0000000
        jmp     rax
