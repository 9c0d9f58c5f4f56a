; /// machine
; title = "virtio-net: send many frames with one kick"
; mode = "long"
; memory = "2M"
; devices = ["virtio-net", "debugcon"]
; registers = { r12 = 8 }
; ///

; The driver of virtio_net_tx.s, and one idea more: a kick says "look at the ring", not "here
; is a packet". So we put r12 packets into the ring and kick once for all of them. The device
; takes what it finds: one exit for r12 packets.
;
; What a packet costs is now 1/r12 of an exit. The copy into the host's kernel stays: one for
; each packet.
;
; A whole batch is given back before the next one begins, so every descriptor is free again by
; then and we start over with the first. A driver that does not wait keeps a list of free
; descriptors, because devices may finish packets in any order.

.include "machine.inc"
.include "virtio.inc"

.ifndef QUEUE_SIZE
.set QUEUE_SIZE, 256
.endif
.set MOST, QUEUE_SIZE / 2                ; packets that fit: each takes two descriptors

; Registers:
;     rdi  the device's window
;     bx   our avail.idx: how many packets we have given to the device, modulo 65536
;     r12  packets in a batch: 1 to MOST; first given by the machine block
;     r13  the frame's entry in the table
;     r14  frames still to send
;     r15  frames of this batch still to be put into the ring
;     r9   the head of the packet's chain: descriptor 0, 2, 4, ...

_start:
        mov     edi, MMIO_BASE
        call    virtio_net_init         ; 27 EXITs, once; step by step in virtio_net_tx.s

        ; no interrupts: we shall look at the used ring ourselves.
        mov     word ptr [VIRTQ_AVAIL + VIRTQ_AVAIL_FLAGS], VIRTQ_AVAIL_F_NO_INTERRUPT

        ; a batch is at least one packet, and at most what fits into the queue.
        mov     eax, 1
        test    r12, r12
        cmovz   r12, rax
        mov     eax, MOST
        cmp     r12, rax
        cmova   r12, rax

        ; the even descriptors are headers, each followed by its frame; a batch takes the first
        ; r12 pairs. Only address and length of the frames are still missing.
        mov     eax, offset header
        mov     ecx, VIRTQ_DESC
        mov     edx, 1                                  ; the descriptor after this one
next_pair:
        mov     [rcx + VIRTQ_DESC_ADDR], rax
        mov     dword ptr [rcx + VIRTQ_DESC_LEN], VIRTIO_NET_HDR_SIZE
        mov     word ptr [rcx + VIRTQ_DESC_FLAGS], VIRTQ_DESC_F_NEXT
        mov     [rcx + VIRTQ_DESC_NEXT], dx
        add     ecx, 2 * VIRTQ_DESC_SIZE
        add     edx, 2
        lea     esi, [r12 + r12]
        cmp     edx, esi
        jb      next_pair

; Send the frames, a batch after the other.

        xor     ebx, ebx
        mov     r14d, [FRAME_TABLE]
        mov     r13d, FRAME_TABLE + FRAME_TABLE_HEADER

next_batch:
        test    r14d, r14d
        jz      done

        ; the last batch may be smaller: r15 = min(r12, r14).
        mov     r15d, r12d
        cmp     r15d, r14d
        cmova   r15d, r14d
        sub     r14d, r15d
        xor     r9d, r9d

next_frame:
        mov     rsi, [r13 + FRAME_ADDRESS]
        mov     edx, [r13 + FRAME_LENGTH]

        ; 1. the frame's descriptor follows its header's.
        mov     eax, r9d
        shl     eax, 4                                  ; * VIRTQ_DESC_SIZE
        mov     [VIRTQ_DESC + VIRTQ_DESC_SIZE + VIRTQ_DESC_ADDR + rax], rsi
        mov     [VIRTQ_DESC + VIRTQ_DESC_SIZE + VIRTQ_DESC_LEN + rax], edx

        ; 2. the next slot of the available ring. The device does not look at it: for all it
        ; knows, avail.idx has not moved yet. After the last slot comes the first.
        mov     eax, ebx
        and     eax, QUEUE_SIZE - 1
        mov     [VIRTQ_AVAIL + VIRTQ_AVAIL_RING + rax*2], r9w
        inc     ebx

        add     r9d, 2
        add     r13, FRAME_ENTRY
        dec     r15d
        jnz     next_frame

        ; 3. publish all of them with one store, after the stores of 1 and 2 (x86 keeps the
        ; order; others need a barrier).
        mov     [VIRTQ_AVAIL + VIRTQ_AVAIL_IDX], bx

        ; 4. does the device want a kick? Not to be asked before the store of 3 (x86 needs
        ; a barrier, too).
        mfence
        test    word ptr [VIRTQ_USED + VIRTQ_USED_FLAGS], VIRTQ_USED_F_NO_NOTIFY
        jnz     wait_used

        ; 5. one kick for the batch. QEMU writev()s each frame, then moves used.idx past all.
        mov     dword ptr [rdi + VIRTIO_MMIO_QUEUE_NOTIFY], VIRTIO_NET_TRANSMITQ ; EXIT

        ; 6. until used.idx has caught up with avail.idx, descriptors are the device's.
wait_used:
        cmp     [VIRTQ_USED + VIRTQ_USED_IDX], bx
        je      next_batch
        pause
        jmp     wait_used

done:
        hlt                                             ; EXIT

header:
        .zero   VIRTIO_NET_HDR_SIZE                     ; struct virtio_net_hdr, for all frames

.include "virtio_net_init.inc"
