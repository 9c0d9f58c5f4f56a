; /// machine
; title = "virtio-net: a descriptor of memory that is not there"
; mode = "long"
; devices = ["virtio-net", "debugcon"]
; ///

; The address of the packet has no RAM behind it. It is the device that would have to read it,
; in QEMU's process: an unchecked guest could make QEMU read any of its own memory.

.include "machine.inc"
.include "virtio.inc"

_start:
        mov     edi, MMIO_BASE
        call    virtio_net_init
        mov     eax, 0xe0000000
        mov     [VIRTQ_DESC + VIRTQ_DESC_ADDR], rax
        mov     dword ptr [VIRTQ_DESC + VIRTQ_DESC_LEN], VIRTIO_NET_HDR_SIZE + 60
        mov     word ptr [VIRTQ_AVAIL + VIRTQ_AVAIL_IDX], 1
        mov     dword ptr [rdi + VIRTIO_MMIO_QUEUE_NOTIFY], VIRTIO_NET_TRANSMITQ
        hlt

.include "virtio_net_init.inc"
