; /// machine
; title = "mmio-nic: sends before the transmitter is switched on"
; mode = "long"
; devices = ["mmio-nic"]
; ///

; The doorbell rings in a card that is not enabled. The card says so in TX_STATUS (error code
; 3) to a driver that looks; this one does not.

.include "machine.inc"
.include "mmio_nic.inc"

_start:
        mov     edi, MMIO_BASE
        mov     dword ptr [rdi + NIC_TX_LENGTH], 60
        mov     dword ptr [rdi + NIC_TX_COMMAND], NIC_TX_COMMAND_SEND
        hlt
