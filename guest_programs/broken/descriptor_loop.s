; /// machine
; title = "virtio-net: a chain of descriptors without end"
; mode = "long"
; devices = ["virtio-net", "debugcon"]
; ///

; Descriptor 0 goes on at 1, and 1 goes back to 0. A device that just followed the chain would
; never come back, and with it the guest that waits for its store to the doorbell. So a device
; counts: a chain longer than the table has been somewhere twice.

.include "machine.inc"
.include "virtio.inc"

_start:
        mov     edi, MMIO_BASE
        call    virtio_net_init
        mov     dword ptr [VIRTQ_DESC + VIRTQ_DESC_ADDR], offset packet
        mov     dword ptr [VIRTQ_DESC + VIRTQ_DESC_LEN], VIRTIO_NET_HDR_SIZE
        mov     word ptr [VIRTQ_DESC + VIRTQ_DESC_FLAGS], VIRTQ_DESC_F_NEXT
        mov     word ptr [VIRTQ_DESC + VIRTQ_DESC_NEXT], 1
        mov     dword ptr [VIRTQ_DESC + VIRTQ_DESC_SIZE + VIRTQ_DESC_ADDR], offset packet
        mov     dword ptr [VIRTQ_DESC + VIRTQ_DESC_SIZE + VIRTQ_DESC_LEN], 60
        mov     word ptr [VIRTQ_DESC + VIRTQ_DESC_SIZE + VIRTQ_DESC_FLAGS], VIRTQ_DESC_F_NEXT
        mov     word ptr [VIRTQ_DESC + VIRTQ_DESC_SIZE + VIRTQ_DESC_NEXT], 0
        mov     word ptr [VIRTQ_AVAIL + VIRTQ_AVAIL_IDX], 1
        mov     dword ptr [rdi + VIRTIO_MMIO_QUEUE_NOTIFY], VIRTIO_NET_TRANSMITQ
        hlt

packet:
        .zero   VIRTIO_NET_HDR_SIZE + 60

.include "virtio_net_init.inc"
