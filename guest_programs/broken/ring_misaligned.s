; /// machine
; title = "virtio-net: a descriptor table at an odd address"
; mode = "long"
; devices = ["virtio-net", "debugcon"]
; ///

; The table must lie at a multiple of 16. The device says no when the queue is made ready, and
; sets DEVICE_NEEDS_RESET: nothing works any more until the driver begins anew.

.include "machine.inc"
.include "virtio.inc"

_start:
        mov     edi, MMIO_BASE
        call    virtio_net_negotiate
        mov     dword ptr [rdi + VIRTIO_MMIO_QUEUE_SEL], VIRTIO_NET_TRANSMITQ
        mov     dword ptr [rdi + VIRTIO_MMIO_QUEUE_NUM], QUEUE_SIZE
        mov     dword ptr [rdi + VIRTIO_MMIO_QUEUE_DESC_LOW], VIRTQ_DESC + 1
        mov     dword ptr [rdi + VIRTIO_MMIO_QUEUE_DRIVER_LOW], VIRTQ_AVAIL
        mov     dword ptr [rdi + VIRTIO_MMIO_QUEUE_DEVICE_LOW], VIRTQ_USED
        mov     dword ptr [rdi + VIRTIO_MMIO_QUEUE_READY], 1
        call    virtio_net_driver_ok
        mov     dword ptr [rdi + VIRTIO_MMIO_QUEUE_NOTIFY], VIRTIO_NET_TRANSMITQ
        hlt

.include "virtio_net_init.inc"
