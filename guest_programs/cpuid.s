; /// machine
; title = "ask the processor who it is"
; mode = "long"
; devices = ["serial"]
; ///

; CPUID always leaves the guest: the answer is the hypervisor's to give (exit reason 10). KVM
; has a table of answers, made by QEMU before the first run, and enters the guest again by
; itself. QEMU is not asked: such an exit is called lightweight.

.include "machine.inc"
.include "serial.inc"

.set CPUID_HYPERVISOR,   31              ; leaf 1, ecx: real processors have 0 here
.set KVM_CPUID_SIGNATURE, 0x40000000     ; leaves from here on are the hypervisor's own

_start:
        ; leaf 0: twelve letters in ebx, edx, ecx.
        xor     eax, eax
        cpuid                           ; EXIT, lightweight
        mov     [signature], ebx
        mov     [signature + 4], edx
        mov     [signature + 8], ecx
        lea     rsi, [rip + vendor_text]
        call    print_signature

        ; leaf 1, ecx bit 31: "you are in a virtual machine".
        mov     eax, 1
        cpuid                           ; EXIT, lightweight
        lea     rsi, [rip + yes_text]
        bt      ecx, CPUID_HYPERVISOR
        jc      found
        lea     rsi, [rip + no_text]
        call    print_text
        hlt
found:
        call    print_text

        ; the hypervisor's leaf: twelve letters again, now in ebx, ecx, edx.
        mov     eax, KVM_CPUID_SIGNATURE
        cpuid                           ; EXIT, lightweight
        mov     [signature], ebx
        mov     [signature + 4], ecx
        mov     [signature + 8], edx
        lea     rsi, [rip + hypervisor_text]
        call    print_signature
        hlt

; Print the text at rsi, then the signature.
print_signature:
        call    print_text
        lea     rsi, [rip + signature]
        call    print_text
        jmp     print_newline

vendor_text:     .asciz "vendor:     "
yes_text:        .asciz "hypervisor: present\n"
no_text:         .asciz "hypervisor: none\n"
hypervisor_text: .asciz "signature:  "

signature:       .zero 13                ; twelve letters and a zero byte

.include "print.inc"
