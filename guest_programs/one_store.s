; /// machine
; title = "the life of one store to a device"
; mode = "long"
; devices = ["mmio-nic"]
; ///

; One store to an address with no RAM behind it. The processor finds the address in the
; guest's page tables, but nothing in the host's tables for it (EPT violation), and leaves
; the guest. KVM decodes the instruction that did it, and sends address, length and value
; to QEMU by the page they share: KVM_EXIT_MMIO. The four bytes are copied twice on their
; way: out of the guest's register into kvm_run, and out of kvm_run into the device.

.include "machine.inc"
.include "mmio_nic.inc"

_start:
        mov     edi, MMIO_BASE          ; edi = the card's window; the upper half of rdi is 0
        mov     eax, 0x12345678
        mov     [rdi + NIC_SCRATCH], eax        ; EXIT 1: KVM_EXIT_MMIO, is_write 1, len 4
        hlt                             ; EXIT 2
