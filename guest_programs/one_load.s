; /// machine
; title = "the life of one load from a device"
; mode = "long"
; devices = ["mmio-nic"]
; ///

; A load takes two crossings. At the exit KVM only knows what is wanted; it leaves with
; KVM_EXIT_MMIO, is_write 0. QEMU puts the device's answer into kvm_run.mmio.data. When QEMU
; calls KVM_RUN again, KVM takes it from there, finishes the instruction (eax now has the
; value), and only then enters the guest. A QEMU that never calls KVM_RUN again leaves the
; load unfinished for ever.

.include "machine.inc"
.include "mmio_nic.inc"

_start:
        mov     edi, MMIO_BASE
        mov     eax, [rdi + NIC_ID]     ; EXIT 1: KVM_EXIT_MMIO, is_write 0, len 4
        mov     ebx, eax                ; eax has the answer: KVM put it there on our way back
        hlt                             ; EXIT 2
