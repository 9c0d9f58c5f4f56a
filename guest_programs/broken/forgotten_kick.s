; /// machine
; title = "virtio-net: waits for a packet and never kicks"
; mode = "long"
; devices = ["virtio-net", "debugcon"]
; expect = "budget"
; ///

; The packet is in the ring, all of it right. But the device sleeps until it is kicked, and the
; driver looks at used.idx for ever. Nothing is broken; nothing happens.

.include "machine.inc"
.include "virtio.inc"

_start:
        mov     edi, MMIO_BASE
        call    virtio_net_init
        mov     dword ptr [VIRTQ_DESC + VIRTQ_DESC_ADDR], offset packet
        mov     dword ptr [VIRTQ_DESC + VIRTQ_DESC_LEN], VIRTIO_NET_HDR_SIZE + 60
        mov     word ptr [VIRTQ_AVAIL + VIRTQ_AVAIL_IDX], 1
        ; here the kick is missing
wait_used:
        pause
        cmp     word ptr [VIRTQ_USED + VIRTQ_USED_IDX], 1
        jne     wait_used
        hlt

packet:
        .zero   VIRTIO_NET_HDR_SIZE + 60

.include "virtio_net_init.inc"
