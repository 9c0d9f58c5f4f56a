; /// machine
; title = "virtio-net: takes status bits back"
; mode = "long"
; devices = ["virtio-net", "debugcon"]
; ///

; DRIVER_OK is written alone, instead of on top of the bits before. A status bit is taken back
; by a reset only; the device keeps the old bits, and mentions it.

.include "machine.inc"
.include "virtio.inc"

_start:
        mov     edi, MMIO_BASE
        call    virtio_net_negotiate
        call    virtio_net_add_queue
        mov     dword ptr [rdi + VIRTIO_MMIO_STATUS], VIRTIO_CONFIG_S_DRIVER_OK
        mov     dword ptr [rdi + VIRTIO_MMIO_QUEUE_NOTIFY], VIRTIO_NET_TRANSMITQ
        hlt

.include "virtio_net_init.inc"
