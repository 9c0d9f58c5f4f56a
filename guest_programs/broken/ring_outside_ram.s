; /// machine
; title = "virtio-net: an available ring outside of RAM"
; mode = "long"
; devices = ["virtio-net", "debugcon"]
; ///

; An address with no RAM behind it. QEMU is asked to read what the guest itself could not write.
; The device says no when the queue is made ready, and sets DEVICE_NEEDS_RESET.

.include "machine.inc"
.include "virtio.inc"

_start:
        mov     edi, MMIO_BASE
        call    virtio_net_negotiate
        mov     dword ptr [rdi + VIRTIO_MMIO_QUEUE_SEL], VIRTIO_NET_TRANSMITQ
        mov     dword ptr [rdi + VIRTIO_MMIO_QUEUE_NUM], QUEUE_SIZE
        mov     dword ptr [rdi + VIRTIO_MMIO_QUEUE_DESC_LOW], VIRTQ_DESC
        mov     dword ptr [rdi + VIRTIO_MMIO_QUEUE_DRIVER_LOW], 0xe0000000
        mov     dword ptr [rdi + VIRTIO_MMIO_QUEUE_DEVICE_LOW], VIRTQ_USED
        mov     dword ptr [rdi + VIRTIO_MMIO_QUEUE_READY], 1
        call    virtio_net_driver_ok
        mov     dword ptr [rdi + VIRTIO_MMIO_QUEUE_NOTIFY], VIRTIO_NET_TRANSMITQ
        hlt

.include "virtio_net_init.inc"
