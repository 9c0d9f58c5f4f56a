; /// machine
; title = "virtio-net: forgets FEATURES_OK"
; mode = "long"
; devices = ["virtio-net", "debugcon"]
; ///

; From DRIVER straight to DRIVER_OK. Without FEATURES_OK nothing has been agreed, so the device
; refuses the queue, then DRIVER_OK, then the kick. None of that shows at the driver's next
; instruction: only a driver that reads Status back finds out.

.include "machine.inc"
.include "virtio.inc"

_start:
        mov     edi, MMIO_BASE
        mov     dword ptr [rdi + VIRTIO_MMIO_STATUS], 0
        mov     ebp, VIRTIO_CONFIG_S_ACKNOWLEDGE
        mov     [rdi + VIRTIO_MMIO_STATUS], ebp
        or      ebp, VIRTIO_CONFIG_S_DRIVER
        mov     [rdi + VIRTIO_MMIO_STATUS], ebp
        mov     dword ptr [rdi + VIRTIO_MMIO_DRIVER_FEATURES_SEL], 1
        mov     dword ptr [rdi + VIRTIO_MMIO_DRIVER_FEATURES], 1 << (VIRTIO_F_VERSION_1 - 32)
        ; here FEATURES_OK is missing
        call    virtio_net_add_queue
        call    virtio_net_driver_ok
        mov     dword ptr [rdi + VIRTIO_MMIO_QUEUE_NOTIFY], VIRTIO_NET_TRANSMITQ
        hlt

.include "virtio_net_init.inc"
