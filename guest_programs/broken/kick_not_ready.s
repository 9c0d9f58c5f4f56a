; /// machine
; title = "virtio-net: kicks a queue that is not ready"
; mode = "long"
; devices = ["virtio-net", "debugcon"]
; ///

; The driver has forgotten step 7. QueueReady is 0, so for the device there is no ring to look
; at.

.include "machine.inc"
.include "virtio.inc"

_start:
        mov     edi, MMIO_BASE
        call    virtio_net_negotiate
        call    virtio_net_driver_ok
        mov     dword ptr [rdi + VIRTIO_MMIO_QUEUE_NOTIFY], VIRTIO_NET_TRANSMITQ
        hlt

.include "virtio_net_init.inc"
