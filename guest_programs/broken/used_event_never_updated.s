; /// machine
; title = "virtio-net: leaves used_event where it was"
; mode = "long"
; frames = "wire"
; devices = ["pic", "virtio-net", "debugcon"]
; ///

; With VIRTIO_F_EVENT_IDX the driver says for which used entry it wants an interrupt. This one
; leaves it at 0, as the ring began: it is told of entry 0, the first frame, and then of none
; before the index has gone round, 65536 frames later. It works in every test with one frame.

.include "machine.inc"
.include "virtio.inc"

.set VIRTIO_NET_FEATURES, 1 << VIRTIO_F_EVENT_IDX
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
        mov     [rdi + VIRTIO_MMIO_INTERRUPT_ACK], eax
        call    receive_all
        ; here `mov [RXQ_USED_EVENT], r15w` is missing, and another look at the ring
        mov     al, PIC_OCW2_EOI
        out     PIC_MASTER_CMD, al
        iretq

.include "receive.inc"
