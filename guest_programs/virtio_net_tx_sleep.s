; /// machine
; title = "virtio-net: send, and sleep while the device is at work"
; mode = "long"
; memory = "2M"
; devices = ["pic", { type = "virtio-net", ioeventfd = true }, "debugcon"]
; registers = { r12 = 8 }
; ///

; The drivers before this one look at the used ring until the device is done. As long as the
; device works during the kick, that is no waiting at all. But with an ioeventfd another thread
; of QEMU does the work, or with vhost one of the kernel, at the same time as the guest goes on:
;
;     kick      KVM signals an eventfd and enters the guest again at once: a lightweight exit
;     we        go on, until r12 packets are under way; then there is nothing to do: HLT
;     QEMU      its main loop, or vhost's worker, sends all it finds, and interrupts
;
; A driver that sleeps has to be woken, and an interrupt costs InterruptStatus, InterruptACK and
; EOI. So it asks for one only when it is about to sleep, and only for the last packet.
;
; Frames come one by one, as from applications: each is published, and kicked for if the device
; wants that, before the next one is there. What a packet costs is at most one exit, the kick,
; and 1/r12 of HLT, interrupt and EOI. With `ioeventfd = false` there is never anything to wait
; for.

.include "machine.inc"
.include "virtio.inc"

; With `.set EVENT_IDX, 1` here the device says for which packet it wants a kick, and for the
; others behind the first of a batch it does not; a flag could not tell it so early
; (virtio_net_event_idx.s explains it).
.ifndef EVENT_IDX
.set EVENT_IDX, 0
.endif
.set VIRTIO_NET_FEATURES, EVENT_IDX << VIRTIO_F_EVENT_IDX

.ifndef QUEUE_SIZE
.set QUEUE_SIZE, 256
.endif
.set MOST, QUEUE_SIZE / 2                ; packets that fit: each takes two descriptors

; Registers:
;     rdi  the device's window
;     bx   our avail.idx: how many packets we have given to the device, modulo 65536
;     r12  packets under way at most: 1 to MOST; first given by the machine block
;     r13  the frame's entry in the table
;     r14  frames still to send
;     r15  packets that may still be put into the ring before we sleep
;     r9   the head of the packet's chain: descriptor 0, 2, 4, ...

_start:
        mov     edi, MMIO_BASE
        call    virtio_net_init         ; 27 EXITs, once (29 with EVENT_IDX)
        call    card_irq_init           ; 12 EXITs, lightweight, once

        ; no interrupts for now.
.if EVENT_IDX
        mov     word ptr [TXQ_USED_EVENT], -1           ; the entry before the first: behind us
.else
        mov     word ptr [TXQ_AVAIL + VIRTQ_AVAIL_FLAGS], VIRTQ_AVAIL_F_NO_INTERRUPT
.endif

        ; at least one packet, and at most what fits into the queue.
        mov     eax, 1
        test    r12, r12
        cmovz   r12, rax
        mov     eax, MOST
        cmp     r12, rax
        cmova   r12, rax

        ; the even descriptors are headers, each followed by its frame.
        mov     eax, offset header
        mov     ecx, TXQ_DESC
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

        xor     ebx, ebx
        mov     r14d, [FRAME_TABLE]
        mov     r13d, FRAME_TABLE + FRAME_TABLE_HEADER

; Interrupts are off but while we sleep.

next_batch:
        test    r14d, r14d
        jz      done
        mov     r15d, r12d
        xor     r9d, r9d

next_frame:
        ; 1. the frame's descriptor follows its header's; the header's goes into the ring.
        mov     rsi, [r13 + FRAME_ADDRESS]
        mov     edx, [r13 + FRAME_LENGTH]
        mov     eax, r9d
        shl     eax, 4                                  ; * VIRTQ_DESC_SIZE
        mov     [TXQ_DESC + VIRTQ_DESC_SIZE + VIRTQ_DESC_ADDR + rax], rsi
        mov     [TXQ_DESC + VIRTQ_DESC_SIZE + VIRTQ_DESC_LEN + rax], edx
        mov     eax, ebx
        and     eax, QUEUE_SIZE - 1
        mov     [TXQ_AVAIL + VIRTQ_AVAIL_RING + rax*2], r9w

        ; 2. publish it.
        inc     ebx
        mov     [TXQ_AVAIL + VIRTQ_AVAIL_IDX], bx
        mfence

        ; 3. kick, if the device wants it.
.if EVENT_IDX
        mov     eax, ebx
        sub     ax, [TXQ_AVAIL_EVENT]
        dec     ax                                      ; new - event - 1 < new - old, which is 1
        jnz     kicked
.else
        test    word ptr [TXQ_USED + VIRTQ_USED_FLAGS], VIRTQ_USED_F_NO_NOTIFY
        jnz     kicked
.endif
        mov     dword ptr [rdi + VIRTIO_MMIO_QUEUE_NOTIFY], VIRTIO_NET_TRANSMITQ ; EXIT, lightweight
kicked:
        add     r9d, 2
        add     r13, FRAME_ENTRY
        dec     r14d
        jz      wait_used
        dec     r15d
        jnz     next_frame

        ; 4. are all of them sent? Then we need not sleep.
wait_used:
        cmp     [TXQ_USED + VIRTQ_USED_IDX], bx
        je      next_batch

        ; 5. ask for an interrupt, for the last one. It may be done since our look, and the
        ; device have kept quiet as it was told to: so look again.
.if EVENT_IDX
        lea     eax, [rbx - 1]
        mov     [TXQ_USED_EVENT], ax
.else
        mov     word ptr [TXQ_AVAIL + VIRTQ_AVAIL_FLAGS], 0
.endif
        mfence
        cmp     [TXQ_USED + VIRTQ_USED_IDX], bx
        je      awake

        ; 6. sleep. STI lets no interrupt in before HLT is over, so none can be missed.
        sti
        hlt                             ; EXIT, lightweight: we sleep in KVM
        cli

        ; 7. no interrupts again. (With EVENT_IDX used_event is behind us by now.)
awake:
.if !EVENT_IDX
        mov     word ptr [TXQ_AVAIL + VIRTQ_AVAIL_FLAGS], VIRTQ_AVAIL_F_NO_INTERRUPT
.endif
        jmp     wait_used

done:
        hlt                             ; EXIT, lightweight; IF=0: for good

; The interrupt wakes us, no more. It comes during HLT only, so rax is free.
interrupt:
        mov     eax, [rdi + VIRTIO_MMIO_INTERRUPT_STATUS]       ; EXIT
        mov     [rdi + VIRTIO_MMIO_INTERRUPT_ACK], eax          ; EXIT
        mov     al, PIC_OCW2_EOI
        out     PIC_MASTER_CMD, al                      ; EXIT, lightweight
        iretq

header:
        .zero   VIRTIO_NET_HDR_SIZE                     ; struct virtio_net_hdr, for all frames

.include "virtio_net_init.inc"
.include "card_irq.inc"
