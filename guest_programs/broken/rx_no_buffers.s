; /// machine
; title = "virtio-net: gives no receive buffer back"
; mode = "long"
; frames = "wire"
; devices = ["pic", "virtio-net", "debugcon"]
; ///

; A device has nowhere to put a frame but where the driver tells it to. This driver gives it
; four buffers and, when they come back full, never gives it another one. The fifth frame and
; those behind it wait in the host, whose queue holds 500; what comes then is dropped.

.include "machine.inc"
.include "virtio.inc"

.set QUEUE_SIZE, 4

_start:
        mov     edi, MMIO_BASE
        call    receive_init
sleep:
        sti
        hlt
        jmp     sleep

interrupt:
        mov     eax, [rdi + VIRTIO_MMIO_INTERRUPT_STATUS]
        mov     [rdi + VIRTIO_MMIO_INTERRUPT_ACK], eax
next:
        cmp     [RXQ_USED + VIRTQ_USED_IDX], r15w
        je      done
        call    receive_one
        jmp     next
done:
        ; here `mov [RXQ_AVAIL + VIRTQ_AVAIL_IDX], bx` is missing, and the kick
        mov     al, PIC_OCW2_EOI
        out     PIC_MASTER_CMD, al
        iretq

.include "receive.inc"
