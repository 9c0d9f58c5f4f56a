; /// machine
; title = "virtio-net: one kick, one interrupt for a whole batch"
; mode = "long"
; memory = "2M"
; devices = ["pic", { type = "virtio-net", ioeventfd = true }, "debugcon"]
; registers = { r12 = 8 }
; ///

; Two parties work at the same time, and each wants to be told by the other when there is
; something new: a kick, an interrupt. Both are dear. A flag says "tell me" or "don't", and it
; says so too late: a device that has been kicked and has not yet come to work can't take its
; "kick me" back, so each further packet is kicked for, too.
;
; With VIRTIO_F_EVENT_IDX each side says *when*, by an index (2.7.7, 2.7.10):
;
;     avail_event   in the used ring, written by the device: "kick me when you have written entry
;                   number avail_event". A second packet before it has looked is another entry
;     used_event    in the available ring, written by us: "interrupt me when you have written
;                   used entry number used_event". That of the last packet of a batch, say
;
; So 29 frames in batches of 8 take 4 kicks and 4 interrupts, though the driver publishes each
; frame as soon as it is there and does not know whether there will be another one.
;
; The device is at work in QEMU's main loop (ioeventfd). Look at the same with the device in the
; vCPU's thread, which sends during the kick: then it has always looked before the next packet
; is there.

.include "machine.inc"
.include "virtio.inc"
.include "serial.inc"

.set VIRTIO_NET_FEATURES, 1 << VIRTIO_F_EVENT_IDX

.ifndef QUEUE_SIZE
.set QUEUE_SIZE, 64
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
;     r10  kicks so far
;     r11  interrupts so far

_start:
        mov     edi, MMIO_BASE
        call    virtio_net_init         ; 29 EXITs, once: EVENT_IDX is asked for in step 4
        call    card_irq_init           ; 12 EXITs, lightweight, once

        ; a batch is at least one packet, and at most what fits into the queue.
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
        xor     r10d, r10d
        xor     r11d, r11d
        mov     r14d, [FRAME_TABLE]
        mov     r13d, FRAME_TABLE + FRAME_TABLE_HEADER

next_batch:
        test    r14d, r14d
        jz      tell
        mov     r15d, r12d
        cmp     r15d, r14d
        cmova   r15d, r14d
        sub     r14d, r15d
        xor     r9d, r9d

        ; 1. used_event: we want to hear of the last one of this batch. It will be used entry
        ; number bx + r15 - 1, if we begin to count at 0 as the device does. Until the device
        ; has written that one, it keeps quiet, whatever it does.
        lea     eax, [rbx + r15 - 1]
        mov     [TXQ_USED_EVENT], ax

next_frame:
        ; 2. the frame's descriptor; the chain's head into the ring; publish it.
        mov     rsi, [r13 + FRAME_ADDRESS]
        mov     edx, [r13 + FRAME_LENGTH]
        mov     eax, r9d
        shl     eax, 4                                  ; * VIRTQ_DESC_SIZE
        mov     [TXQ_DESC + VIRTQ_DESC_SIZE + VIRTQ_DESC_ADDR + rax], rsi
        mov     [TXQ_DESC + VIRTQ_DESC_SIZE + VIRTQ_DESC_LEN + rax], edx
        mov     eax, ebx
        and     eax, QUEUE_SIZE - 1
        mov     [TXQ_AVAIL + VIRTQ_AVAIL_RING + rax*2], r9w
        inc     ebx
        mov     [TXQ_AVAIL + VIRTQ_AVAIL_IDX], bx

        ; 3. avail_event: was the entry that we have just written the one that the device waits
        ; for? The index before was `old`, now it is `new`; in 16 bits, going round, that is
        ; (new - event - 1) < (new - old). As ever the load must not come before the store.
        mfence
        mov     eax, ebx
        sub     ax, [TXQ_AVAIL_EVENT]
        dec     eax                                     ; new - event - 1
        mov     edx, 1                                  ; new - old
        cmp     ax, dx
        jae     kicked

        ; 4. yes. It will read avail.idx when it comes to work, and then find all there is by
        ; that time; and only then move avail_event.
        mov     dword ptr [rdi + VIRTIO_MMIO_QUEUE_NOTIFY], VIRTIO_NET_TRANSMITQ ; EXIT, lightweight
        inc     r10d
kicked:
        add     r9d, 2
        add     r13, FRAME_ENTRY
        dec     r15d
        jnz     next_frame

        ; 5. sleep until the device has written the entry used_event. It can have done so before
        ; we come here; then the interrupt waits for STI, and HLT does not last long.
wait_used:
        cmp     [TXQ_USED + VIRTQ_USED_IDX], bx
        je      next_batch
        sti
        hlt                             ; EXIT, lightweight: we sleep in KVM
        cli
        jmp     wait_used

; It comes during HLT only, so rax is free.
interrupt:
        mov     eax, [rdi + VIRTIO_MMIO_INTERRUPT_STATUS]       ; EXIT
        mov     [rdi + VIRTIO_MMIO_INTERRUPT_ACK], eax          ; EXIT
        inc     r11d
        mov     al, PIC_OCW2_EOI
        out     PIC_MASTER_CMD, al                      ; EXIT, lightweight
        iretq

tell:
        movzx   eax, bx
        call    print_decimal
        lea     rsi, [rip + frames]
        call    print_text
        mov     eax, r10d
        call    print_decimal
        lea     rsi, [rip + kicks]
        call    print_text
        mov     eax, r11d
        call    print_decimal
        lea     rsi, [rip + interrupts]
        call    print_text
        hlt                             ; EXIT, lightweight; IF=0: for good

header:
        .zero   VIRTIO_NET_HDR_SIZE                     ; struct virtio_net_hdr, for all frames
frames:
        .asciz  " frames, kicks: "
kicks:
        .asciz  ", interrupts: "
interrupts:
        .asciz  "\n"

.set PRINT_ON_DEBUGCON, 1
.include "print.inc"
.include "virtio_net_init.inc"
.include "card_irq.inc"
