; /// machine
; title = "virtio-net: never acknowledges an interrupt"
; mode = "long"
; frames = "wire"
; devices = ["pic", "virtio-net", "debugcon"]
; ///

; The driver sends its EOI to the interrupt controller, but tells the device nothing. So for the
; device its first interrupt has not been seen yet: its line stays up. The controller is
; waiting for a line that goes up, and that one never does again. The first frame is received;
; the others are in the driver's buffers, and it sleeps.
;
; (With `irqfd = true` it does not show. An irqfd is no line, each signal goes up and down.)

.include "machine.inc"
.include "virtio.inc"

_start:
        mov     edi, MMIO_BASE
        call    receive_init
sleep:
        sti
        hlt
        jmp     sleep

interrupt:
        mov     eax, [rdi + VIRTIO_MMIO_INTERRUPT_STATUS]
        ; here InterruptACK is missing
        call    receive_all
        mov     al, PIC_OCW2_EOI
        out     PIC_MASTER_CMD, al
        iretq

.include "receive.inc"
