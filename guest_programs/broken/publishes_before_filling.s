; /// machine
; title = "virtio-net: moves avail.idx before the descriptor is filled"
; mode = "long"
; devices = ["pic", { type = "virtio-net", ioeventfd = true }, "debugcon"]
; ///

; From the moment avail.idx has moved past it, a packet is the device's, kicked or not. Here the
; packet is finished only afterwards, and then kicked. With a device that looks only when it is
; kicked (ioeventfd = false) that goes well, all eight times. But QEMU's main loop, or vhost, or
; another processor, takes its turn when it likes: woken by DRIVER_OK, it looks into the ring
; while the first frame is being filled in, and finds a descriptor of 0 bytes.

.include "machine.inc"
.include "virtio.inc"

_start:
        mov     edi, MMIO_BASE
        call    virtio_net_init
        xor     ebx, ebx
next:
        ; a packet is one descriptor here, header and frame in one piece: descriptor bx.
        mov     edx, ebx
        mov     [VIRTQ_AVAIL + VIRTQ_AVAIL_RING + rbx*2], dx
        inc     ebx
        mov     [VIRTQ_AVAIL + VIRTQ_AVAIL_IDX], bx     ; here is the mistake: too early

        ; make up the frame: its bytes, one by one; then the descriptor.
        mov     eax, edx
        shl     eax, 11
        add     eax, 0x30000 + VIRTIO_NET_HDR_SIZE
        mov     ecx, 1514
fill:
        mov     [rax + rcx - 1], bl
        dec     ecx
        jnz     fill
        sub     eax, VIRTIO_NET_HDR_SIZE
        shl     edx, 4
        mov     [VIRTQ_DESC + VIRTQ_DESC_ADDR + rdx], rax
        mov     dword ptr [VIRTQ_DESC + VIRTQ_DESC_LEN + rdx], VIRTIO_NET_HDR_SIZE + 1514

        mov     dword ptr [rdi + VIRTIO_MMIO_QUEUE_NOTIFY], VIRTIO_NET_TRANSMITQ
        cmp     ebx, QUEUE_SIZE
        jb      next

        ; enough: let the others run, then stop.
        hlt

.include "virtio_net_init.inc"
