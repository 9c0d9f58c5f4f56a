; /// machine
; title = "virtio-net: reads used.idx once and acknowledges at the end"
; mode = "long"
; frames = "wire"
; devices = ["pic", "virtio-net", "debugcon"]
; ///

; The handler takes used.idx, works off what was there, and acknowledges the interrupt when it
; is done. A frame that comes meanwhile is behind the used.idx it knows; and as the device's
; line is up, it does not go up. Then the acknowledgement is taken for that frame, too. It lies
; there until another one comes; the last frame lies there for ever: there are fewer dots than
; packets received. Acknowledge first, and look until there is nothing new.
;
; No rule of the specification is broken, so only the summary tells.

.include "machine.inc"
.include "virtio.inc"

.set QUEUE_SIZE, 64

_start:
        mov     edi, MMIO_BASE
        call    receive_init
sleep:
        sti
        hlt
        jmp     sleep

interrupt:
        mov     eax, [rdi + VIRTIO_MMIO_INTERRUPT_STATUS]
        movzx   r14d, word ptr [RXQ_USED + VIRTQ_USED_IDX]      ; here is the mistake
next:
        cmp     r15w, r14w
        je      done
        call    receive_one

        ; a frame takes a while to work on: longer than the next one takes to come.
        mov     ecx, 10000
busy:
        dec     ecx
        jnz     busy
        jmp     next
done:
        mov     [RXQ_AVAIL + VIRTQ_AVAIL_IDX], bx
        mov     dword ptr [rdi + VIRTIO_MMIO_INTERRUPT_ACK], VIRTIO_MMIO_INT_VRING ; and here
        mov     al, PIC_OCW2_EOI
        out     PIC_MASTER_CMD, al
        iretq

.include "receive.inc"
