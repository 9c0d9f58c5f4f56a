; /// machine
; title = "mmio-nic: a frame longer than Ethernet allows"
; mode = "long"
; devices = ["mmio-nic"]
; ///

; 1515 bytes: one more than an Ethernet frame has. The card refuses it (error code 2).

.include "machine.inc"
.include "mmio_nic.inc"

_start:
        mov     edi, MMIO_BASE
        mov     dword ptr [rdi + NIC_CONTROL], NIC_CONTROL_TX_ENABLE
        mov     dword ptr [rdi + NIC_TX_LENGTH], NIC_MAX_FRAME + 1
        mov     dword ptr [rdi + NIC_TX_COMMAND], NIC_TX_COMMAND_SEND
        hlt
