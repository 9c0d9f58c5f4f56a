; /// machine
; title = "virtio-net: writes two registers with one store"
; mode = "long"
; devices = ["virtio-net", "debugcon"]
; ///

; QueueDescLow and QueueDescHigh lie side by side, so why not write both at once? Because control
; registers take accesses of 32 bits and no others. The store is lost, and the descriptor table
; is at address 0 for the device, where the driver never wrote anything: a chain of no bytes.

.include "machine.inc"
.include "virtio.inc"

_start:
        mov     edi, MMIO_BASE
        call    virtio_net_negotiate
        mov     dword ptr [rdi + VIRTIO_MMIO_QUEUE_SEL], VIRTIO_NET_TRANSMITQ
        mov     dword ptr [rdi + VIRTIO_MMIO_QUEUE_NUM], QUEUE_SIZE
        mov     eax, VIRTQ_DESC
        mov     [rdi + VIRTIO_MMIO_QUEUE_DESC_LOW], rax          ; 64 bits: lost
        mov     dword ptr [rdi + VIRTIO_MMIO_QUEUE_DRIVER_LOW], VIRTQ_AVAIL
        mov     dword ptr [rdi + VIRTIO_MMIO_QUEUE_DEVICE_LOW], VIRTQ_USED
        mov     dword ptr [rdi + VIRTIO_MMIO_QUEUE_READY], 1
        call    virtio_net_driver_ok

        mov     dword ptr [VIRTQ_DESC + VIRTQ_DESC_ADDR], offset packet
        mov     dword ptr [VIRTQ_DESC + VIRTQ_DESC_LEN], offset packet_end - packet
        mov     word ptr [VIRTQ_AVAIL + VIRTQ_AVAIL_IDX], 1
        mov     dword ptr [rdi + VIRTIO_MMIO_QUEUE_NOTIFY], VIRTIO_NET_TRANSMITQ
        hlt

packet:
        .zero   VIRTIO_NET_HDR_SIZE + 60
packet_end:

.include "virtio_net_init.inc"
