; /// machine
; title = "virtio-net: cuts avail.idx to the size of the ring"
; mode = "long"
; devices = ["virtio-net", "debugcon"]
; ///

; The slot is idx & (QUEUE_SIZE - 1), but idx itself counts on. Here idx is cut, too. All goes
; well for seven packets; after the eighth idx is 0 again, and to a device that has seen 7 that
; means 65529 new packets, in a ring of 8.

.include "machine.inc"
.include "virtio.inc"

_start:
        mov     edi, MMIO_BASE
        call    virtio_net_init
        mov     dword ptr [VIRTQ_DESC + VIRTQ_DESC_ADDR], offset packet
        mov     dword ptr [VIRTQ_DESC + VIRTQ_DESC_LEN], VIRTIO_NET_HDR_SIZE + 60
        xor     ebx, ebx
        mov     ecx, QUEUE_SIZE
next:
        inc     ebx                     ; every slot has head 0: the same packet again
        and     ebx, QUEUE_SIZE - 1     ; here is the mistake
        mov     [VIRTQ_AVAIL + VIRTQ_AVAIL_IDX], bx
        mov     dword ptr [rdi + VIRTIO_MMIO_QUEUE_NOTIFY], VIRTIO_NET_TRANSMITQ
        dec     ecx
        jnz     next
        hlt

packet:
        .zero   VIRTIO_NET_HDR_SIZE + 60

.include "virtio_net_init.inc"
