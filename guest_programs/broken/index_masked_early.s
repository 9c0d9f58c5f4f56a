; /// machine
; title = "virtio-net: compares indices that are cut to the size of the ring"
; mode = "long"
; frames = "wire"
; devices = ["pic", "virtio-net", "debugcon"]
; ///

; Is there something in the used ring? The driver has come as far as r15, the device as far as
; used.idx, and it compares the two; but as slots, not as the numbers that count on. With one,
; two, three new entries all goes well. If it is away a little longer and the ring of four has
; filled up, the device is at the same slot as the driver: a full ring looks empty. No buffer is
; given back, so nothing can come in any more.

.include "machine.inc"
.include "virtio.inc"

.set QUEUE_SIZE, 4

_start:
        mov     edi, MMIO_BASE
        call    receive_init

        ; something else to do first, with interrupts off: time for four frames to come in.
        mov     ecx, 30000
busy:
        dec     ecx
        jnz     busy

sleep:
        sti
        hlt
        jmp     sleep

interrupt:
        mov     eax, [rdi + VIRTIO_MMIO_INTERRUPT_STATUS]
        mov     [rdi + VIRTIO_MMIO_INTERRUPT_ACK], eax
next:
        movzx   eax, word ptr [RXQ_USED + VIRTQ_USED_IDX]
        and     eax, QUEUE_SIZE - 1     ; here is the mistake
        mov     edx, r15d
        and     edx, QUEUE_SIZE - 1     ; and here
        cmp     eax, edx
        je      empty
        call    receive_one
        jmp     next
empty:
        mov     [RXQ_AVAIL + VIRTQ_AVAIL_IDX], bx
        mfence
        test    word ptr [RXQ_USED + VIRTQ_USED_FLAGS], VIRTQ_USED_F_NO_NOTIFY
        jnz     handled
        mov     dword ptr [rdi + VIRTIO_MMIO_QUEUE_NOTIFY], VIRTIO_NET_RECEIVEQ
handled:
        mov     al, PIC_OCW2_EOI
        out     PIC_MASTER_CMD, al
        iretq

.include "receive.inc"
