; /// machine
; title = "virtio-net: asks the device to write into a frame to be sent"
; mode = "long"
; devices = ["virtio-net", "debugcon"]
; ///

; The flag WRITE says "device, write here": right for receiving, wrong for sending. The packet is
; dropped.

.include "machine.inc"
.include "virtio.inc"

_start:
        mov     edi, MMIO_BASE
        call    virtio_net_init
        mov     dword ptr [VIRTQ_DESC + VIRTQ_DESC_ADDR], offset packet
        mov     dword ptr [VIRTQ_DESC + VIRTQ_DESC_LEN], VIRTIO_NET_HDR_SIZE + 60
        mov     word ptr [VIRTQ_DESC + VIRTQ_DESC_FLAGS], VIRTQ_DESC_F_WRITE
        mov     word ptr [VIRTQ_AVAIL + VIRTQ_AVAIL_IDX], 1
        mov     dword ptr [rdi + VIRTIO_MMIO_QUEUE_NOTIFY], VIRTIO_NET_TRANSMITQ
        hlt

packet:
        .zero   VIRTIO_NET_HDR_SIZE + 60

.include "virtio_net_init.inc"
