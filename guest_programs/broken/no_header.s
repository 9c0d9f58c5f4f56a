; /// machine
; title = "virtio-net: a frame without its header"
; mode = "long"
; devices = ["virtio-net", "debugcon"]
; ///

; The device takes the first 12 bytes of a packet for struct virtio_net_hdr. Here they are the
; frame's own addresses: flags 0xff, gso_type 0xff. Nobody agreed on such offloads, and the
; packet is dropped.

.include "machine.inc"
.include "virtio.inc"

_start:
        mov     edi, MMIO_BASE
        call    virtio_net_init
        mov     rax, [FRAME_TABLE + FRAME_TABLE_HEADER + FRAME_ADDRESS]
        mov     [VIRTQ_DESC + VIRTQ_DESC_ADDR], rax
        mov     eax, [FRAME_TABLE + FRAME_TABLE_HEADER + FRAME_LENGTH]
        mov     [VIRTQ_DESC + VIRTQ_DESC_LEN], eax
        mov     word ptr [VIRTQ_AVAIL + VIRTQ_AVAIL_IDX], 1
        mov     dword ptr [rdi + VIRTIO_MMIO_QUEUE_NOTIFY], VIRTIO_NET_TRANSMITQ
        hlt

.include "virtio_net_init.inc"
